"""Geometries for tests: an oblique scan, and the 48 orders and flips of the axes of an image."""

import itertools

import nibabel as nib
import numpy as np

UPRIGHT = np.eye(3)
ROTATION = nib.eulerangles.euler2mat(0.1, -0.15, 0.2)
ALL_48 = [
    np.array(list(zip(order, flips, strict=True)), float)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def reoriented(image, ornt):
    """Return an image with its axes reordered and flipped; it stays in place in world space."""
    data = nib.orientations.apply_orientation(np.asarray(image.dataobj), ornt)
    affine = image.affine @ nib.orientations.inv_ornt_aff(ornt, image.shape)
    return nib.Nifti1Image(data, affine)


def undone(data, ornt):
    """Return voxels of a reoriented image in their original order."""
    inverse = np.zeros_like(ornt)
    for axis, (other, flip) in enumerate(ornt):
        inverse[int(other)] = axis, flip
    return nib.orientations.apply_orientation(data, inverse)


def a_scan(shape=(40, 36, 5), spacing=(0.7, 0.55, 3.0), rotation=UPRIGHT, seed=0):
    """Return a scan of random voxels in LAS orientation, rotated in world space."""
    rng = np.random.default_rng(seed)
    affine = nib.affines.from_matvec(rotation @ np.diag([-1, 1, 1]) @ np.diag(spacing), [9, -30, 5])
    return nib.Nifti1Image(rng.uniform(1, 100, shape).astype(np.float32), affine)
