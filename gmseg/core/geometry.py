"""Slice axis, areas and volumes of arrays with an affine."""

from __future__ import annotations

import nibabel as nib
import numpy as np


def slice_axis(affine: np.ndarray) -> int:
    """Return the array axis that runs from inferior to superior.

    Examples
    --------
    >>> slice_axis(np.diag([0.5, 0.5, 5, 1]))
    2
    """
    return int(np.flatnonzero(nib.orientations.io_orientation(affine)[:, 0] == 2)[0])


def runs_downwards(affine: np.ndarray) -> bool:
    """Return whether the slices of an array are stored from superior to inferior.

    Examples
    --------
    >>> runs_downwards(np.diag([0.5, 0.5, -5, 1]))
    True
    """
    return bool(nib.orientations.io_orientation(affine)[slice_axis(affine), 1] < 0)


def slice_areas_mm2(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the area of a mask in every slice.

    Parameters
    ----------
    mask : numpy.ndarray
        (x, y, z): a mask, or a soft segmentation, whose voxels count in proportion.
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    numpy.ndarray
        float64, (slices,), in mm^2, in the order of the slice axis. Areas lie in the plane of
        the slices: nothing is corrected where these are oblique to the cord.

    Examples
    --------
    >>> slice_areas_mm2(np.ones((4, 2, 3)), np.diag([0.5, 0.5, 5, 1]))
    array([2., 2., 2.])
    """
    axis = slice_axis(affine)
    in_plane = [a for a in range(3) if a != axis]
    pixel_mm2 = np.linalg.norm(np.cross(*affine[:3, in_plane].T))
    return np.asarray(mask, float).sum(axis=tuple(in_plane)) * pixel_mm2


def volume_mm3(areas_mm2: np.ndarray, affine: np.ndarray) -> float:
    """Return the volume, in mm^3, that areas from `slice_areas_mm2` add up to.

    Examples
    --------
    >>> volume_mm3(np.array([2.0, 2.0, 2.0]), np.diag([0.5, 0.5, 5, 1]))
    30.0
    """
    axis = slice_axis(affine)
    in_plane = np.cross(*np.delete(affine[:3, :3].T, axis, axis=0))
    step_mm = abs(np.linalg.det(affine[:3, :3])) / np.linalg.norm(in_plane)
    return round(float(np.sum(areas_mm2) * step_mm), 9)
