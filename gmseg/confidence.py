"""Confidence: what Dice to expect of a slice, from what the soft segmentation says of itself."""

from __future__ import annotations

import numpy as np

KNOTS = np.array([0.0, 0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 1.0])
"""Expected Dice (see `gmseg.signs.Signs`) at which the Dice foretold is noted."""


def fit(expected: np.ndarray, dice: np.ndarray) -> list[list[float]]:
    """Learn from scans with references what Dice an expected Dice stands for.

    Parameters
    ----------
    expected, dice : numpy.ndarray
        One value per slice: from `gmseg.signs.Signs`, and against the reference.

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


def are_knots(value) -> bool:
    """Return whether a card's ``confidence`` can be used: rising pairs of numbers in 0 to 1."""
    try:
        pairs = np.array(value, float)
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(
        pairs.ndim == 2
        and pairs.shape[1] == 2
        and (pairs >= 0).all()
        and (pairs <= 1).all()
        and (np.diff(pairs[:, 0]) > 0).all()
    )


def foretell(expected, knots) -> np.ndarray:
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
    expected = np.asarray(expected, float)
    if knots is None:
        return np.full(len(expected), np.nan)
    at, value = np.array(knots, float).T
    return np.where(np.isfinite(expected), np.interp(expected, at, value), np.nan)
