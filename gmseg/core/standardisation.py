"""TODO."""

from __future__ import annotations

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError

STANDARDISATIONS = ("volume", "training")


def standardised(windows: np.ndarray, model: Model, standardise: str) -> np.ndarray:
    """Subtract a mean and divide by a standard deviation, `volume`'s or `training`'s.

    Parameters
    ----------
    windows : numpy.ndarray
        (slices, size, size), scan values, filling included.
    model : Model
    standardise : {"volume", "training"}

    Returns
    -------
    numpy.ndarray
        float32, the same shape.
    """
    if standardise == "volume":
        level = check_level(windows.mean(dtype=np.float64), windows.std(dtype=np.float64))
    else:
        level = _training_level(model, standardise)
    return standardised_by(windows, *level)


def standardised_by(windows: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Subtract a mean and divide by a standard deviation; float32."""
    return ((windows - np.float64(mean)) / std).astype(np.float32)


def check_finite(windows: np.ndarray, bad: int, name=None) -> None:
    """Refuse windows with some of the scan's `bad` voxels, which are NaN or infinite."""
    if bad and not np.isfinite(windows).all():
        raise InputError(
            f"{_prefix(name)}{bad} voxels are NaN or infinite, some of them where the network "
            f"looks; replace them before segmenting"
        )


def check_level(mean: float, std: float, name=None) -> tuple[float, float]:
    """Return what was given, or refuse windows that hold nothing."""
    if std == 0:
        raise InputError(
            f"{_prefix(name)}every voxel in the window is the same; give the cord's place with "
            f"--centre X,Y"
        )
    return float(mean), float(std)


def _training_level(model: Model, standardise: str, name=None) -> tuple[float, float]:
    if standardise not in STANDARDISATIONS:
        raise InputError(
            f"{_prefix(name)}standardise: {standardise!r} is unknown; "
            f"choose {' or '.join(STANDARDISATIONS)}"
        )
    if model.mean is None or model.std is None:
        raise InputError(
            f"{_prefix(name)}model {model.name} has no training mean and std; "
            f"use --standardise volume"
        )
    return model.mean, model.std


def _prefix(name) -> str:
    return "" if name is None else f"{name}: "
