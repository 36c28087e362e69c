"""Pictures of training samples: what raters drew, and what augmentation makes of it.

Shown as in `gmseg.report.overlays`: front at the top, the patient's left on the picture's right.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from gmseg.core.resampling import to_las
from gmseg.errors import InputError
from gmseg.report.overlays import DARK, PALE, REFERENCE, axes_at, gray_limits

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
        bool, the scan's shape, one per rater: see `gmseg.datasets.labelled.read_labelled`.
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
    limits = limits_near(volume[..., k], sizes[:2], centre, field_mm / 4)

    side, foot = 2.9, 0.32
    figure = Figure(figsize=(3 * (side + _GAP) + _GAP, side + foot + _GAP), facecolor=DARK)
    plain, outlined, agreed = (
        axes_at(figure, label, _GAP + i * (side + _GAP), foot, side, side)
        for i, label in enumerate(("plain", "outlined", "agreement"))
    )
    for ax in (plain, outlined, agreed):
        show_plane(ax, volume[..., k], sizes[:2], limits)
        half = field_mm / 2
        ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
    shades = colormaps["plasma"](np.linspace(0.4, 0.95, len(masks)))
    for rater, mask in enumerate(volumes):
        # the first is widest and lies below, so that all show where they agree
        colour, line = RATERS[rater % len(RATERS)], 1 + 0.9 * (len(masks) - 1 - rater)
        outline_plane(outlined, mask[..., k], sizes[:2], colour, line)
        _write(figure, 2 * _GAP + side + 0.31 * rater, f"— r{rater + 1}", colour)
        _write(figure, 3 * _GAP + 2 * side + 0.55 + 0.12 * rater, f"{rater + 1}", shades[rater])
    seen = np.ma.masked_equal(votes[..., k], 0)
    show_plane(
        agreed,
        seen,
        sizes[:2],
        (0.5, len(masks) + 0.5),
        ListedColormap(shades),
        interpolation="nearest",
    )
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
        `gmseg.training.samples.make_batch` makes them; each row of the figure is one of them. A
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
            show_plane(ax, window, (1, 1), limits[i])
            outline_plane(ax, mask, (1, 1), REFERENCE)
            half = (size or max(window.shape)) / 2
            ax.set(
                xlim=(middle[0] - half - 0.5, middle[0] + half - 0.5),
                ylim=(middle[1] - half - 0.5, middle[1] + half - 0.5),
            )
    return figure


def draw_sites(items, *, field_mm: float = 20.0) -> Figure:
    """Draw a slice of each scan, whole and around the cord.

    Parameters
    ----------
    items : list of (str, nibabel image, nibabel image)
        Name, scan and reference on its grid, in any orientation.
    field_mm : float
        Side of the square that is shown around the cord.

    Returns
    -------
    matplotlib.figure.Figure
        A column per scan: the slice with most GM as it was scanned, to scale among the scans;
        and its cord with the reference's outline.

    Raises
    ------
    gmseg.errors.InputError
        If a reference is empty.
    """
    side, head = 2.6, 0.48
    figure = Figure(
        figsize=(len(items) * (side + _GAP) + _GAP, head + 2 * (side + _GAP)), facecolor=DARK
    )
    wide, high = figure.get_size_inches()
    slices = [_most_gm(*item) for item in items]
    reach = max(max(np.multiply(plane.shape, sizes)) for plane, _, sizes, _ in slices) / 2
    for i, ((name, *_), (plane, mask, sizes, thickness)) in enumerate(
        zip(items, slices, strict=True)
    ):
        left = _GAP + i * (side + _GAP)
        drawn = np.argwhere(mask)
        cord = (drawn.min(axis=0) + drawn.max(axis=0)) / 2 * sizes
        limits = limits_near(plane, sizes, cord, field_mm / 4)
        middle = (np.array(plane.shape) - 1) / 2 * sizes
        for row, (centre, half) in enumerate(((middle, reach), (cord, field_mm / 2))):
            bottom = (1 - row) * (side + _GAP) + _GAP / 2
            ax = axes_at(figure, f"{name} {row}", left, bottom, side, side)
            show_plane(ax, plane, sizes, limits)
            ax.set(
                xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half)
            )
            if row:
                outline_plane(ax, mask, sizes, REFERENCE, 1.4)
        figure.text(left / wide, 1 - 0.2 / high, name, color="white", size=9)
        text = f"{sizes[0]:.3g} x {sizes[1]:.3g} x {thickness:.3g} mm"
        figure.text(left / wide, 1 - 0.4 / high, text, color=PALE, size=8.5)
    return figure


def _most_gm(name, scan, reference):
    """Return the slice with most GM, its mask, its pixels' size and its thickness, in LAS."""
    volume, sizes = to_las(scan)
    mask = to_las(reference)[0] > 0.5
    if not mask.any():
        raise InputError(f"{name}: its reference is empty; give another scan")
    k = mask.sum(axis=(0, 1)).argmax()
    return volume[..., k], mask[..., k], np.array(sizes[:2]), sizes[2]


def limits_near(plane, sizes, centre, reach_mm: float) -> tuple[float, float]:
    """Return black and white for a plane, by what lies around a place (in mm)."""
    near = np.ix_(
        *[
            np.abs(np.arange(n) * size - at) < reach_mm
            for n, size, at in zip(plane.shape, sizes, centre, strict=True)
        ]
    )
    return gray_limits(plane[near])


def show_plane(ax, plane, sizes, limits, colours="gray", *, interpolation="bilinear") -> None:
    """Show a plane (right to left, back to front) in mm or, with sizes of 1, in pixels."""
    edges = [
        e for n, size in zip(plane.shape, sizes, strict=True) for e in (-size / 2, (n - 0.5) * size)
    ]
    how = {"vmin": limits[0], "vmax": limits[1], "interpolation": interpolation}
    ax.imshow(plane.T, colours, extent=edges, origin="lower", **how)
    ax.set_facecolor("black")
    ax.spines[:].set_visible(False)


def outline_plane(ax, mask, sizes, colour, line=1.0, style="solid") -> None:
    """Draw a mask's outline over a plane that `show_plane` shows."""
    if (mask > 0.5).any():
        grids = [np.arange(n) * size for n, size in zip(mask.shape, sizes, strict=True)]
        how = {"colors": colour, "linewidths": line, "linestyles": style}
        ax.contour(*grids, mask.T, levels=[0.5], **how)


def _write(figure, left, text, colour=PALE) -> None:
    """Write below the panels, `left` inches from the figure's left."""
    wide, high = figure.get_size_inches()
    figure.text(left / wide, 0.1 / high, text, color=colour, size=8)
