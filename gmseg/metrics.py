"""Agreement between a prediction and a reference."""

from __future__ import annotations

import numpy as np


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice similarity coefficient of two masks, 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.

    Returns
    -------
    float
        0 to 1; NaN where both masks are empty, for then there is nothing to agree about.

    References
    ----------
    Dice, L. R. (1945). Ecology 26(3), 297-302.
    """
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(prediction & reference) / total if total else float("nan")


def labelled_slices(reference: np.ndarray, axis: int = 2) -> np.ndarray:
    """Return which slices of a reference hold any GM, bool (slices,)."""
    reference = np.asarray(reference, bool)
    return reference.any(axis=tuple(a for a in range(reference.ndim) if a != axis))


def dice_labelled(prediction: np.ndarray, reference: np.ndarray, axis: int = 2) -> float:
    """Dice over the slices that the reference labels: raters often label a part.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.
    axis : int
        The slice axis.

    Returns
    -------
    float
        0 to 1; NaN where the reference is empty.
    """
    keep = labelled_slices(reference, axis)
    return dice(np.compress(keep, prediction, axis=axis), np.compress(keep, reference, axis=axis))
