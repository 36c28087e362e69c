"""The network's windows: where they lie, cutting them out, pasting them back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from gmseg.core.resampling import (
    GridGeometry,
    grid_geometry,
    reoriented,
    sample,
    steps,
    to_native_order,
    way_back,
)
from gmseg.errors import InputError


def window_centres(
    grid: GridGeometry, *, centre="auto", cord: np.ndarray | None = None
) -> np.ndarray:
    """Return the centre of the window on every slice, for a given position or cord.

    `gmseg.inference.localisation` moves the windows of a scan whose cord has to be localised.

    Parameters
    ----------
    grid : GridGeometry
        Geometry of the working grid.
    centre : {"auto", "image"} or (float, float)
        Centre of the image, or a position (x, y) in mm in the scan's world space. ``"auto"`` is
        the cord where its centres are given, and the centre of the image otherwise.
    cord : numpy.ndarray, optional
        Centre of the cord in every slice, from `centres_of_mass`.

    Returns
    -------
    numpy.ndarray
        int, (slices, 2): row and column of the centre of the window.

    Raises
    ------
    gmseg.errors.InputError
        If the cord mask is empty, or the position lies outside the scan.

    Examples
    --------
    >>> from gmseg.core.resampling import grid_geometry
    >>> window_centres(grid_geometry((64, 64, 2), np.diag([0.5, 0.5, 5, 1])))
    array([[64, 64],
           [64, 64]])
    """
    rows, columns, slices = grid.shape
    if isinstance(centre, str):
        if centre == "auto" and cord is not None:
            return _cord_centres(cord)
        return np.tile([rows // 2, columns // 2], (slices, 1))
    return _world_centres(grid, *centre)


def centres_of_mass(mask: np.ndarray) -> np.ndarray:
    """Return the centre of mass of a mask in every slice.

    Parameters
    ----------
    mask : numpy.ndarray
        (rows, columns, slices) on the working grid; values over 0.5 belong to the mask.

    Returns
    -------
    numpy.ndarray
        (slices, 2): row and column; NaN in empty slices.
    """
    slices = np.moveaxis(mask > 0.5, 2, 0)
    return np.array([ndimage.center_of_mass(one) if one.any() else (np.nan,) * 2 for one in slices])


def _cord_centres(centres: np.ndarray) -> np.ndarray:
    """Round the centres of the cord; slices without cord are interpolated."""
    labelled = np.flatnonzero(np.isfinite(centres[:, 0]))
    if labelled.size == 0:
        raise InputError("the cord mask is empty; give a mask of the spinal cord")
    slices = np.arange(len(centres))
    columns = [np.interp(slices, labelled, centres[labelled, axis]) for axis in (0, 1)]
    return np.rint(np.stack(columns, axis=1)).astype(int)


def _world_centres(grid: GridGeometry, x_mm: float, y_mm: float) -> np.ndarray:
    """Return row and column, on every slice, of a position (x, y) in the scan's world space."""
    rows, columns, slices = grid.shape
    position = np.array([[x_mm], [y_mm]]) - grid.affine[:2, 3:]
    try:
        centres = np.linalg.solve(
            grid.affine[:2, :2], position - grid.affine[:2, 2:3] * np.arange(slices)
        ).T
    except np.linalg.LinAlgError:
        raise InputError(
            "the slices are not axial, so (x, y) does not define a point in them; "
            "leave out `centre`"
        ) from None
    centres = np.rint(centres).astype(int)
    inside = ((centres >= 0) & (centres < (rows, columns))).all(axis=1)
    if not inside.any():
        corners = grid.affine @ [[0, rows - 1], [0, columns - 1], [slices // 2] * 2, [1, 1]]
        (x0, x1), (y0, y1) = np.sort(corners[:2], axis=1)
        raise InputError(
            f"the centre {x_mm:g},{y_mm:g} lies outside the scan, which reaches from "
            f"x = {x0:.0f} to {x1:.0f} and from y = {y0:.0f} to {y1:.0f} mm; give a place inside"
        )
    return centres


def darkest(volume: np.ndarray) -> np.ndarray:
    """Return the lowest finite value of every slice, with which windows of a scan are filled.

    Parameters
    ----------
    volume : numpy.ndarray
        (rows, columns, slices), in scan values.

    Notes
    -----
    In most scans it is 0, the value of air. A constant that is added to a scan is added to the
    filling as well, so that nothing changes once the windows are standardised.

    Examples
    --------
    >>> darkest(np.array([[[3.0, np.nan], [4.0, -1.0]]]))
    array([ 3., -1.], dtype=float32)
    """
    slices = np.moveaxis(np.asarray(volume, np.float32), 2, 0).reshape(volume.shape[2], -1)
    lowest = np.min(slices, axis=1, where=np.isfinite(slices), initial=np.inf)
    return np.where(np.isfinite(lowest), lowest, 0).astype(np.float32)


def cut(volume: np.ndarray, centres: np.ndarray, size: int, fill=0) -> np.ndarray:
    """Cut one window out of every slice.

    Parameters
    ----------
    volume : numpy.ndarray
        (rows, columns, slices).
    centres : numpy.ndarray
        int, (slices, 2), from `window_centres`.
    size : int
        Rows and columns of the window, in pixels.
    fill : float or array_like
        Value beyond the scan, the same or one for each slice: 0 for masks and soft
        segmentations, `darkest` for scans.

    Returns
    -------
    numpy.ndarray
        (slices, size, size), of the type of the volume.

    Examples
    --------
    >>> windows = cut(np.ones((128, 128, 2)), np.array([[64, 64], [0, 64]]), 100)
    >>> windows.shape, windows.mean(axis=(1, 2))
    ((2, 100, 100), array([1. , 0.5]))
    """
    windows = np.empty((volume.shape[2], size, size), volume.dtype)
    windows[...] = np.reshape(fill, (-1, 1, 1))
    for k, (in_window, in_slice) in enumerate(_overlaps(volume.shape, centres, size)):
        windows[k][in_window] = volume[..., k][in_slice]
    return windows


def cut_from_scan(
    data: np.ndarray, affine: np.ndarray, centres: np.ndarray, size: int, spacing_mm: float
) -> np.ndarray:
    """Cut windows out of the slices of a scan, resampled only where the windows lie.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z), in any orientation.
    affine : numpy.ndarray
        (4, 4), its affine in mm.
    centres : numpy.ndarray
        int, (n, 2), on the working grid: one for every slice, or any number for a single slice.
    size : int
        Rows and columns of the window, in pixels.
    spacing_mm : float
        Spacing of the working grid in plane.

    Returns
    -------
    numpy.ndarray
        float32, (n, size, size): what `cut` returns from the scan on the working grid, filled
        with its `darkest` values. These need the whole slice, but only for windows that extend
        beyond it.

    Examples
    --------
    >>> data, affine = np.random.default_rng(0).random((64, 64, 2)), np.diag([0.5, 0.5, 5, 1])
    >>> centres = np.array([[64, 64], [70, 60]])
    >>> windows = cut_from_scan(data, affine, centres, 20, 0.25)
    >>> from gmseg.core.resampling import to_working_grid
    >>> np.allclose(windows, cut(to_working_grid(data, affine).data, centres, 20))
    True
    """
    las, las_affine = reoriented(data, affine)
    step = steps(las_affine, spacing_mm)[:2]
    shape = grid_geometry(data.shape, affine, spacing_mm).shape
    windows = np.empty((len(centres), size, size), np.float32)
    fills: dict[int, np.ndarray] = {}
    for i, (in_window, in_slice) in enumerate(_overlaps(shape, centres, size)):
        k, part = min(i, shape[2] - 1), windows[i][in_window]
        if part.size < size**2:  # the window extends beyond the slice
            if k not in fills:
                whole = np.empty((*shape[:2], 1), np.float32)
                sample(las[..., k], step, whole[..., 0])
                fills[k] = darkest(whole)
            windows[i] = fills[k]
        if part.size:
            sample(las[..., k], step, part, first=[where.start for where in in_slice])
    return windows


def paste(windows: np.ndarray, centres: np.ndarray, shape) -> np.ndarray:
    """Paste windows back where `cut` took them; everything else is 0.

    Returns
    -------
    numpy.ndarray
        Of the given shape (rows, columns, slices) and the type of the windows.
    """
    volume = np.zeros(shape, windows.dtype)
    for k, (in_window, in_slice) in enumerate(_overlaps(shape, centres, windows.shape[1])):
        volume[..., k][in_slice] = windows[k][in_window]
    return volume


def paste_to_scan(windows: np.ndarray, centres: np.ndarray, grid: GridGeometry) -> np.ndarray:
    """Paste windows where they were cut, and resample nothing but the windows to the native grid.

    Parameters
    ----------
    windows : numpy.ndarray
        float32, (slices, size, size).
    centres : numpy.ndarray
        int, (slices, 2), on the working grid.
    grid : GridGeometry
        Where the scan lies on the working grid.

    Returns
    -------
    numpy.ndarray
        float32, in the scan's shape: `to_native_grid` of what `paste` returns.

    Examples
    --------
    >>> grid = grid_geometry((64, 64, 2), np.diag([0.5, 0.5, 5, 1]))
    >>> windows, centres = np.ones((2, 20, 20), np.float32), np.array([[64, 64], [70, 60]])
    >>> native = paste_to_scan(windows, centres, grid)
    >>> from gmseg.core.resampling import to_native_grid
    >>> np.allclose(native, to_native_grid(paste(windows, centres, grid.shape), grid))
    True
    """
    shape, step = way_back(grid)
    las = np.zeros(shape, np.float32)
    for k, (in_window, in_slice) in enumerate(_overlaps(grid.shape, centres, windows.shape[1])):
        inside = windows[k][in_window]
        if not inside.size:
            continue
        # the zeros around the window are interpolated with it
        low = [max(part.start - 1, 0) for part in in_slice]
        high = [min(part.stop + 1, n) for part, n in zip(in_slice, grid.shape, strict=False)]
        pad = [(p.start - a, b - p.stop) for p, a, b in zip(in_slice, low, high, strict=True)]
        rows, columns = (
            _covered(shape[axis], step[axis], low[axis], high[axis], grid.shape[axis])
            for axis in (0, 1)
        )
        part = las[rows, columns, k]
        sample(np.pad(inside, pad), step, part, first=(rows.start, columns.start), origin=low)
    return to_native_order(las, grid)


def _covered(count: int, step: float, low: int, high: int, whole: int) -> slice:
    """Return which native pixels lie within some pixels of the working grid, along one axis.

    Parameters
    ----------
    count, step : int, float
        Number of native pixels, and their size in pixels of the working grid.
    low, high, whole : int
        First pixel of the working grid and last + 1, and the number of all. Native pixels beyond
        the outermost pixel centres of the working grid take the values of the nearest.
    """
    at = step * (np.arange(count) + 0.5) - 0.5
    first = 0 if low == 0 else int(np.searchsorted(at, low))
    last = count if high == whole else int(np.searchsorted(at, high - 1, "right"))
    return slice(first, last)


def _overlaps(shape, centres: np.ndarray, size: int) -> Iterator[tuple[tuple, tuple]]:
    """Yield, per slice, the overlap as indices of the window and of the slice."""
    for centre in np.asarray(centres):
        start = centre - size // 2
        low = np.clip(start, 0, shape[:2])
        high = np.clip(start + size, 0, shape[:2])
        in_window = tuple(slice(*pair) for pair in zip(low - start, high - start, strict=True))
        yield in_window, tuple(slice(*pair) for pair in zip(low, high, strict=True))
