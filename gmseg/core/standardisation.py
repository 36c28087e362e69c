"""Standardisation: subtract a mean, divide by a standard deviation."""

from __future__ import annotations

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError

STANDARDISATIONS = ("volume", "training")
"""Source of mean and standard deviation: the scan's windows, or the training set."""


def standardised(windows: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return windows minus a mean, over a standard deviation; float32.

    Examples
    --------
    >>> standardised(np.array([100.0, 300.0]), 200.0, 50.0)
    array([-2.,  2.], dtype=float32)
    """
    return ((windows - np.float64(mean)) / std).astype(np.float32)


def volume_mean_std(windows: np.ndarray) -> tuple[float, float]:
    """Return the mean and standard deviation of windows, their filling included.

    Parameters
    ----------
    windows : numpy.ndarray
        (slices, size, size), in scan values.

    Notes
    -----
    Paper, table of the training protocol: mean and standard deviation of the volume. The sums
    run slice by slice, so a scan that is read in parts has the same level.

    Examples
    --------
    >>> volume_mean_std(np.array([[[1.0, 3.0]], [[5.0, 7.0]]]))
    (4.0, 2.23606797749979)
    """
    return mean_std_from_moments(slice_moments(windows))


def slice_moments(windows: np.ndarray) -> np.ndarray:
    """Return mean and variance of every window, float64, (slices, 2)."""
    moments = [(one.mean(dtype=np.float64), one.var(dtype=np.float64)) for one in windows]
    return np.array(moments)


def mean_std_from_moments(moments: np.ndarray) -> tuple[float, float]:
    """Return the mean and standard deviation over all windows, from `slice_moments`."""
    means, variances = moments.T
    mean, std = float(means.mean()), float(np.sqrt(variances.mean() + means.var()))
    if std == 0:
        raise InputError(
            "every voxel in the window is the same; give the place of the cord with `centre=(x, y)`"
        )
    return mean, std


def training_mean_std(model: Model, standardise: str = "training") -> tuple[float, float]:
    """Return the mean and standard deviation of a model's training set.

    Raises
    ------
    gmseg.errors.InputError
        If the standardisation is unknown, or the model's card has no mean and std.
    """
    if standardise not in STANDARDISATIONS:
        raise InputError(
            f"`standardise`: {standardise!r} is unknown; choose {' or '.join(STANDARDISATIONS)}"
        )
    if model.mean is None or model.std is None:
        raise InputError(
            f"model {model.name} has no training mean and std; use `standardise='volume'`"
        )
    return model.mean, model.std


def mean_and_std(windows: np.ndarray, model: Model, standardise: str) -> tuple[float, float]:
    """Return the mean and standard deviation to standardise windows with.

    Parameters
    ----------
    windows : numpy.ndarray
        (slices, size, size), in scan values.
    model : Model
        Its training set's mean and standard deviation are used for ``"training"``.
    standardise : {"volume", "training"}
        Source of mean and standard deviation.
    """
    if standardise == "volume":
        return volume_mean_std(windows)
    return training_mean_std(model, standardise)


def check_finite(windows: np.ndarray, bad_voxels: int) -> None:
    """Refuse windows that contain some of the scan's NaN or infinite voxels."""
    if bad_voxels and not np.isfinite(windows).all():
        raise InputError(
            f"{bad_voxels} voxels are NaN or infinite, some of them in the network's window; "
            f"replace them before segmenting"
        )
