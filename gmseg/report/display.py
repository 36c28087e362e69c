"""What page and movie share: which way up a slice is shown, and where it is looked at."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_CALM_MM = 5.0  # along the cord: pictures must not tremble


def upright(plane: np.ndarray) -> np.ndarray:
    """Return a slice in LAS orientation as radiologists look at it: front at the top."""
    return np.ascontiguousarray(plane[:, ::-1].T)


def follow(middles: np.ndarray, step_mm: float, otherwise) -> np.ndarray:
    """Return where to look on every slice, smooth along the cord.

    Parameters
    ----------
    middles : numpy.ndarray
        (slices, 2), from foot to head; NaN where a slice's mask is empty.
    step_mm : float
        From slice to slice.
    otherwise : array_like
        (2,): what is looked at where the mask is empty as a whole.

    Returns
    -------
    numpy.ndarray
        (slices, 2), in the unit of `middles`.
    """
    labelled = np.flatnonzero(np.isfinite(middles[:, 0]))
    every = np.arange(len(middles))
    if not labelled.size:
        return np.tile(np.asarray(otherwise, float), (len(every), 1))
    filled = [np.interp(every, labelled, middles[labelled, axis]) for axis in (0, 1)]
    calm = [ndimage.gaussian_filter1d(at, _CALM_MM / step_mm, mode="nearest") for at in filled]
    return np.stack(calm, axis=1)
