"""Post-process a mask slice by slice; off by default."""

from __future__ import annotations

from collections.abc import Collection

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core.geometry import slice_axis
from gmseg.errors import InputError

JOIN_HORNS_MM = 3.0
"""Components that are this close count as one: the horns of a butterfly without its commissure."""
MIN_COMPONENT_MM2 = 2.0
"""Smaller components are removed by ``"small"``."""
STEPS = ("largest", "small", "holes")
"""Keep the largest component of every slice; remove small ones; fill holes."""


def check_steps(steps: Collection[str]) -> None:
    """Raise InputError for an unknown step."""
    if isinstance(steps, str):
        raise InputError(f"`clean`: {steps!r} is a string; give a list, such as [{steps!r}]")
    for step in steps:
        if step not in STEPS:
            raise InputError(f"`clean`: {step!r} is unknown; choose from {', '.join(STEPS)}")


def cleaned(mask: np.ndarray, affine: np.ndarray, steps: Collection[str]) -> np.ndarray:
    """Return a mask after post-processing.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, 3-D.
    affine : numpy.ndarray
        (4, 4), in mm.
    steps : collection of str
        Any of `STEPS`.

    Returns
    -------
    numpy.ndarray
        bool, of the same shape; the mask itself without steps.

    Examples
    --------
    >>> mask = np.zeros((20, 20, 1), bool)
    >>> mask[2:8, 2:8] = mask[15:17, 15:17] = True
    >>> int(cleaned(mask, np.diag([1, 1, 5, 1]), ["largest"]).sum())
    36
    """
    if not steps:
        return mask
    axis = slice_axis(affine)
    sizes_mm = np.delete(nib.affines.voxel_sizes(affine), axis)
    slices = np.moveaxis(mask.copy(), axis, 0)
    for one in slices:
        if one.any():
            one[...] = _cleaned_slice(one, sizes_mm, steps)
    return np.moveaxis(slices, 0, axis)


def _cleaned_slice(mask: np.ndarray, sizes_mm, steps) -> np.ndarray:
    if "holes" in steps:
        mask = ndimage.binary_fill_holes(mask)
    if not {"largest", "small"} & set(steps):
        return mask
    distance = ndimage.distance_transform_edt(~mask, sampling=sizes_mm)
    labels, count = ndimage.label(distance <= JOIN_HORNS_MM / 2)
    areas = ndimage.sum_labels(mask, labels, range(1, count + 1)) * np.prod(sizes_mm)
    keep = np.ones(count, bool)
    if "small" in steps:
        keep &= areas >= MIN_COMPONENT_MM2
    if "largest" in steps:
        keep &= np.arange(count) == np.argmax(areas)
    return mask & np.concatenate([[False], keep])[labels]
