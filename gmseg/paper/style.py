"""Sizes of figures for a journal: widths of one column and of a page, and sizes of texts."""

from __future__ import annotations

COLUMN_IN = 85 / 25.4
"""Width of a column, 85 mm, in inches."""
PAGE_IN = 180 / 25.4
"""Width of a page, 180 mm, in inches."""
SMALL_PT, TEXT_PT, TITLE_PT = 7, 8, 9
"""Sizes of texts at these widths, in points: of notes and ticks, of texts, of titles."""
DPI = 300
"""Resolution of PNG files."""


def panel_side(count: int, gap: float) -> tuple[float, float]:
    """Return the side of square panels in a row, and the width of their figure, in inches.

    Up to three panels fill a column, more fill a page.

    Examples
    --------
    >>> side, width = panel_side(6, gap=0.1)
    >>> round(side, 2), round(width, 2)
    (1.06, 7.09)
    """
    width = COLUMN_IN if count <= 3 else PAGE_IN
    return (width - (max(count, 2) + 1) * gap) / max(count, 2), width
