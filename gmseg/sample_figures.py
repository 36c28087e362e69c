"""Pictures of training samples: what raters drew, and what augmentation makes of it.

Shown as in `gmseg.figures`: front at the top, the patient's left on the picture's right.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from gmseg.diagrams import axes_at
from gmseg.errors import InputError
from gmseg.figures import DARK, PALE, REFERENCE, gray_limits
from gmseg.grid import to_las

# told apart by people who see red and green alike (after Okabe & Ito)
RATERS = (REFERENCE, "#f0a202", "#009e73", "#cc79a7", "#f0e442", "#d55e00")
_AROUND_PX = 48  # of a window, so much about its middle sets black and white
_GAP = 0.06


def draw_raters(scan, masks, *, field_mm: float = 16.0) -> Figure:
    """Draw what raters drew on a scan, on the slice with most GM.

    Parameters
    ----------
    scan : nibabel image
        In any orientation.
    masks : list of numpy.ndarray
        bool, the scan's shape, one per rater: see `gmseg.datasets.read_labelled`.
    field_mm : float
        Side of the square that is shown.

    Returns
    -------
    matplotlib.figure.Figure
        The slice plain; with each rater's outline; and how many raters say GM.

    Raises
    ------
    gmseg.errors.InputError
        If a mask has another shape than the scan, or nobody drew anything.
    """
    if shapes := {mask.shape for mask in masks} - {scan.shape}:
        raise InputError(f"a mask has shape {shapes.pop()}, the scan {scan.shape}; give its own")
    volume, sizes = to_las(scan)
    images = [nib.Nifti1Image(np.asarray(mask, np.uint8), scan.affine) for mask in masks]
    volumes = np.array([to_las(image)[0] for image in images])
    votes = volumes.sum(axis=0)
    if not votes.any():
        raise InputError("no rater drew any GM; give other masks")
    k = votes.sum(axis=(0, 1)).argmax()
    drawn = np.argwhere(votes[..., k])
    centre = (drawn.min(axis=0) + drawn.max(axis=0)) / 2 * sizes[:2]
    near = np.ix_(*[
        np.abs(np.arange(n) * size - at) < field_mm / 4
        for n, size, at in zip(votes.shape[:2], sizes[:2], centre, strict=True)
    ])  # fmt: skip
    limits = gray_limits(volume[..., k][near])

    side, foot = 2.9, 0.32
    figure = Figure(figsize=(3 * (side + _GAP) + _GAP, side + foot + _GAP), facecolor=DARK)
    plain, outlined, agreed = (
        axes_at(figure, label, _GAP + i * (side + _GAP), foot, side, side)
        for i, label in enumerate(("plain", "outlined", "agreement"))
    )
    for ax in (plain, outlined, agreed):
        _show(ax, volume[..., k], sizes[:2], limits)
        half = field_mm / 2
        ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
    shades = colormaps["plasma"](np.linspace(0.4, 0.95, len(masks)))
    for rater, mask in enumerate(volumes):
        # the first is widest and lies below, so that all show where they agree
        colour, line = RATERS[rater % len(RATERS)], 1 + 0.9 * (len(masks) - 1 - rater)
        _outline(outlined, mask[..., k], sizes[:2], colour, line)
        _write(figure, 2 * _GAP + side + 0.31 * rater, f"— r{rater + 1}", colour)
        _write(figure, 3 * _GAP + 2 * side + 0.55 + 0.12 * rater, f"{rater + 1}", shades[rater])
    seen = np.ma.masked_equal(votes[..., k], 0)
    _show(
        agreed, seen, sizes[:2], (0.5, len(masks) + 0.5), ListedColormap(shades),
        interpolation="nearest",
    )  # fmt: skip
    _write(figure, 3 * _GAP + 2 * side, "drawn by")
    by_all = np.count_nonzero(seen == len(masks)) / seen.count()
    place = 3 * _GAP + 2 * side + 0.58 + 0.12 * len(masks)
    _write(figure, place, f"raters, {by_all:.0%} by all")
    return figure


def draw_pairs(rows: dict, *, columns: int = 6, size: int | None = None) -> Figure:
    """Draw training pairs: windows with the outlines of their masks.

    Parameters
    ----------
    rows : dict of str to (numpy.ndarray, numpy.ndarray)
        Name to windows and masks, (pairs, size, size, 1) or without the last axis, as
        `gmseg.samples.make_batch` makes them; each row of the figure is one of them. A
        column's black and white are those of its first row, so that changes of brightness
        show.
    columns : int
        How many pairs of each row.
    size : int, optional
        Show so many pixels about the middle; by default all of the window.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = {
        name: [np.reshape(part, np.shape(part)[:3])[:columns] for part in pair]
        for name, pair in rows.items()
    }
    first = next(iter(rows.values()))[0]
    middle = np.array(first.shape[1:]) // 2
    inner = tuple(slice(max(at - _AROUND_PX // 2, 0), at + _AROUND_PX // 2) for at in middle)
    limits = [gray_limits(window[inner]) for window in first]

    side, head = 1.6, 0.24
    wide, high = len(first) * (side + _GAP) + _GAP, len(rows) * (side + head + _GAP)
    figure = Figure(figsize=(wide, high), facecolor=DARK)
    for r, (name, (windows, masks)) in enumerate(rows.items()):
        top = high - r * (side + head + _GAP)
        figure.text(_GAP / wide, (top - head + 0.07) / high, name, color=PALE, size=9)
        for i, (window, mask) in enumerate(zip(windows, masks, strict=True)):
            place = (_GAP + i * (side + _GAP), top - head - side, side, side)
            ax = axes_at(figure, f"{name} {i}", *place)
            _show(ax, window, (1, 1), limits[i])
            _outline(ax, mask, (1, 1), REFERENCE)
            half = (size or max(window.shape)) / 2
            ax.set(
                xlim=(middle[0] - half - 0.5, middle[0] + half - 0.5),
                ylim=(middle[1] - half - 0.5, middle[1] + half - 0.5),
            )
    return figure


def _show(ax, plane, sizes, limits, colours="gray", *, interpolation="bilinear") -> None:
    """Show a plane (right to left, back to front) in mm or, with sizes of 1, in pixels."""
    edges = [
        e for n, size in zip(plane.shape, sizes, strict=True) for e in (-size / 2, (n - 0.5) * size)
    ]
    how = {"vmin": limits[0], "vmax": limits[1], "interpolation": interpolation}
    ax.imshow(plane.T, colours, extent=edges, origin="lower", **how)
    ax.set_facecolor("black")
    ax.spines[:].set_visible(False)


def _outline(ax, mask, sizes, colour, line=1.0) -> None:
    if (mask > 0.5).any():
        grids = [np.arange(n) * size for n, size in zip(mask.shape, sizes, strict=True)]
        ax.contour(*grids, mask.T, levels=[0.5], colors=colour, linewidths=line)


def _write(figure, left, text, colour=PALE) -> None:
    """Write below the panels, `left` inches from the figure's left."""
    wide, high = figure.get_size_inches()
    figure.text(left / wide, 0.1 / high, text, color=colour, size=8)
