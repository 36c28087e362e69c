"""Read image files that may be damaged: they are refused in one line, or read as nibabel does."""

import warnings

import nibabel as nib
import numpy as np

from gmseg import InputError


def is_one_line(error, path) -> bool:
    """Return whether a message is one line that names the file and a remedy."""
    text = str(error)
    return len(text.splitlines()) == 1 and text.startswith(f"{path}: ") and "; " in text


def read_or_refused(path, read, *args, **kwargs):
    """Return what is read, or None where the file is refused in one line."""
    try:
        return read(*args, **kwargs)
    except InputError as error:
        message = error
    assert is_one_line(message, path), message
    return None


def load_with_nibabel(path):
    with warnings.catch_warnings(), nib.imageglobals.LoggingOutputSuppressor():
        warnings.simplefilter("ignore")
        return nib.load(path)


def same_affine(ours, theirs) -> bool:
    """Return whether affines are equal, in single precision where the format is not NIfTI."""
    if isinstance(theirs, nib.Nifti1Pair):
        return np.array_equal(ours.affine, theirs.affine)
    return np.allclose(ours.affine, theirs.affine, rtol=1e-6, atol=1e-6 * np.abs(ours.affine).max())
