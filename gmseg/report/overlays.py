"""Figures of masks on their scans, of one slice within the cord, and of areas along the cord.

Slices are shown in radiological convention: anterior at the top, the patient's left on the right.
Every figure is a plain ``matplotlib.figure.Figure`` and needs no display.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmseg.core import geometry
from gmseg.core.resampling import to_las
from gmseg.errors import InputError
from gmseg.io.grids import orientation_onto
from gmseg.report.panels import (
    CORD,
    CORD_RADIUS_MM,
    DARK,
    PREDICTION,
    REFERENCE,
    TINT,
    axes_at,
    gray_limits,
    image_extent,
    show_gray,
    show_side_view,
    style_curve,
    write,
    write_directions,
)

# the dashed reference lets the prediction show through where both agree
_OUTLINES = {
    "cord": (CORD, (0, (1, 1)), 1),
    "mask": (PREDICTION, "solid", 2),
    "reference": (REFERENCE, (0, (2, 1.5)), 3),
}
_LEGEND = {"mask": "— prediction", "reference": "- - reference", "cord": "··· cord"}
_MOST_SLICES = 20
_PANEL_IN, _GAP_IN, _FOOT_IN = 1.8, 0.1, 0.32  # of the overlay


# ---------------------------------------------------------------------------- public figures


def draw_overlay(
    scan,
    mask,
    *,
    reference=None,
    soft=None,
    cord=None,
    slices: Sequence[int] | None = None,
    columns: int = 5,
    field_mm: float = 26.0,
    title: str | None = None,
) -> Figure:
    """Draw the slices of a scan, each without and, below, with the outline of the mask.

    Parameters
    ----------
    scan, mask : nibabel image
        Scan and mask on one grid, in any orientation. Voxels over 0.5 are in the mask.
    reference, soft : nibabel image, optional
        Mask to compare with, and soft segmentation to show as a tint, on the same grid.
    cord : nibabel image, optional
        Mask of the cord, on the same grid.
    slices : sequence of int, optional
        Numbers along the scan's own slice axis; by default all, or 20 evenly spaced ones.
    columns, field_mm : int, float
        Slices side by side; side of the square shown of each slice, centred on the mask.
    title : str, optional
        Title above the slices.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    gmseg.errors.InputError
        If the images are not on one grid, or there is no such slice.

    Examples
    --------
    >>> import nibabel as nib
    >>> image = nib.Nifti1Image(np.eye(20, dtype=np.float32)[..., None], np.diag([-1, 1, 5, 1]))
    >>> [ax.get_label() for ax in draw_overlay(image, image).axes]
    ['slice 0', 'slice 0 outlined']
    """
    data, sizes, numbers, layers = _checked_las(
        scan, mask=mask, reference=reference, soft=soft, cord=cord
    )
    shown = _positions(numbers, slices)
    centres = _line_through(layers["mask"], sizes)
    figure, places = _pairs_figure(len(shown), columns, title, layers)
    size = _PANEL_IN
    for k, (left, top) in zip(shown, places, strict=True):
        name = f"slice {numbers[k]}"
        plain = axes_at(figure, name, left, top - size, size, size)
        outlined = axes_at(figure, f"{name} outlined", left, top - 2 * size, size, size)
        for ax in (plain, outlined):
            _show_slice(ax, data[..., k], sizes, centres[k], field_mm)
        _outline(outlined, {name: las[..., k] for name, las in layers.items()}, sizes)
        _write_areas(outlined, layers, k, sizes)
        write(plain, 0.04, 0.96, name, va="top")
        if k == shown[0]:
            write_directions(plain, field_mm)
    return figure


def draw_slice_with_side_view(scan, mask, slice_index: int, *, field_mm: float = 30.0) -> Figure:
    """Draw one slice, its position on a side view of the cord, and the area of every slice.

    Parameters
    ----------
    scan, mask : nibabel image
        Scan and mask on one grid, in any orientation.
    slice_index : int
        Number of the slice along the scan's own slice axis.
    field_mm : float
        Side of the square shown of the slice, and depth of the side view.

    Returns
    -------
    matplotlib.figure.Figure
        Slice; sagittal view along the centreline (anterior on the left, head at the top), tinted
        where any GM lies; area along the cord.

    Raises
    ------
    gmseg.errors.InputError
        If the images are not on one grid, or there is no such slice.

    Examples
    --------
    >>> import nibabel as nib
    >>> image = nib.Nifti1Image(np.ones((20, 20, 3), np.float32), np.diag([-1, 1, 5, 1]))
    >>> [ax.get_label() for ax in draw_slice_with_side_view(image, image, 1).axes]
    ['slice', 'side view', 'areas']
    """
    data, sizes, numbers, layers = _checked_las(scan, mask=mask)
    (k,) = _positions(numbers, [slice_index])
    inside = layers["mask"]
    centres = _line_through(inside, sizes)
    areas = _areas_mm2(inside, sizes)
    length_mm = data.shape[2] * sizes[2]
    mm_per_inch = max(length_mm / 4.2, field_mm / 2.8)
    width, height = field_mm / mm_per_inch, length_mm / mm_per_inch
    bottom = 0.55 + (4.2 - height) / 2
    figure = Figure(figsize=(7.4 + width, 5.0), facecolor=DARK)

    ax = axes_at(figure, "slice", 0.3, 0.55, 4.2, 4.2)
    _show_slice(ax, data[..., k], sizes, centres[k], field_mm)
    _outline(ax, {"mask": inside[..., k]}, sizes)
    write_directions(ax, field_mm, size=12)
    write(ax, 0.03, 0.97, f"slice {slice_index}", va="top", size=12)
    write(ax, 0.03, 0.03, f"{areas[k]:.1f} mm²", color=PREDICTION, size=12)

    side = axes_at(figure, "side view", 4.75, bottom, width, height)
    view, limits = _side_view(data, sizes, centres)
    place = (sizes[1], length_mm), centres[:, 1].mean(), field_mm
    show_side_view(side, view, inside.any(axis=0).T, limits, *place)
    curve = axes_at(figure, "areas", 4.95 + width, bottom, 1.75, height)
    _plot_areas_upwards(curve, areas, sizes[2], k)
    for ax in (side, curve):
        ax.axhline((k + 0.5) * sizes[2], color="white", linewidth=1, alpha=0.9)
    return figure


def draw_areas(areas_mm2, *, reference=None, spacing_mm: float | None = None) -> Figure:
    """Draw the GM area along the cord.

    Parameters
    ----------
    areas_mm2 : sequence of float
        Area of every slice.
    reference : sequence of float, optional
        Reference areas to compare with.
    spacing_mm : float, optional
        Distance from slice to slice; without it, the axis counts slices.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> draw_areas([10, 12, 11], spacing_mm=5).axes[0].get_xlabel()
    'along the cord (mm)'
    """
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    ax = figure.add_subplot()
    curves = (("reference", reference, "#0072b2"), ("prediction", areas_mm2, "#d55e00"))
    for name, areas, colour in curves:
        if areas is not None:
            positions = np.arange(len(areas)) * (spacing_mm or 1)
            ax.plot(positions, areas, "o-", color=colour, markersize=4, label=name)
    ax.margins(y=0.15)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("GM area (mm²)")
    ax.set_xlabel("slice" if spacing_mm is None else "along the cord (mm)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e4e7eb")
    if reference is not None:
        ax.legend(frameon=False, ncols=2, loc="lower right")
    return figure


# --------------------------------------------------------------------------- scans and slices


def _checked_las(scan, **masks):
    """Return scan, voxel sizes, own slice numbers and masks, all in LAS orientation."""
    for name, image in masks.items():
        if image is None:
            continue
        if len(scan.shape) != 3 or sorted(image.shape) != sorted(scan.shape):
            raise InputError(
                f"the {name} has shape {image.shape}, the scan {scan.shape}; "
                f"both must be 3-D and the same"
            )
        if orientation_onto(image, scan) is None:
            raise InputError(
                f"the {name}'s affine is not the scan's; resample it to the scan's grid"
            )
    numbers = np.arange(scan.shape[geometry.slice_axis(scan.affine)])
    numbers = numbers[::-1] if geometry.runs_downwards(scan.affine) else numbers
    layers = {name: to_las(image)[0] for name, image in masks.items() if image is not None}
    layers = {name: data if name == "soft" else data > 0.5 for name, data in layers.items()}
    return *to_las(scan), numbers, layers


def _positions(numbers: np.ndarray, slices: Sequence[int] | None) -> list[int]:
    """Return the slices to show, counted from inferior to superior."""
    if slices is None:
        chosen = np.linspace(0, len(numbers) - 1, min(len(numbers), _MOST_SLICES))
        return np.rint(chosen).astype(int).tolist()
    for number in slices:
        if number not in numbers:
            raise InputError(f"slice {number}: there are slices 0 to {len(numbers) - 1}")
    return sorted(int(np.flatnonzero(numbers == number)[0]) for number in slices)


def _line_through(mask: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the centre of the field of every slice in mm, (slices, 2), on a straight line.

    A line through the centres of the mask is steady where the mask jumps between slices.
    """
    positions = np.arange(mask.shape[2])
    counts = mask.sum(axis=(0, 1))
    if not counts.any():
        middle = (np.array(mask.shape[:2]) - 1) / 2 * sizes[:2]
        return np.tile(middle, (len(positions), 1))
    labelled = np.flatnonzero(counts)
    centres = np.array([np.argwhere(mask[..., k]).mean(axis=0) for k in labelled]) * sizes[:2]
    weights = np.sqrt(counts[labelled])
    degree = min(1, len(labelled) - 1)
    lines = [np.polyfit(labelled, centres[:, axis], degree, w=weights) for axis in (0, 1)]
    return np.stack([np.polyval(line, positions) for line in lines], axis=1)


def _areas_mm2(mask: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return mask.sum(axis=(0, 1)) * float(sizes[0] * sizes[1])


# ----------------------------------------------------------------------------------- panels


def _pairs_figure(
    count: int, columns: int, title: str | None, layers: dict[str, np.ndarray]
) -> tuple[Figure, list[tuple[float, float]]]:
    """Return a figure with title and legend, and the left and top of its pairs in inches."""
    columns = max(1, min(columns, count))
    head = 0.46 if title else 0.1
    wide, high = _PANEL_IN + _GAP_IN, 2 * _PANEL_IN + _GAP_IN
    width, height = columns * wide + _GAP_IN, head + -(-count // columns) * high + _FOOT_IN
    figure = Figure(figsize=(width, height), facecolor=DARK)
    x, y = _GAP_IN / width, 0.12 / height
    for name, text in _LEGEND.items():
        if name in layers:
            figure.text(x, y, text, color=_OUTLINES[name][0])
            x += 1.1 / width
    if title:
        figure.text(x, 1 - 0.31 / height, title, color="white", size=12)
    cells = [divmod(i, columns) for i in range(count)]
    return figure, [(_GAP_IN + column * wide, height - head - row * high) for row, column in cells]


def _show_slice(ax: Axes, values: np.ndarray, sizes, centre, field_mm: float) -> None:
    """Show a slice in mm, its contrast set by the voxels around the centre."""
    x_mm, y_mm = (np.arange(n) * size for n, size in zip(values.shape, sizes, strict=False))
    distance = np.hypot(x_mm[:, None] - centre[0], y_mm[None] - centre[1])
    limits = gray_limits(values[distance < CORD_RADIUS_MM])
    show_gray(ax, values.T, limits, image_extent(values.shape, sizes))
    half = field_mm / 2
    ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
    ax.spines[:].set_visible(False)


def _outline(ax: Axes, layers: dict[str, np.ndarray], sizes) -> None:
    """Draw the outlines of masks, and the soft segmentation as a tint."""
    for name, values in layers.items():
        if name == "soft":
            extent = image_extent(values.shape, sizes)
            ax.imshow(values.T, TINT, extent=extent, origin="lower", vmin=0, vmax=1)
        elif values.any():
            grids = [np.arange(-1, n + 1) * s for n, s in zip(values.shape, sizes, strict=False)]
            colour, style, order = _OUTLINES[name]
            ax.contour(
                *grids,
                np.pad(values, 1).T,
                levels=[0.5],
                colors=colour,
                linestyles=[style],
                linewidths=1.3,
                zorder=order,
            )


def _write_areas(ax: Axes, layers: dict[str, np.ndarray], k: int, sizes) -> None:
    """Write the areas of mask and reference in slice k."""
    places = (("mask", 0.04, "left", PREDICTION), ("reference", 0.96, "right", REFERENCE))
    for name, x, side, colour in places:
        if name in layers:
            area = _areas_mm2(layers[name][..., k, None], sizes)[0]
            write(ax, x, 0.04, f"{area:.1f} mm²", color=colour, ha=side)


def _side_view(data: np.ndarray, sizes, centres) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the sagittal plane of the centreline, (slices, columns), and its gray limits."""
    rows = np.clip(np.rint(centres[:, 0] / sizes[0]).astype(int), 0, data.shape[0] - 1)
    view = np.stack([data[row, :, k] for k, row in enumerate(rows)])
    depth_mm = np.arange(data.shape[1]) * sizes[1]
    return view, gray_limits(view[np.abs(depth_mm - centres[:, 1:]) < CORD_RADIUS_MM])


def _plot_areas_upwards(ax: Axes, areas: np.ndarray, step_mm: float, k: int) -> None:
    """Plot areas from inferior (bottom) to superior, with a dot at slice k."""
    heights_mm = (np.arange(len(areas)) + 0.5) * step_mm
    ax.plot(areas, heights_mm, "o-", color=PREDICTION, markersize=3, linewidth=1.2)
    ax.plot(areas[k], heights_mm[k], "o", color="white", markersize=7)
    ax.set(xlim=(0, max(1.0, 1.15 * areas.max())), ylim=(0, len(areas) * step_mm))
    ax.set_xlabel("GM area (mm²)", labelpad=2)
    ax.set_ylabel("along the cord (mm)")
    ax.yaxis.set(label_position="right", ticks_position="right")
    style_curve(ax, 8, x_ticks=4, y_ticks=6)
