"""Figures: masks on their scans, areas along the cord, the network as it was built.

Slices are shown as radiologists look at them: front at the top, the patient's left on the
picture's right. Every figure is a plain ``matplotlib.figure.Figure`` and needs no screen.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from gmseg.core import geometry
from gmseg.core.resampling import to_las
from gmseg.errors import InputError
from gmseg.io.image import GRID_MM, affine_difference_mm

# colours that people who see red and green alike can tell apart (after Okabe & Ito)
PREDICTION = "#f0a202"
REFERENCE = "#56b4e9"
DARK = "#101216"
PALE = "#c9ced6"
_TINT = LinearSegmentedColormap.from_list("gm", [(0.94, 0.64, 0.01, 0), (0.94, 0.64, 0.01, 0.5)])
_LINES = {"mask": (PREDICTION, "solid", 2), "reference": (REFERENCE, (0, (2, 1.5)), 3)}
_LABEL = {"facecolor": DARK, "alpha": 0.6, "pad": 1.5, "linewidth": 0}
_MOST_SLICES = 20
_CORD_RADIUS_MM = 3.5


# --------------------------------------------------------------------------- masks on scans


def draw_overlay(
    scan,
    mask,
    *,
    reference=None,
    soft=None,
    slices=None,
    columns: int = 5,
    field_mm: float = 26.0,
    title: str | None = None,
) -> Figure:
    """Draw a scan's slices, each one plain and, below, with the mask's outline.

    Parameters
    ----------
    scan, mask : nibabel image
        On one grid, in any orientation. A voxel is in the mask where its value is over 0.5.
    reference : nibabel image, optional
        A mask to compare with, on the same grid.
    soft : nibabel image, optional
        A soft segmentation on the same grid, shown as a tint.
    slices : sequence of int, optional
        Which slices, as counted along the scan's own slice axis; by default all of them, or
        20 evenly spread ones where there are more.
    columns : int
        Slices side by side.
    field_mm : float
        Side of the square that is shown of a slice. It follows the mask along the cord, or
        stays at the scan's centre where the mask is empty.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Two panels per slice, from foot to head.

    Raises
    ------
    gmseg.errors.InputError
        If the images are not on one grid, or there is no such slice.
    """
    scan, sizes, numbers, layers = _checked_las(scan, mask=mask, reference=reference, soft=soft)
    shown = _choose(numbers, slices)
    centres = _centres(layers["mask"], sizes)
    areas = {name: _areas_mm2(las, sizes) for name, las in layers.items()}
    columns = max(1, min(columns, len(shown)))
    rows = -(-len(shown) // columns)
    side, gap, head, foot = 1.8, 0.1, 0.46 if title else 0.1, 0.32
    size = (columns * (side + gap) + gap, head + rows * (2 * side + gap) + foot)
    figure = Figure(figsize=size, facecolor=DARK)
    for i, k in enumerate(shown):
        left = gap + (i % columns) * (side + gap)
        top = size[1] - head - (i // columns) * (2 * side + gap)
        plain, outlined = (
            axes_at(figure, f"slice {numbers[k]}{what}", left, top - drop, side, side)
            for what, drop in (("", side), (" outlined", 2 * side))
        )
        for ax in (plain, outlined):
            _show_slice(ax, scan[..., k], sizes, centres[k], field_mm)
        _outline(outlined, {name: las[..., k] for name, las in layers.items()}, sizes)
        _write(plain, 0.04, 0.96, f"slice {numbers[k]}", va="top")
        _write(outlined, 0.04, 0.04, f"{areas['mask'][k]:.1f} mm²", color=PREDICTION)
        if reference is not None:
            text = f"{areas['reference'][k]:.1f} mm²"
            _write(outlined, 0.96, 0.04, text, color=REFERENCE, ha="right")
        if i == 0:
            _write_directions(plain, field_mm)
    x, y = gap / size[0], 0.12 / size[1]
    figure.text(x, y, "— prediction", color=PREDICTION)
    if reference is not None:
        figure.text(x + 1.1 / size[0], y, "- - reference", color=REFERENCE)
    if title:
        figure.text(x, 1 - 0.31 / size[1], title, color="white", size=12)
    return figure


def draw_run(scan, mask, slice_index: int, *, field_mm: float = 30.0) -> Figure:
    """Draw one moment of a run through the cord: a slice, the side view, the areas.

    Parameters
    ----------
    scan, mask : nibabel image
        On one grid, in any orientation.
    slice_index : int
        Which slice, as counted along the scan's own slice axis.
    field_mm : float
        Side of the square that is shown of the slice, and depth of the side view.

    Returns
    -------
    matplotlib.figure.Figure
        Slice; side view (front on the left, head at the top; it follows the cord's way to
        the left and right, and the tint shows how far GM reaches); area along the cord.

    Raises
    ------
    gmseg.errors.InputError
        If the images are not on one grid, or there is no such slice.
    """
    scan, sizes, numbers, layers = _checked_las(scan, mask=mask)
    (k,) = _choose(numbers, [slice_index])
    mask = layers["mask"]
    centres = _centres(mask, sizes)
    areas = _areas_mm2(mask, sizes)
    length_mm = scan.shape[2] * sizes[2]
    mm_per_inch = max(length_mm / 4.2, field_mm / 2.8)
    wide, high = field_mm / mm_per_inch, length_mm / mm_per_inch
    low = 0.55 + (4.2 - high) / 2
    figure = Figure(figsize=(7.4 + wide, 5.0), facecolor=DARK)

    ax = axes_at(figure, "slice", 0.3, 0.55, 4.2, 4.2)
    _show_slice(ax, scan[..., k], sizes, centres[k], field_mm)
    _outline(ax, {"mask": mask[..., k]}, sizes)
    _write_directions(ax, field_mm, size=12)
    _write(ax, 0.03, 0.97, f"slice {slice_index}", va="top", size=12)
    _write(ax, 0.03, 0.03, f"{areas[k]:.1f} mm²", color=PREDICTION, size=12)

    ax = axes_at(figure, "side view", 4.75, low, wide, high)
    ax.set_facecolor("black")
    across = np.clip(np.rint(centres[:, 0] / sizes[0]).astype(int), 0, scan.shape[0] - 1)
    view = np.stack([scan[across[j], :, j] for j in range(scan.shape[2])])
    depth_mm = np.arange(scan.shape[1]) * sizes[1]
    vmin, vmax = gray_limits(view[np.abs(depth_mm - centres[:, 1:]) < _CORD_RADIUS_MM])
    where = {
        "extent": (-sizes[1] / 2, depth_mm[-1] + sizes[1] / 2, 0, length_mm),
        "origin": "lower",
        "aspect": "auto",
    }
    ax.imshow(view, cmap="gray", vmin=vmin, vmax=vmax, interpolation="bilinear", **where)
    ax.imshow(mask.any(axis=0).T, cmap=_TINT, vmax=1.8, interpolation="nearest", **where)
    middle = centres[:, 1].mean()
    ax.set(xlim=(middle + field_mm / 2, middle - field_mm / 2), ylim=(0, length_mm))
    _write(ax, 0.04, 0.02, "A", size=12)
    _write(ax, 0.96, 0.02, "P", ha="right", size=12)

    curve = axes_at(figure, "areas", 4.95 + wide, low, 1.75, high)
    curve.set_facecolor(DARK)
    curve.xaxis.set_major_locator(MaxNLocator(4))
    curve.yaxis.set_major_locator(MaxNLocator(6))
    heights = (np.arange(len(areas)) + 0.5) * sizes[2]
    curve.plot(areas, heights, "o-", color=PREDICTION, markersize=3, linewidth=1.2)
    curve.plot(areas[k], heights[k], "o", color="white", markersize=7)
    curve.set(xlim=(0, max(1.0, 1.15 * areas.max())), ylim=(0, length_mm))
    curve.set_xlabel("GM area (mm²)", color=PALE, labelpad=2)
    curve.set_ylabel("along the cord (mm)", color=PALE)
    curve.yaxis.set(label_position="right", ticks_position="right")
    curve.tick_params(colors=PALE, labelsize=8)
    curve.spines[:].set_color("#4a505a")
    for panel in (ax, curve):
        panel.axhline(heights[k], color="white", linewidth=1, alpha=0.9)
    return figure


def draw_areas(areas_mm2, *, truth=None, spacing_mm: float | None = None) -> Figure:
    """Draw the GM area along the cord.

    Parameters
    ----------
    areas_mm2 : sequence of float
        One per slice.
    truth : sequence of float, optional
        The areas that they should be.
    spacing_mm : float, optional
        From slice to slice; without it, slices are counted.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    ax = figure.add_subplot()
    for areas, name, colour in ((truth, "truth", "#0072b2"), (areas_mm2, "prediction", "#d55e00")):
        if areas is not None:
            at = np.arange(len(areas)) * (spacing_mm or 1)
            ax.plot(at, areas, "o-", color=colour, markersize=4, label=name)
    ax.margins(y=0.15)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("GM area (mm²)")
    ax.set_xlabel("slice" if spacing_mm is None else "along the cord (mm)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e4e7eb")
    if truth is not None:
        ax.legend(frameon=False, ncols=2, loc="lower right")
    return figure


# ------------------------------------------------------------------------ scans, and drawing


def _checked_las(scan, **masks):
    """Return scan, voxel sizes, own numbers of the slices, and masks, all in LAS."""
    for name, image in masks.items():
        if image is None:
            continue
        if len(scan.shape) != 3 or image.shape != scan.shape:
            raise InputError(
                f"the {name} has shape {image.shape}, the scan {scan.shape}; "
                f"both must be 3-D and the same"
            )
        if affine_difference_mm(image.affine, scan.affine) > GRID_MM:
            raise InputError(
                f"the {name}'s affine is not the scan's; resample it to the scan's grid"
            )
    numbers = np.arange(scan.shape[geometry.slice_axis(scan.affine)])
    numbers = numbers[::-1] if geometry.runs_downwards(scan.affine) else numbers
    layers = {name: to_las(image)[0] for name, image in masks.items() if image is not None}
    layers = {name: data if name == "soft" else data > 0.5 for name, data in layers.items()}
    return *to_las(scan), numbers, layers


def _choose(numbers: np.ndarray, slices) -> list[int]:
    """Return which slices to show, as counted from foot to head."""
    if slices is None:
        chosen = np.linspace(0, len(numbers) - 1, min(len(numbers), _MOST_SLICES))
        return np.rint(chosen).astype(int).tolist()
    for number in slices:
        if number not in numbers:
            raise InputError(f"slice {number}: there are slices 0 to {len(numbers) - 1}")
    return sorted(int(np.flatnonzero(numbers == number)[0]) for number in slices)


def _centres(mask: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the place to look at in every slice, in mm: (slices, 2), on a straight line.

    A line through the mask's centres stays calm where the mask jumps from slice to slice.
    """
    every = np.arange(mask.shape[2])
    counts = mask.sum(axis=(0, 1))
    if not counts.any():
        middle = (np.array(mask.shape[:2]) - 1) / 2 * sizes[:2]
        return np.tile(middle, (len(every), 1))
    labelled = np.flatnonzero(counts)
    found = np.array([np.argwhere(mask[..., k]).mean(axis=0) for k in labelled]) * sizes[:2]
    weights = np.sqrt(counts[labelled])
    degree = min(1, len(labelled) - 1)
    lines = [np.polyfit(labelled, found[:, axis], degree, w=weights) for axis in (0, 1)]
    return np.stack([np.polyval(line, every) for line in lines], axis=1)


def _areas_mm2(mask: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return mask.sum(axis=(0, 1)) * float(sizes[0] * sizes[1])


def gray_limits(values: np.ndarray) -> tuple[float, float]:
    """Return black and white such that gray and white matter differ; CSF may be all white."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [2, 96])
    return low - 0.4 * (high - low), high + 0.35 * (high - low) + 1e-6


def _show_slice(ax, values: np.ndarray, sizes, centre, field_mm: float) -> None:
    """Show a slice in mm, its contrast set by what lies around the centre."""
    grids = [np.arange(n) * size for n, size in zip(values.shape, sizes, strict=False)]
    distance = np.hypot(grids[0][:, None] - centre[0], grids[1][None] - centre[1])
    vmin, vmax = gray_limits(values[distance < _CORD_RADIUS_MM])
    edges = [
        edge
        for g, size in zip(grids, sizes, strict=False)
        for edge in (-size / 2, g[-1] + size / 2)
    ]
    ax.imshow(
        values.T,
        "gray",
        extent=edges,
        origin="lower",
        vmin=vmin,
        vmax=vmax,
        interpolation="bilinear",
    )
    half = field_mm / 2
    ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
    ax.set_facecolor("black")
    ax.spines[:].set_visible(False)


def _outline(ax, layers: dict[str, np.ndarray], sizes) -> None:
    """Draw the masks' outlines, and the soft segmentation as a tint."""
    for name, values in layers.items():
        if name == "soft":
            edges = ax.images[0].get_extent()
            ax.imshow(values.T, _TINT, extent=edges, origin="lower", vmin=0, vmax=1)
        elif values.any():
            grids = [
                np.arange(-1, n + 1) * size for n, size in zip(values.shape, sizes, strict=False)
            ]
            # the reference is dashed, so that the prediction shows through where they agree
            colour, style, order = _LINES[name]
            how = {"colors": colour, "linestyles": [style], "zorder": order}
            ax.contour(*grids, np.pad(values, 1).T, levels=[0.5], linewidths=1.3, **how)


def _write(ax, x, y, text, *, color="white", size=9, **how) -> None:
    how = {"va": "bottom", "bbox": _LABEL} | how
    ax.text(x, y, text, color=color, size=size, transform=ax.transAxes, **how)


def _write_directions(ax, field_mm: float, size=9) -> None:
    """Write where the patient's front, back, right and left are, and draw a bar of 5 mm."""
    _write(ax, 0.5, 0.96, "A", size=size, ha="center", va="top")
    _write(ax, 0.5, 0.04, "P", size=size, ha="center")
    _write(ax, 0.04, 0.5, "R", size=size, va="center")
    _write(ax, 0.96, 0.5, "L", size=size, va="center", ha="right")
    length = 5 / field_mm
    how = {"facecolor": "white", "edgecolor": DARK, "transform": ax.transAxes, "zorder": 4}
    ax.add_patch(Rectangle((0.96 - length, 0.035), length, 0.018, linewidth=0.6, **how))
    _write(ax, 0.96 - length / 2, 0.075, "5 mm", size=size - 1, ha="center")


INK = "#22303c"


def axes_at(figure, label, left, bottom, width, height):
    """Add axes without ticks at a place given in inches."""
    wide, high = figure.get_size_inches()
    box = (left / wide, bottom / high, width / wide, height / high)
    return figure.add_axes(box, label=label, xticks=[], yticks=[])
