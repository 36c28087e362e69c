"""Figures of scans with outlines: several raters, augmented windows, one scan of each site.

Orientation as in `gmseg.report.overlays`: anterior at the top, the patient's left on the right.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from gmseg.core.resampling import to_las
from gmseg.errors import InputError
from gmseg.paper.style import PAGE_IN, SMALL_PT, TEXT_PT, panel_side
from gmseg.report.panels import DARK, PALE, REFERENCE, axes_at, gray_limits

# distinguishable with red-green colour blindness (Okabe & Ito)
RATERS = (REFERENCE, "#f0a202", "#009e73", "#cc79a7", "#f0e442", "#d55e00")
_CONTRAST_PX = 48  # side of the square around the GM that sets black and white
_GAP = 0.06  # inches


def draw_raters(scan, masks, *, field_mm: float = 16.0) -> Figure:
    """Draw the masks of several raters on the slice with most GM.

    Parameters
    ----------
    scan : nibabel image
        Scan in any orientation.
    masks : list of numpy.ndarray
        bool, the scan's shape, one per rater: see `gmseg.datasets.labelled.read_labelled`.
    field_mm : float
        Side of the square that is shown, in mm.

    Returns
    -------
    matplotlib.figure.Figure
        The slice alone; with each rater's outline; and the number of raters who marked a voxel.

    Raises
    ------
    gmseg.errors.InputError
        If a mask differs from the scan in shape, or all masks are empty.

    Examples
    --------
    >>> from gmseg.datasets.phantom import make_phantom
    >>> phantom = make_phantom(seed=0, shape=(64, 64, 1))
    >>> gm = np.asarray(phantom.mask.dataobj) == 1
    >>> [ax.get_label() for ax in draw_raters(phantom.image, [gm, gm]).axes]
    ['plain', 'outlined', 'agreement']
    """
    plane, planes, spacing_mm = _slice_with_most_gm(scan, masks)
    votes = planes.sum(axis=0)
    centre_mm = mask_centre_mm(votes, spacing_mm)
    limits = limits_near(plane, spacing_mm, centre_mm, field_mm / 4)
    side, foot = (PAGE_IN - 4 * _GAP) / 3, 0.28
    figure = Figure(figsize=(PAGE_IN, side + foot + _GAP), facecolor=DARK)
    left = [_GAP + i * (side + _GAP) for i in range(3)]
    plain, outlined, agreement = (
        axes_at(figure, label, x, foot, side, side)
        for label, x in zip(("plain", "outlined", "agreement"), left, strict=True)
    )
    for ax in (plain, outlined, agreement):
        show_plane(ax, plane, spacing_mm, limits)
        zoom(ax, centre_mm, field_mm / 2)

    shades = colormaps["plasma"](np.linspace(0.4, 0.95, len(masks)))
    for rater, mask in enumerate(planes):
        # the first outline is widest and lowest, so that all are visible where they agree
        colour, width = RATERS[rater % len(RATERS)], 1 + 0.9 * (len(masks) - 1 - rater)
        outline_plane(outlined, mask, spacing_mm, colour, width)
        _write(figure, left[1] + _GAP + 0.31 * rater, f"— r{rater + 1}", colour)
        _write(figure, left[2] + 0.55 + 0.12 * rater, f"{rater + 1}", shades[rater])
    marked = np.ma.masked_equal(votes, 0)
    colours, ends = ListedColormap(shades), (0.5, len(masks) + 0.5)
    show_plane(agreement, marked, spacing_mm, ends, colours, interpolation="nearest")
    by_all = np.count_nonzero(marked == len(masks)) / marked.count()
    _write(figure, left[2], "drawn by")
    _write(figure, left[2] + 0.58 + 0.12 * len(masks), f"raters, {by_all:.0%} by all")
    return figure


def _slice_with_most_gm(scan, masks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice (LAS), every mask of it, (raters, rows, columns), and its pixel size."""
    if shapes := {mask.shape for mask in masks} - {scan.shape}:
        raise InputError(f"a mask has shape {shapes.pop()}, the scan {scan.shape}; give its own")
    volume, sizes_mm = to_las(scan)
    images = [nib.Nifti1Image(np.asarray(mask, np.uint8), scan.affine) for mask in masks]
    volumes = np.array([to_las(image)[0] for image in images])
    if not volumes.any():
        raise InputError("no rater drew any GM; give other masks")
    k = volumes.sum(axis=(0, 1, 2)).argmax()
    return volume[..., k], volumes[..., k], np.array(sizes_mm[:2])


def draw_pairs(rows: dict, *, columns: int = 6, size: int | None = None) -> Figure:
    """Draw training pairs: windows with the outlines of their masks.

    Parameters
    ----------
    rows : dict of str to (numpy.ndarray, numpy.ndarray)
        Name to windows and masks of every row of the figure, (pairs, size, size, 1) or without
        the last axis: see `gmseg.training.samples.make_batch`. The first row sets the black and
        white of each column, so that changes of brightness are visible.
    columns : int
        Number of pairs of each row.
    size : int, optional
        Side of the square around the GM of the first row that is shown, in pixels; by default
        the whole window.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per pair.

    Examples
    --------
    >>> windows = np.random.default_rng(0).normal(size=(2, 32, 32, 1))
    >>> len(draw_pairs({"before": (windows, windows > 2)}).axes)
    2
    """
    rows = {
        name: [np.reshape(part, np.shape(part)[:3])[:columns] for part in pair]
        for name, pair in rows.items()
    }
    first, first_masks = next(iter(rows.values()))
    centres = [_gm_centre(mask) for mask in first_masks]
    limits = [_limits_near(*pair) for pair in zip(first, centres, strict=True)]
    half = (size or max(first.shape[1:])) / 2

    (side, width), head = panel_side(len(first), _GAP), 0.22
    height = len(rows) * (side + head + _GAP)
    figure = Figure(figsize=(width, height), facecolor=DARK)
    for row, (name, (windows, masks)) in enumerate(rows.items()):
        top = height - row * (side + head + _GAP)
        figure.text(_GAP / width, (top - head + 0.07) / height, name, color=PALE, size=TEXT_PT)
        for i, (window, mask) in enumerate(zip(windows, masks, strict=True)):
            place = (_GAP + i * (side + _GAP), top - head - side, side, side)
            ax = axes_at(figure, f"{name} {i}", *place)
            show_plane(ax, window, (1, 1), limits[i])
            outline_plane(ax, mask, (1, 1), REFERENCE)
            reach = np.array(window.shape) - half  # only what lies in the window is shown
            zoom(ax, np.clip(centres[i], half - 0.5, reach - 0.5), half)
    return figure


def _gm_centre(mask: np.ndarray) -> np.ndarray:
    """Return the centre of the GM of a window, or of the window if it has none."""
    inside = np.argwhere(mask > 0.5)
    return inside.mean(axis=0) if len(inside) else (np.array(mask.shape) - 1) / 2


def _limits_near(window: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """Return the values to show as black and white around a pixel."""
    low = np.maximum(np.rint(centre).astype(int) - _CONTRAST_PX // 2, 0)
    rows, columns = (slice(first, first + _CONTRAST_PX) for first in low)
    return gray_limits(window[rows, columns])


def draw_sites(items, *, field_mm: float = 20.0) -> Figure:
    """Draw a slice of each scan, whole and around the cord.

    Parameters
    ----------
    items : list of (str, nibabel image, nibabel image)
        Name, scan and reference on its grid, in any orientation.
    field_mm : float
        Side of the square that is shown around the cord, in mm.

    Returns
    -------
    matplotlib.figure.Figure
        A column per scan: the slice with most GM, all at the same scale; and its cord with the
        outline of the reference.

    Raises
    ------
    gmseg.errors.InputError
        If a reference is empty.

    Examples
    --------
    >>> from gmseg.datasets.phantom import make_phantom
    >>> phantom = make_phantom(seed=0, shape=(64, 64, 1))
    >>> figure = draw_sites([("phantom", phantom.image, phantom.mask)])
    >>> [text.get_text() for text in figure.texts]
    ['phantom', '0.5 x 0.5 x 5 mm']
    """
    (side, width), head = panel_side(len(items), _GAP), 0.42
    height = head + 2 * (side + _GAP)
    figure = Figure(figsize=(width, height), facecolor=DARK)
    slices = [_labelled_slice(*item) for item in items]
    reach_mm = max(max(np.multiply(plane.shape, sizes[:2])) for plane, _, sizes in slices) / 2
    for i, ((name, *_), (plane, mask, sizes_mm)) in enumerate(zip(items, slices, strict=True)):
        left, spacing_mm = _GAP + i * (side + _GAP), sizes_mm[:2]
        cord_mm = mask_centre_mm(mask, spacing_mm)
        middle_mm = (np.array(plane.shape) - 1) / 2 * spacing_mm
        limits = limits_near(plane, spacing_mm, cord_mm, field_mm / 4)
        for row, (centre_mm, half_mm) in enumerate(
            ((middle_mm, reach_mm), (cord_mm, field_mm / 2))
        ):
            bottom = (1 - row) * (side + _GAP) + _GAP / 2
            ax = axes_at(figure, f"{name} {row}", left, bottom, side, side)
            show_plane(ax, plane, spacing_mm, limits)
            zoom(ax, centre_mm, half_mm)
            if row:
                outline_plane(ax, mask, spacing_mm, REFERENCE, 1.4)
        figure.text(left / width, 1 - 0.17 / height, name, color="white", size=TEXT_PT)
        text = " x ".join(f"{size:.3g}" for size in sizes_mm) + " mm"
        figure.text(left / width, 1 - 0.33 / height, text, color=PALE, size=SMALL_PT)
    return figure


def _labelled_slice(name, scan, reference) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice with most GM (LAS), its mask, and the scan's voxel size."""
    volume, sizes_mm = to_las(scan)
    mask = to_las(reference)[0] > 0.5
    if not mask.any():
        raise InputError(f"{name}: its reference is empty; give another scan")
    k = mask.sum(axis=(0, 1)).argmax()
    return volume[..., k], mask[..., k], np.array(sizes_mm)


# ---------------------------------------------------------------------- parts of such figures


def mask_centre_mm(mask: np.ndarray, spacing_mm) -> np.ndarray:
    """Return the middle of the box around a mask of a slice, in mm from its first pixel.

    Examples
    --------
    >>> mask_centre_mm(np.eye(5), (0.5, 0.5))
    array([1., 1.])
    """
    voxels = np.argwhere(mask)
    return (voxels.min(axis=0) + voxels.max(axis=0)) / 2 * np.asarray(spacing_mm)


def limits_near(plane, spacing_mm, centre_mm, reach_mm: float) -> tuple[float, float]:
    """Return black and white of a slice from the values around a place.

    Examples
    --------
    >>> plane = np.arange(25.0).reshape(5, 5)
    >>> low, high = limits_near(plane, (1, 1), (2, 2), reach_mm=1.5)
    >>> print(low < 6, high > 18)
    True True
    """
    near = np.ix_(
        *[
            np.abs(np.arange(n) * spacing - centre) < reach_mm
            for n, spacing, centre in zip(plane.shape, spacing_mm, centre_mm, strict=True)
        ]
    )
    return gray_limits(plane[near])


def show_plane(ax, plane, spacing_mm, limits, colours="gray", *, interpolation="bilinear") -> None:
    """Show a slice (LAS) in mm or, with a spacing of 1, in pixels."""
    extent = [
        edge
        for n, spacing in zip(plane.shape, spacing_mm, strict=True)
        for edge in (-spacing / 2, (n - 0.5) * spacing)
    ]
    options = {"vmin": limits[0], "vmax": limits[1], "interpolation": interpolation}
    ax.imshow(plane.T, colours, extent=extent, origin="lower", **options)
    ax.set_facecolor("black")
    ax.spines[:].set_visible(False)


def zoom(ax, centre, half: float) -> None:
    """Show only the square around a place, `half` to each side."""
    x, y = centre
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))


def outline_plane(ax, mask, spacing_mm, colour, width=1.0, style="solid") -> None:
    """Draw the outline of a mask over a slice that `show_plane` shows."""
    if (mask > 0.5).any():
        grids = [np.arange(n) * step for n, step in zip(mask.shape, spacing_mm, strict=True)]
        options = {"colors": colour, "linewidths": width, "linestyles": style}
        ax.contour(*grids, mask.T, levels=[0.5], **options)


def _write(figure, left: float, text: str, colour=PALE) -> None:
    """Write below the panels, `left` inches from the figure's left."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 0.1 / height, text, color=colour, size=TEXT_PT)
