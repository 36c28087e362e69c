"""Test-time augmentation: the network looks at changed copies, and its answers are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gmseg.core.pipeline import predict_windows
from gmseg.core.standardisation import standardised_by
from gmseg.inference.session import Run
from gmseg.inference.stack import Stack

TURN_DEG, SCALE, GAIN, SHIFT = 5.0, 0.05, 0.1, 0.1
"""Largest changes: rotation; relative size and contrast; brightness in standard deviations."""


@dataclass(frozen=True)
class Change:
    """One copy of the windows: alike for all slices, so that their order does not matter.

    Attributes
    ----------
    flip : bool
        Left and right change places.
    turn_deg, scale : float
        About the window's middle.
    gain, shift : float
        Of the standardised intensities.
    """

    flip: bool = False
    turn_deg: float = 0.0
    scale: float = 1.0
    gain: float = 1.0
    shift: float = 0.0


def changes(count: int, seed: int) -> list[Change]:
    """Return the copies: the first is unchanged, every second one flipped.

    Parameters
    ----------
    count : int
    seed : int
        Copy k depends on the seed and on k alone.
    """
    found = [Change()]
    for k in range(1, count):
        turn, scale, gain, shift = np.random.default_rng([seed, k]).uniform(-1, 1, 4)
        found.append(
            Change(k % 2 == 1, TURN_DEG * turn, 1 + SCALE * scale, 1 + GAIN * gain, SHIFT * shift)
        )
    return found


def average(run: Run, centres: np.ndarray, soft: Stack, copies: list[Change]) -> Stack:
    """Average over the copies; `soft`, of the unchanged windows, becomes the mean.

    Parameters
    ----------
    run : Run
    centres : numpy.ndarray
        int, (slices, 2).
    soft : Stack
        From ``run.segment(centres)``.
    copies : list of Change
        From `changes`.

    Returns
    -------
    Stack
        The copies' standard deviation, pixel by pixel: where they disagree.
    """
    mean, std = run.level(centres)
    spread = Stack(len(soft), soft.shape[1:])
    done, total = 0, (len(copies) - 1) * len(centres)
    for first, last in run.slabs:
        windows = standardised_by(run.windows(first, last, centres), mean, std)
        sums = soft.get(first, last).astype(np.float64)
        squares = sums**2
        for change in copies[1:]:
            one = predict_changed(run.predict, windows, change, progress=run.told(done, total))
            sums += one
            squares += one.astype(np.float64) ** 2
            done += len(windows)
        middle = sums / len(copies)
        soft.put(first, middle)
        spread.put(first, np.sqrt(np.maximum(squares / len(copies) - middle**2, 0)))
    return spread


def predict_changed(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    change: Change,
    *,
    progress: Callable | None = None,
) -> np.ndarray:
    """Return soft windows, (n, size, size), from changed windows, brought back.

    Parameters
    ----------
    predict, progress
        See `gmseg.core.pipeline.predict_windows`.
    windows : numpy.ndarray
        float32, (n, size, size), standardised.
    change : Change
    """
    moves = (change.turn_deg, change.scale) != (0, 1)
    seen = _moved(windows, change) if moves else windows
    seen = (seen[:, ::-1] if change.flip else seen) * change.gain + change.shift
    soft = predict_windows(predict, seen.astype(np.float32), progress=progress)
    soft = soft[:, ::-1] if change.flip else soft
    return np.clip(_moved(soft, change, back=True), 0, 1) if moves else soft


def _moved(images: np.ndarray, change: Change, *, back: bool = False) -> np.ndarray:
    """Turn and scale images about their middle, or undo it; cubic, to blur little."""
    from scipy import ndimage  # slow to import, and seldom wanted

    angle = np.deg2rad(change.turn_deg)
    matrix = change.scale * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    if back:
        matrix = np.linalg.inv(matrix)
    middle = np.full(2, (images.shape[1] - 1) / 2)
    offset = middle - matrix @ middle
    return np.array(
        [
            ndimage.affine_transform(
                one, matrix, offset, order=3, mode="nearest", output=np.float32
            )
            for one in images
        ]
    )
