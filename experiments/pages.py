"""Numbers and tables in Markdown, for the scripts that write pages."""

import math


def number(value: float, *, sign: bool = False) -> str:
    """Return a number with three digits; "-" if it is undefined."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    return f"{value:{'+' if sign else ''}#.3g}".rstrip(".")


def table(header: list[str], rows: list[list[str]], *, text: int = 1) -> str:
    """Return a table; the columns after the first `text` ones are numbers."""
    align = ["---"] * text + ["--:"] * (len(header) - text)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, align, *rows))
