"""The Dice to expect of a slice, from one feature and a curve fitted on references.

The feature is the soft Dice of the slice, or its agreement with a second model.
"""

from __future__ import annotations

import numpy as np

KNOTS = np.array([0.0, 0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 1.0])
"""Soft Dice (see `gmseg.inference.quality.features.Features`) at which the curve has its knots."""


def fit(soft_dice: np.ndarray, dice: np.ndarray) -> list[list[float]]:
    """Fit the curve from soft Dice to Dice on scans with references.

    Parameters
    ----------
    soft_dice, dice : numpy.ndarray
        One value per slice: soft Dice, and Dice against the reference.

    Returns
    -------
    list of [float, float]
        Soft Dice and expected Dice, increasing: the ``confidence`` of a model. It is a parabola
        by least squares, made monotone; there are too few scans for more parameters.

    Examples
    --------
    >>> curve = fit(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.7, 0.9]))
    >>> float(predict([0.7], curve)[0])
    0.7
    """
    known = np.isfinite(soft_dice) & np.isfinite(dice)
    parabola = np.polyfit(soft_dice[known], dice[known], 2)
    expected = np.maximum.accumulate(np.clip(np.polyval(parabola, KNOTS), 0, 1))
    return [[float(at), round(float(value), 4)] for at, value in zip(KNOTS, expected, strict=True)]


def predict(feature, curve) -> np.ndarray:
    """Return the expected Dice of slices.

    Parameters
    ----------
    feature : sequence of float
        One value per slice, NaN where it is unknown: soft Dice, or agreement with a second model.
    curve : list of [float, float] or None
        ``confidence``, or the curve in ``second_opinion``, of the model; without it nothing is
        predicted.

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
