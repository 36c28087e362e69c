"""The network's window: where it lies on each slice, cutting it out, pasting it back."""

from __future__ import annotations

import numpy as np

from gmseg.core.resampling import Frame
from gmseg.errors import InputError
from gmseg.inference import planes


def locate(grid: Frame, *, centre="auto", cord: np.ndarray | None = None) -> np.ndarray:
    """Decide where the window lies on every slice. The one place that decides this.

    Parameters
    ----------
    grid : Frame
        Or a WorkingGrid.
    centre : {"auto", "image"} or (float, float)
        The image's centre, or a place (x, y) in mm in the scan's world space. ``"auto"`` is
        the cord where a cord mask is given and the image's centre otherwise.
    cord : numpy.ndarray, optional
        The cord's middle, from `middles`.

    Returns
    -------
    numpy.ndarray
        int, (slices, 2): row and column of the window's centre.

    Raises
    ------
    gmseg.errors.InputError
        If the cord mask is empty, or the place lies outside the scan.
    """
    rows, columns, slices = grid.shape
    if isinstance(centre, str) and centre == "auto" and cord is not None:
        return _cord_centres(cord)
    if isinstance(centre, str):
        return np.tile([rows // 2, columns // 2], (slices, 1))
    return _world_centres(grid, *centre)


def middles(cord: np.ndarray) -> np.ndarray:
    """Return the middle of a cord mask in every slice.

    Parameters
    ----------
    cord : numpy.ndarray
        (rows, columns, slices) on the working grid; values over 0.5 are cord.

    Returns
    -------
    numpy.ndarray
        (slices, 2): row and column; NaN in slices without cord.
    """
    inside = np.moveaxis(cord > 0.5, 2, 0)
    return np.array([planes.middle(one) if one.any() else (np.nan, np.nan) for one in inside])


def _cord_centres(found: np.ndarray) -> np.ndarray:
    """Centre of the cord per slice; slices without cord take it from their neighbours."""
    labelled = np.flatnonzero(np.isfinite(found[:, 0]))
    if labelled.size == 0:
        raise InputError("the cord mask is empty; give a mask of the spinal cord")
    every = np.arange(len(found))
    return np.stack(
        [np.rint(np.interp(every, labelled, found[labelled, axis])) for axis in (0, 1)], axis=1
    ).astype(int)


def _world_centres(grid: Frame, x_mm: float, y_mm: float) -> np.ndarray:
    """Row and column, on every slice, of one place (x, y) in the scan's world space."""
    rows, columns, slices = grid.shape
    place = np.array([[x_mm], [y_mm]]) - grid.affine[:2, 3:]
    try:
        centres = np.linalg.solve(
            grid.affine[:2, :2], place - grid.affine[:2, 2:3] * np.arange(slices)
        ).T
    except np.linalg.LinAlgError:
        raise InputError(
            "the slices stand upright in world space; --centre X,Y has no place"
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


def bounds(shape, centres: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of the slices that windows at these centres lie in.

    Parameters
    ----------
    shape : tuple of int
        Of the working grid.
    centres : numpy.ndarray
        int, (slices, 2).
    size : int
        Rows and columns of the windows.

    Returns
    -------
    corner, shape : numpy.ndarray
        int, (2,): first row and column, and how many.
    """
    starts = np.asarray(centres) - size // 2
    low = np.clip(starts.min(axis=0), 0, shape[:2])
    return low, np.clip(starts.max(axis=0) + size, 0, shape[:2]) - low


def cut(volume: np.ndarray, centres: np.ndarray, size: int) -> np.ndarray:
    """Cut one window out of every slice; beyond the scan it is filled with 0.

    Parameters
    ----------
    volume : numpy.ndarray
        (rows, columns, slices), in scan values: the filling is scan value 0.
    centres : numpy.ndarray
        int, (slices, 2), from `locate`.
    size : int
        Rows and columns of the window, in pixels.

    Returns
    -------
    numpy.ndarray
        (slices, size, size), the volume's type.
    """
    windows = np.zeros((volume.shape[2], size, size), volume.dtype)
    for k, (inside, where) in enumerate(_overlaps(volume.shape, centres, size)):
        windows[k][inside] = volume[..., k][where]
    return windows


def paste(windows: np.ndarray, centres: np.ndarray, shape) -> np.ndarray:
    """Paste windows back where `cut` took them; everything else is 0.

    Returns
    -------
    numpy.ndarray
        The given shape (rows, columns, slices), the windows' type.
    """
    volume = np.zeros(shape, windows.dtype)
    for k, (inside, where) in enumerate(_overlaps(shape, centres, windows.shape[1])):
        volume[..., k][where] = windows[k][inside]
    return volume


def _overlaps(shape, centres: np.ndarray, size: int):
    """Yield, per slice, the overlap as indices of the window and of the slice."""
    for centre in np.asarray(centres):
        start = centre - size // 2
        low = np.clip(start, 0, shape[:2])
        high = np.clip(start + size, 0, shape[:2])
        inside = tuple(slice(*pair) for pair in zip(low - start, high - start, strict=True))
        yield inside, tuple(slice(*pair) for pair in zip(low, high, strict=True))
