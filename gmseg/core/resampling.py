"""The working grid: LAS orientation, 0.25 mm in plane; there and back."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel import orientations

from gmseg.core.geometry import orientation
from gmseg.inference import planes

WORKING_SPACING_MM = 0.25
_LAS = orientations.axcodes2ornt("LAS")


@dataclass(frozen=True)
class Frame:
    """Where a scan lies on the working grid, without its voxels.

    Attributes
    ----------
    shape : tuple of int
        Rows, columns, slices of the working grid.
    affine : numpy.ndarray
        (4, 4), from its indices to mm in the scan's world space.
    native_shape : tuple of int
        Shape of the scan, 3-D.
    native_affine : numpy.ndarray
        (4, 4), the scan's affine.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray


@dataclass(frozen=True)
class WorkingGrid(Frame):
    """A scan in LAS orientation at 0.25 mm in plane, and the way back to its own grid.

    Attributes
    ----------
    data : numpy.ndarray
        float32, (rows, columns, slices): rows run from right to left, columns from back to
        front, slices from below to above.
    """

    data: np.ndarray


def frame_of(native_shape, affine: np.ndarray, spacing_mm: float = WORKING_SPACING_MM) -> Frame:
    """Return where an image of this shape and affine lies on the working grid.

    See `to_working_grid`.
    """
    transform = _to_las(affine)
    las_affine = affine @ orientations.inv_ornt_aff(transform, native_shape)
    las_shape = [native_shape[int(axis)] for axis in np.argsort(transform[:, 0])]
    step = _working_steps(las_affine, spacing_mm)
    return Frame(
        shape=tuple(max(1, round(n / s)) for n, s in zip(las_shape, step, strict=True)),
        affine=las_affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5),
        native_shape=tuple(native_shape),
        native_affine=np.array(affine),
    )


def to_working_grid(
    data: np.ndarray, affine: np.ndarray, spacing_mm: float = WORKING_SPACING_MM
) -> WorkingGrid:
    """Bring an image to LAS orientation and to square pixels, by linear interpolation.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z) in any orientation.
    affine : numpy.ndarray
        (4, 4), its affine in mm.
    spacing_mm : float
        In-plane spacing of the working grid; the slices stay as they are.

    Returns
    -------
    WorkingGrid
        Its field of view begins at the same corner as the image's; beyond the outermost
        voxel centres the nearest voxel counts.

    Notes
    -----
    Paper, "Methods": resampling to 0.25 x 0.25 mm, slice thickness kept. The positions come
    from the voxel sizes alone, so the 48 orders and flips of an image's axes give one and
    the same working grid.
    """
    frame = frame_of(data.shape, affine, spacing_mm)
    return WorkingGrid(**vars(frame), data=working_part(data, frame, (0, 0), frame.shape[:2]))


def working_part(data: np.ndarray, frame: Frame, corner, shape) -> np.ndarray:
    """Bring a part of every slice to the working grid, as `to_working_grid` does.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z), the scan's voxels.
    frame : Frame
        Where it lies on the working grid.
    corner, shape : (int, int)
        First row and column of the part, and how many, on the working grid.

    Returns
    -------
    numpy.ndarray
        float32, (rows, columns, slices).
    """
    las, _ = reoriented(data, frame.native_affine)
    at = [
        (np.arange(first, first + count) + 0.5) * step - 0.5
        for first, count, step in zip(corner, shape, _steps(frame), strict=True)
    ]
    return _sampled(las, *at)


def scanned_extent(data: np.ndarray, frame: Frame) -> list[tuple[int, int]] | None:
    """Return the first and last row, and column, of the working grid that are not all 0.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z), voxels of the scan.
    frame : Frame

    Returns
    -------
    list of (int, int), or None
        None where all is 0.
    """
    las, _ = reoriented(data, frame.native_affine)
    scanned = (las != 0).any(axis=2)
    if not scanned.any():
        return None
    found = []
    for axis, step in enumerate(_steps(frame)):
        some = np.flatnonzero(scanned.any(axis=1 - axis))
        at = (np.arange(frame.shape[axis]) + 0.5) * step - 0.5  # between which voxels
        at = np.clip(at, 0, las.shape[axis] - 1)
        within = np.flatnonzero((at > some[0] - 1) & (at < some[-1] + 1))
        found.append((int(within[0]), int(within[-1])))
    return found


def to_las(image) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's voxels in LAS orientation, float32, and their size in mm, (3,)."""
    data, affine = reoriented(np.asarray(image.dataobj), image.affine)
    return data, nib.affines.voxel_sizes(affine)


def reoriented(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels in LAS orientation, float32, and their affine."""
    las = orientations.apply_orientation(data, _to_las(affine)).astype(np.float32, copy=False)
    return las, affine @ orientations.inv_ornt_aff(_to_las(affine), data.shape)


def to_native_grid(values: np.ndarray, grid: Frame, corner=(0, 0)) -> np.ndarray:
    """Bring values on a working grid back to the scan's own, by linear interpolation.

    Parameters
    ----------
    values : numpy.ndarray
        (rows, columns, slices): all of the working grid, or a part beyond which all is 0.
    grid : Frame
    corner : (int, int)
        Row and column where the part begins.

    Returns
    -------
    numpy.ndarray
        float32, the scan's shape, in the scan's own orientation.
    """
    step = _steps(grid)
    transform = _to_las(grid.native_affine)
    las = np.zeros(
        [grid.native_shape[int(axis)] for axis in np.argsort(transform[:, 0])], np.float32
    )
    values = np.pad(np.asarray(values, np.float32), [(1, 1), (1, 1), (0, 0)])
    chosen, at = [], []  # which voxels lie on the part, and where
    for axis, (begin, size) in enumerate(zip(corner, step, strict=True)):
        places = (np.arange(las.shape[axis]) + 0.5) / size - 0.5
        places = np.clip(places, 0, grid.shape[axis] - 1) - (begin - 1)
        some = np.flatnonzero((places > 0) & (places < values.shape[axis] - 1))
        chosen.append(slice(some[0], some[-1] + 1) if some.size else slice(0))
        at.append(places[some])
    las[tuple(chosen)] = _sampled(values, *at)
    native_ornt = orientation(grid.native_affine)
    return orientations.apply_orientation(las, orientations.ornt_transform(_LAS, native_ornt))


def _to_las(affine: np.ndarray) -> np.ndarray:
    return orientations.ornt_transform(orientation(affine), _LAS)


def _steps(frame: Frame) -> np.ndarray:
    """Return the working grid's steps along rows and columns, in voxels of the LAS image."""
    transform = _to_las(frame.native_affine)
    las_affine = frame.native_affine @ orientations.inv_ornt_aff(transform, frame.native_shape)
    spacing_mm = float(nib.affines.voxel_sizes(frame.affine)[0])
    return _working_steps(las_affine, spacing_mm)[:2]


def _working_steps(las_affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Return the working grid's steps in voxels of the LAS image, (3,).

    Rounded to a nanometre, so that single-precision headers of one scan agree.
    """
    sizes = np.round(nib.affines.voxel_sizes(las_affine), 6)
    return np.array([round(spacing_mm, 6) / sizes[0], round(spacing_mm, 6) / sizes[1], 1.0])


def _sampled(data: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sample every slice at the same places, linearly."""
    sampled = np.empty((len(rows), len(columns), data.shape[2]), np.float32)
    for k in range(data.shape[2]):
        sampled[..., k] = planes.sampled(data[..., k], rows, columns)
    return sampled


def steps_mm(frame: Frame) -> dict[str, float]:
    """Return a working grid's spacing in plane and along the slices, in mm."""
    sizes = nib.affines.voxel_sizes(frame.affine)
    return {"spacing_mm": float(sizes[0]), "slice_mm": float(sizes[2])}
