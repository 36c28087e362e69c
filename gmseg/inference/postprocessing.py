"""Clean a mask, slice by slice, by choice: nothing of it is done unless it is asked for."""

from __future__ import annotations

from collections.abc import Collection

import nibabel as nib
import numpy as np

from gmseg.core.geometry import slice_axis
from gmseg.errors import InputError

TOGETHER_MM = 3.0
"""Pieces so near to each other are one: the horns of a butterfly without its bridge."""
LEAST_MM2 = 2.0
"""Pieces smaller than that are dropped by ``"small"``."""
WAYS = ("largest", "small", "holes")
"""Keep the largest piece of every slice; drop small ones; fill holes."""


def check_ways(ways: Collection[str]) -> None:
    """Raise InputError for a way that is unknown."""
    for way in ways:
        if way not in WAYS:
            raise InputError(f"clean: {way!r} is unknown; choose of {', '.join(WAYS)}")


def cleaned(mask: np.ndarray, affine: np.ndarray, ways: Collection[str]) -> np.ndarray:
    """Clean a mask.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, 3-D.
    affine : numpy.ndarray
        (4, 4), in mm.
    ways : collection of str
        Of `WAYS`.

    Returns
    -------
    numpy.ndarray
        bool, the same shape; the mask itself where there is nothing to do.
    """
    if not ways:
        return mask
    axis = slice_axis(affine)
    sizes = np.delete(nib.affines.voxel_sizes(affine), axis)
    planes = np.moveaxis(mask.copy(), axis, 0)
    for plane in planes:
        if plane.any():
            plane[...] = _cleaned(plane, sizes, ways)
    return np.moveaxis(planes, 0, axis)


def _cleaned(plane: np.ndarray, sizes_mm, ways) -> np.ndarray:
    from scipy import ndimage  # slow to import, and seldom wanted

    if "holes" in ways:
        plane = ndimage.binary_fill_holes(plane)
    if not {"largest", "small"} & set(ways):
        return plane
    far = ndimage.distance_transform_edt(~plane, sampling=sizes_mm)
    pieces, count = ndimage.label(far <= TOGETHER_MM / 2)
    areas = ndimage.sum_labels(plane, pieces, range(1, count + 1)) * np.prod(sizes_mm)
    keep = np.ones(count, bool)
    if "small" in ways:
        keep &= areas >= LEAST_MM2
    if "largest" in ways:
        keep &= np.arange(count) == np.argmax(areas)
    return plane & np.concatenate([[False], keep])[pieces]
