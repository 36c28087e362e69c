"""Compare voxel grids: how far they are displaced, and how one is reoriented onto another."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
from nibabel import orientations

_SAME_PX = 0.1
"""Grids whose corners differ by at most this part of the smallest voxel size are the same."""
_ALMOST_SAME_PX = 0.5  # qform and sform that differ by no more mean the same grid


def displacement_mm(affine: np.ndarray, other: np.ndarray, shape) -> float:
    """Return how far the corners of an image move if its affine is replaced, at most.

    Parameters
    ----------
    affine, other : numpy.ndarray
        (4, 4), in mm.
    shape : sequence of int
        Shape of the image; its first three entries count.

    Returns
    -------
    float
        In mm; NaN if an affine has values that are not finite.

    Examples
    --------
    >>> displacement_mm(np.eye(4), np.diag([1, 1, 1.5, 1]), (10, 10, 5))
    2.25
    """
    corners = np.array(list(itertools.product(*[(-0.5, n - 0.5) for n in tuple(shape)[:3]])))
    with np.errstate(all="ignore"):
        moved = nib.affines.apply_affine(np.asarray(affine, float), corners)
        moved -= nib.affines.apply_affine(np.asarray(other, float), corners)
        return float(np.linalg.norm(moved, axis=1).max())


def same_place(affine: np.ndarray, other: np.ndarray, shape, part: float = _SAME_PX) -> bool:
    """Return whether two affines put an image in the same place, within a tenth of a voxel.

    Programs write affines in single precision and round quaternions, so two files of one grid
    rarely have equal affines.

    Parameters
    ----------
    affine, other : numpy.ndarray
        (4, 4), in mm.
    shape : sequence of int
        Shape of the image.
    part : float
        Largest displacement of a corner, relative to the smallest voxel size.

    Examples
    --------
    >>> scan = np.diag([0.5, 0.5, 5.0, 1.0])
    >>> rounded, longer = np.diag([0.5001, 0.5, 5, 1]), np.diag([0.51, 0.5, 5, 1])
    >>> same_place(rounded, scan, (192, 192, 12)), same_place(longer, scan, (192, 192, 12))
    (True, False)
    """
    limit_mm = part * nib.affines.voxel_sizes(np.asarray(other, float)).min()
    return bool(displacement_mm(affine, other, shape) <= limit_mm)  # NaN is not


def orientation_onto(image, grid, shape=None) -> np.ndarray | None:
    """Return how an image is reoriented so that it lies on the grid of another.

    Parameters
    ----------
    image, grid : nibabel.spatialimages.SpatialImage
        The image, and one with the grid. The qform counts, too, if it is within half a voxel of
        the sform: programs that edit masks may round one of the two.
    shape : sequence of int, optional
        Shape of the grid, if it is not that of `grid`.

    Returns
    -------
    numpy.ndarray or None
        (3, 2), for `nibabel.orientations.apply_orientation`; None if the image is not on the
        grid in any orientation.

    Examples
    --------
    >>> flipped = np.array([[-1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), flipped)
    >>> orientation_onto(image, nib.Nifti1Image(np.zeros((4, 5, 6)), np.eye(4))).tolist()
    [[0.0, -1.0], [1.0, 1.0], [2.0, 1.0]]
    """
    shape = tuple(grid.shape if shape is None else shape)[:3]
    for own, other in itertools.product(_affines_of(image, image.shape), _affines_of(grid, shape)):
        ornt = _orientation(own, image.shape[:3], other, shape)
        if ornt is not None:
            return ornt
    return None


def _affines_of(image, shape) -> list[np.ndarray]:
    """Return the affine of an image, and that of its qform if it is almost the same."""
    if not np.isfinite(image.affine).all():
        return []
    if not isinstance(image, nib.Nifti1Pair):
        return [image.affine]
    qform, code = image.get_qform(coded=True)
    if not code or not same_place(qform, image.affine, shape, _ALMOST_SAME_PX):
        return [image.affine]
    return [image.affine, qform]


def _orientation(affine, shape, grid_affine, grid_shape) -> np.ndarray | None:
    """Return the orientation that moves an affine onto that of a grid, or None."""
    steps = np.linalg.solve(grid_affine[:3, :3], affine[:3, :3])
    axes = np.argmax(np.abs(steps), axis=0)  # of the grid, for each axis of the image
    if sorted(axes) != [0, 1, 2] or tuple(np.take(grid_shape, axes)) != tuple(shape):
        return None
    ornt = np.column_stack([axes, np.sign(steps[axes, range(3)])]).astype(float)
    moved = affine @ orientations.inv_ornt_aff(ornt, shape)
    return ornt if same_place(moved, grid_affine, grid_shape) else None
