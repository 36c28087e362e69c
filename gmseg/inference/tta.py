"""Test-time augmentation (TTA): average the predictions on transformed copies of the windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gmseg.core.pipeline import predict_windows
from gmseg.core.standardisation import standardised
from gmseg.inference.session import Session, allocate

ROTATION_DEG, SCALE, GAIN, SHIFT = 5.0, 0.05, 0.1, 0.1
"""Largest rotation; relative size and contrast; brightness in standard deviations."""


@dataclass(frozen=True)
class Transform:
    """Transform of one copy: the same for all slices, so their order does not matter.

    Attributes
    ----------
    flip : bool
        Exchange left and right.
    rotation_deg, scale : float
        About the centre of the window.
    gain, shift : float
        Of the standardised intensities.
    """

    flip: bool = False
    rotation_deg: float = 0.0
    scale: float = 1.0
    gain: float = 1.0
    shift: float = 0.0


def random_transforms(count: int, seed: int) -> list[Transform]:
    """Return the transforms of the copies: the first is the identity, every second one flips.

    Parameters
    ----------
    count : int
        Number of copies.
    seed : int
        Seed of the random transforms; copy k depends on the seed and on k alone.

    Examples
    --------
    >>> [transform.flip for transform in random_transforms(4, seed=0)]
    [False, True, False, True]
    """
    transforms = [Transform()]
    for k in range(1, count):
        rotation, scale, gain, shift = np.random.default_rng([seed, k]).uniform(-1, 1, 4)
        transforms.append(
            Transform(
                flip=k % 2 == 1,
                rotation_deg=ROTATION_DEG * rotation,
                scale=1 + SCALE * scale,
                gain=1 + GAIN * gain,
                shift=SHIFT * shift,
            )
        )
    return transforms


def average(
    session: Session, centres: np.ndarray, soft: np.ndarray, transforms: list[Transform]
) -> np.ndarray:
    """Average the soft windows over all copies, in place, and return their spread.

    Parameters
    ----------
    session : Session
        The scan and the model.
    centres : numpy.ndarray
        int, (slices, 2): centres of the windows.
    soft : numpy.ndarray
        (slices, outputs, size, size): soft windows of the first copy; they become the mean.
    transforms : list of Transform
        From `random_transforms`.

    Returns
    -------
    numpy.ndarray
        (slices, outputs, size, size): standard deviation over the copies.
    """
    mean, std = session.mean_and_std(centres)
    spread = allocate(soft.shape)
    done, total = len(centres), len(transforms) * len(centres)  # the first copy is done
    for first, last in session.slabs:
        windows = standardised(session.windows(first, last, centres), mean, std)
        sums = np.asarray(soft[first:last], np.float64).copy()
        squares = sums**2
        for transform in transforms[1:]:
            progress = session.progress_of_slab(done, total)
            copy = predict_transformed(session.predict, windows, transform, progress=progress)
            sums += copy
            squares += copy.astype(np.float64) ** 2
            done += len(windows)
        np.divide(sums, len(transforms), out=sums)
        soft[first:last] = sums
        spread[first:last] = np.sqrt(np.maximum(squares / len(transforms) - sums**2, 0))
    return spread


def predict_transformed(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    transform: Transform,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the soft windows of transformed windows, transformed back, (n, outputs, size, size).

    Parameters
    ----------
    predict, progress : callable
        See `gmseg.core.pipeline.predict_windows`.
    windows : numpy.ndarray
        float32, (n, size, size), standardised.
    transform : Transform
        Transform of this copy.
    """
    warps = (transform.rotation_deg, transform.scale) != (0, 1)
    copy = _warped(windows, transform) if warps else windows
    copy = (copy[:, ::-1] if transform.flip else copy) * transform.gain + transform.shift
    soft = predict_windows(predict, copy.astype(np.float32), progress=progress)
    soft = soft[:, :, ::-1] if transform.flip else soft
    if not warps:
        return soft
    images = soft.reshape(-1, *soft.shape[2:])
    return np.clip(_warped(images, transform, inverse=True), 0, 1).reshape(soft.shape)


def _warped(images: np.ndarray, transform: Transform, *, inverse: bool = False) -> np.ndarray:
    """Rotate and scale images about their centre, or undo it; cubic, to blur little."""
    angle = np.deg2rad(transform.rotation_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix: np.ndarray = transform.scale * rotation
    if inverse:
        matrix = np.linalg.inv(matrix)
    centre = np.full(2, (images.shape[1] - 1) / 2)
    warped = np.empty(images.shape, np.float32)
    for image, output in zip(images, warped, strict=True):
        offset = centre - matrix @ centre
        ndimage.affine_transform(image, matrix, offset, output=output, order=3, mode="nearest")
    return warped
