"""Made-up geometries: an oblique scan, and the 48 orders and flips of an image's axes."""

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
    """Return the same image in world space, its voxels stored in another order."""
    data = nib.orientations.apply_orientation(np.asarray(image.dataobj), ornt)
    affine = image.affine @ nib.orientations.inv_ornt_aff(ornt, image.shape)
    return nib.Nifti1Image(data, affine)


def undone(data, ornt):
    """Return voxels stored in that order in their first order."""
    inverse = np.zeros_like(ornt)
    for axis, (other, flip) in enumerate(ornt):
        inverse[int(other)] = axis, flip
    return nib.orientations.apply_orientation(data, inverse)


def a_scan(shape=(40, 36, 5), spacing=(0.7, 0.55, 3.0), rotation=UPRIGHT, seed=0):
    rng = np.random.default_rng(seed)
    affine = nib.affines.from_matvec(rotation @ np.diag([-1, 1, 1]) @ np.diag(spacing), [9, -30, 5])
    return nib.Nifti1Image(rng.uniform(1, 100, shape).astype(np.float32), affine)
