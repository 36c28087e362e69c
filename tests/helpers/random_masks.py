"""Pairs of random masks on an anisotropic grid, for the tests of metrics and scores."""

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

SPACING_MM = np.array([0.5, 0.4, 3.0])
AFFINE = np.diag([*SPACING_MM, 1])


def blobs(seed, shape=(24, 22, 4)):
    """Return two similar masks: smooth noise above a threshold, and a changed copy."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2, 0.6))
    first, second = noise[0], 0.8 * noise[0] + 0.6 * noise[1]
    return first > 0.4 * noise.std(), second > 0.4 * noise.std()


def save(path, mask, affine=AFFINE, dtype=np.uint8):
    """Write a mask to a file, create its folder if needed, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(mask, dtype), affine), path)
    return path
