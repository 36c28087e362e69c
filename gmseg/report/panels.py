"""Panels that the overlays and the movie share: slice, side view, labels, colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

# colours that colour-blind readers can tell apart (after Okabe and Ito)
PREDICTION = "#f0a202"
REFERENCE = "#56b4e9"
CORD = "#40e0ff"
DARK = "#101216"
PALE = "#c9ced6"
INK = "#22303c"
TINT = LinearSegmentedColormap.from_list("gm", [(0.94, 0.64, 0.01, 0), (0.94, 0.64, 0.01, 0.5)])
CORD_RADIUS_MM = 3.5
"""Radius around the centre of the cord whose voxels set black and white."""
_LABEL_BOX = {"facecolor": DARK, "alpha": 0.6, "pad": 1.5, "linewidth": 0}
_SCALE_BAR_MM = 5


def axes_at(figure, label, left, bottom, width, height) -> Axes:
    """Add axes without ticks at a place given in inches."""
    wide, high = figure.get_size_inches()
    box = (left / wide, bottom / high, width / wide, height / high)
    return figure.add_axes(box, label=label, xticks=[], yticks=[])


def gray_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the values to show as black and white, so that gray and white matter differ.

    CSF may be all white. Values that are not finite are ignored.

    Examples
    --------
    >>> black, white = gray_limits(np.arange(101.0))
    >>> round(black, 1), round(white, 1)
    (-35.6, 128.9)
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(values, [2, 96]))
    return low - 0.4 * (high - low), high + 0.35 * (high - low) + 1e-6


def image_extent(shape: Sequence[int], sizes) -> tuple[float, float, float, float]:
    """Return the edges of a slice in mm for matplotlib, the centre of the first voxel at 0.

    Examples
    --------
    >>> image_extent((10, 20), (0.5, 1))
    (-0.25, 4.75, -0.5, 19.5)
    """
    (rows, columns), (row_mm, column_mm) = shape[:2], sizes[:2]
    return (-row_mm / 2, (rows - 0.5) * row_mm, -column_mm / 2, (columns - 0.5) * column_mm)


def show_gray(ax: Axes, values: np.ndarray, limits, extent, how: str = "bilinear") -> AxesImage:
    """Show an image in gray, its first row at the bottom, on black."""
    ax.set_facecolor("black")
    return ax.imshow(
        values,
        "gray",
        vmin=limits[0],
        vmax=limits[1],
        interpolation=how,
        extent=extent,
        origin="lower",
    )


def show_side_view(ax: Axes, view, reach, limits, sizes_mm, centre_mm: float, field_mm: float):
    """Show a sagittal view, tinted as far as the mask reaches; anterior on the left.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    view, reach : numpy.ndarray
        (lines, columns): scan and mask from inferior to superior, from posterior to anterior.
    limits : tuple of float
        Values shown as black and white.
    sizes_mm : tuple of float
        Size of a column and length of the scan.
    centre_mm, field_mm : float
        Centre and width of what is shown of the columns.
    """
    column_mm, length_mm = sizes_mm
    extent = (-column_mm / 2, (view.shape[1] - 0.5) * column_mm, 0, length_mm)
    show_gray(ax, view, limits, extent)
    tint = ax.imshow(reach, TINT, vmin=0, vmax=1.8, extent=extent, origin="lower")
    tint.set_interpolation("nearest")
    ax.set_aspect("auto")
    ax.set(xlim=(centre_mm + field_mm / 2, centre_mm - field_mm / 2), ylim=(0, length_mm))
    write(ax, 0.04, 0.02, "A", size=12)
    write(ax, 0.96, 0.02, "P", ha="right", size=12)


def write(ax: Axes, x, y, text, *, color="white", size: float = 9, va="bottom", ha="left") -> None:
    """Write on axes, at a place from 0 to 1, on a translucent box."""
    style = {"color": color, "size": size, "va": va, "ha": ha, "bbox": _LABEL_BOX}
    ax.text(x, y, text, transform=ax.transAxes, **style)


def write_directions(ax: Axes, field_mm: float, size: float = 9) -> None:
    """Write the anatomical directions on a slice, and draw a scale bar of 5 mm."""
    write(ax, 0.5, 0.96, "A", size=size, ha="center", va="top")
    write(ax, 0.5, 0.04, "P", size=size, ha="center")
    write(ax, 0.04, 0.5, "R", size=size, va="center")
    write(ax, 0.96, 0.5, "L", size=size, va="center", ha="right")
    length = _SCALE_BAR_MM / field_mm
    bar = Rectangle((0.96 - length, 0.035), length, 0.018, transform=ax.transAxes, zorder=4)
    bar.set(linewidth=0.6, facecolor="white", edgecolor=DARK)
    ax.add_patch(bar)
    write(ax, 0.96 - length / 2, 0.075, f"{_SCALE_BAR_MM} mm", size=size - 1, ha="center")


def style_curve(ax: Axes, size: float, x_ticks: int, y_ticks: int) -> None:
    """Set a maximum of ticks for a curve, and pale labels on a dark background."""
    ax.xaxis.set_major_locator(MaxNLocator(x_ticks))
    ax.yaxis.set_major_locator(MaxNLocator(y_ticks))
    ax.set_facecolor(DARK)
    ax.tick_params(colors=PALE, labelsize=size)
    ax.spines[:].set_color("#4a505a")
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_color(PALE)
