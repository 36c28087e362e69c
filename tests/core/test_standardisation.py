"""Mean and standard deviation of windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gmseg import InputError
from gmseg.core import standardisation
from gmseg.core.model import Model

MODEL = Model("m", Path("m.weights.h5"), "", {}, mean=10.0, std=2.0)


def test_level_of_the_volume_is_the_mean_and_deviation_of_all_pixels():
    windows = np.random.default_rng(0).uniform(0, 900, (5, 8, 8)).astype(np.float32)
    level = standardisation.mean_and_std(windows, MODEL, "volume")
    np.testing.assert_allclose(level, (windows.mean(dtype=float), windows.std(dtype=float)))
    result = standardisation.standardised(windows, *level)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-6)
    assert result.std() == pytest.approx(1, abs=1e-6)


def test_level_of_the_training_set():
    windows = np.zeros((2, 4, 4), np.float32)
    assert standardisation.mean_and_std(windows, MODEL, "training") == (10.0, 2.0)
    with pytest.raises(InputError, match="no training mean and std; use `standardise='volume'`"):
        standardisation.mean_and_std(windows, replace(MODEL, mean=None), "training")
    with pytest.raises(InputError, match="'bogus' is unknown; choose volume or training"):
        standardisation.mean_and_std(windows, MODEL, "bogus")


def test_windows_without_contrast_are_refused():
    with pytest.raises(InputError, match="every voxel in the window is the same"):
        standardisation.volume_mean_std(np.full((2, 4, 4), 7.0))


def test_bad_voxels_are_refused_in_the_window_only():
    windows = np.ones((1, 4, 4))
    standardisation.check_finite(windows, bad_voxels=3)
    windows[0, 1, 1] = np.nan
    with pytest.raises(InputError, match="3 voxels are NaN or infinite, some of them in the net"):
        standardisation.check_finite(windows, bad_voxels=3)
