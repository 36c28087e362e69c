"""Areas and volumes."""

from __future__ import annotations

import functools

import nibabel as nib
import numpy as np


def orientation(affine: np.ndarray) -> np.ndarray:
    """Return where an array's axes lead, as nibabel's `io_orientation`, and remember it."""
    return _orientation(np.ascontiguousarray(affine[:3, :3], float).tobytes())


@functools.lru_cache(64)
def _orientation(matrix: bytes) -> np.ndarray:
    linear = np.frombuffer(matrix).reshape(3, 3)
    found = nib.orientations.io_orientation(nib.affines.from_matvec(linear))
    found.flags.writeable = False
    return found


def slice_axis(affine: np.ndarray) -> int:
    """Return the array axis that runs from foot to head."""
    return int(np.flatnonzero(orientation(affine)[:, 0] == 2)[0])


def runs_downwards(affine: np.ndarray) -> bool:
    """Return whether the slices of an array are stored from head to foot."""
    return bool(orientation(affine)[slice_axis(affine), 1] < 0)


def slice_areas_mm2(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the area in every slice, in mm^2, in the order of the slice axis.

    Parameters
    ----------
    mask : numpy.ndarray
        (x, y, z): a mask, or a soft segmentation (then each voxel counts by its share).
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    numpy.ndarray
        float64, (slices,). Within the slice plane as it was scanned: no correction for
        slices that are oblique to the cord.
    """
    axis = slice_axis(affine)
    in_plane = [a for a in range(3) if a != axis]
    pixel_mm2 = np.linalg.norm(np.cross(*affine[:3, in_plane].T))
    return np.asarray(mask, float).sum(axis=tuple(in_plane)) * pixel_mm2


def volume_mm3(areas_mm2: np.ndarray, affine: np.ndarray) -> float:
    """Return the volume, in mm^3, of what has these areas, from `slice_areas_mm2`."""
    axis = slice_axis(affine)
    in_plane = np.cross(*np.delete(affine[:3, :3].T, axis, axis=0))
    step_mm = abs(np.linalg.det(affine[:3, :3])) / np.linalg.norm(in_plane)
    return float(np.sum(areas_mm2) * step_mm)
