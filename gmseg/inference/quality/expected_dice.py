"""The Dice to expect of a slice, from its soft Dice and a curve fitted on references."""

from __future__ import annotations

import numpy as np

_BINS = 10
"""Parts of the slices, equally many in each, that the curve goes through."""


def fit(feature: np.ndarray, dice: np.ndarray) -> list[list[float]]:
    """Fit the curve from a feature to Dice on scans with references.

    Parameters
    ----------
    feature, dice : numpy.ndarray
        One value per slice: soft Dice, and Dice against the reference.

    Returns
    -------
    list of [float, float]
        Feature and expected Dice, increasing: the ``confidence`` of a model. It goes through the
        means of ten equally large parts of the slices, made monotone by isotonic regression, and
        through (0, 0).

    Examples
    --------
    >>> curve = fit(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.7, 0.9]))
    >>> float(predict([0.7], curve)[0])
    0.7
    """
    from scipy.optimize import isotonic_regression  # slow to import, and not needed to segment

    known = np.isfinite(feature) & np.isfinite(dice)
    order = np.argsort(feature[known], kind="stable")
    parts = [
        np.array_split(values[known][order], min(_BINS, len(order))) for values in (feature, dice)
    ]
    at, mean = (np.array([part.mean() for part in of]) for of in parts)
    value = isotonic_regression(mean).x
    distinct = np.append(np.diff(at) > 1e-4, True)  # np.interp needs increasing knots
    knots = zip(at[distinct], value[distinct], strict=True)
    return [[0.0, 0.0], *([round(float(x), 4), round(float(y), 4)] for x, y in knots if x > 1e-4)]


def predict(feature, curve) -> np.ndarray:
    """Return the expected Dice of slices.

    Parameters
    ----------
    feature : sequence of float
        Soft Dice of every slice, NaN where it is unknown.
    curve : list of [float, float] or None
        ``confidence`` of the model; without it nothing is predicted.

    Returns
    -------
    numpy.ndarray
        (slices,), NaN where nothing can be predicted.
    """
    feature = np.asarray(feature, float)
    if curve is None:
        return np.full(len(feature), np.nan)
    at, value = np.array(curve, float).T
    return np.where(np.isfinite(feature), np.interp(feature, at, value), np.nan)
