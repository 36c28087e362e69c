"""Slice axis, areas and volumes of arrays with an affine."""

from __future__ import annotations

import nibabel as nib
import numpy as np

_THICK = 1.5
"""An axis whose voxels are this many times longer than along both others has the slices."""
_MOST_LEAN_DEG = 75.0
"""Slices whose normal leans more from inferior-superior are sagittal or coronal."""


def orientation(affine: np.ndarray) -> np.ndarray:
    """Return the orientation of an array, with the slices along inferior-superior.

    It is that of `nibabel.orientations.io_orientation`, except where slices that are thicker than
    their pixels lean more than 45 degrees: their axis counts as inferior-superior all the same.

    Parameters
    ----------
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    numpy.ndarray
        (3, 2): for every array axis the world axis (0 right, 1 anterior, 2 superior) and 1 or -1.

    Examples
    --------
    >>> leaning = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(55)))
    >>> orientation(leaning @ np.diag([0.5, 0.5, 5, 1])).tolist()
    [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    """
    plain = nib.orientations.io_orientation(affine)
    linear = np.asarray(affine, float)[:3, :3]
    sizes = np.linalg.norm(linear, axis=0)
    axis = int(np.argmax(sizes))
    first, second = np.delete(np.arange(3), axis)
    normal = np.cross(linear[:, first], linear[:, second])
    length = np.linalg.norm(normal)
    if (
        np.isnan(plain).any()
        or plain[axis, 0] == 2
        or sizes[axis] < _THICK * max(sizes[first], sizes[second])
        or abs(normal[2]) <= np.cos(np.deg2rad(_MOST_LEAN_DEG)) * length
    ):
        return plain
    leaning = np.zeros((3, 2))
    leaning[axis] = 2, np.sign(linear[2, axis]) or 1
    # the in-plane axis that is nearer to right-left, compared with the other
    across = np.abs(linear[0, [first, second]]) / sizes[[first, second]]
    order = (first, second) if across[0] >= across[1] else (second, first)
    for world, array_axis in enumerate(order):
        leaning[array_axis] = world, np.sign(linear[world, array_axis]) or 1
    return leaning


def slice_axis(affine: np.ndarray) -> int:
    """Return the array axis that runs from inferior to superior, see `orientation`.

    Examples
    --------
    >>> slice_axis(np.diag([0.5, 0.5, 5, 1]))
    2
    """
    return int(np.flatnonzero(orientation(affine)[:, 0] == 2)[0])


def slice_lean_deg(affine: np.ndarray) -> float:
    """Return the angle between the normal of the slices and inferior-superior.

    Examples
    --------
    >>> turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(30)))
    >>> round(slice_lean_deg(turn @ np.diag([0.5, 0.5, 5, 1])), 6)
    30.0
    """
    first, second = np.delete(np.asarray(affine, float)[:3, :3].T, slice_axis(affine), axis=0)
    normal = np.cross(first, second)
    return float(np.rad2deg(np.arccos(np.clip(abs(normal[2]) / np.linalg.norm(normal), 0, 1))))


def runs_downwards(affine: np.ndarray) -> bool:
    """Return whether the slices of an array are stored from superior to inferior.

    Examples
    --------
    >>> runs_downwards(np.diag([0.5, 0.5, -5, 1]))
    True
    """
    return bool(orientation(affine)[slice_axis(affine), 1] < 0)


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
