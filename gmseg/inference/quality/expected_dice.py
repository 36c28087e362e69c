"""Confidence: what Dice to expect of a slice, from what the soft segmentation says of itself."""

from __future__ import annotations

import numpy as np

KNOTS = np.array([0.0, 0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 1.0])
"""Expected Dice (see `gmseg.inference.quality.features.Features`) at which the Dice foretold is noted."""


def fit(expected: np.ndarray, dice: np.ndarray) -> list[list[float]]:
    """Learn from scans with references what Dice an expected Dice stands for.

    Parameters
    ----------
    expected, dice : numpy.ndarray
        One value per slice: from `gmseg.inference.quality.features.Features`, and against the reference.

    Returns
    -------
    list of [float, float]
        Expected Dice and the Dice foretold, rising; a model's ``confidence``. A parabola by
        least squares, made to rise: no more, for more would be tuned to few scans.
    """
    known = np.isfinite(expected) & np.isfinite(dice)
    parabola = np.polyfit(expected[known], dice[known], 2)
    foretold = np.maximum.accumulate(np.clip(np.polyval(parabola, KNOTS), 0, 1))
    return [[float(at), round(float(value), 4)] for at, value in zip(KNOTS, foretold, strict=True)]


def predict(soft_dice, curve) -> np.ndarray:
    """Return the Dice that is to be expected of slices.

    Parameters
    ----------
    expected : sequence of float
        One value per slice, NaN where there is no GM.
    knots : list of [float, float] or None
        Of the model; without them nothing is foretold.

    Returns
    -------
    numpy.ndarray
        (slices,), NaN where nothing can be foretold.
    """
    soft_dice = np.asarray(soft_dice, float)
    if curve is None:
        return np.full(len(soft_dice), np.nan)
    at, value = np.array(curve, float).T
    return np.where(np.isfinite(soft_dice), np.interp(soft_dice, at, value), np.nan)
