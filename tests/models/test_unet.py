"""The U-Net for comparison."""

import numpy as np
from keras import layers

from gmseg.models.unet import UNetSizes, build_unet


def test_parameter_count_is_that_of_the_papers_unet():
    kinds = layers.Conv2D, layers.Conv2DTranspose
    convolutions = [layer for layer in build_unet().layers if isinstance(layer, kinds)]
    assert sum(layer.count_params() for layer in convolutions) == 776_321


def test_output_is_a_probability_per_pixel():
    network = build_unet(UNetSizes(widths=(4, 6, 8)))
    windows = np.random.default_rng(0).normal(size=(2, 24, 32, 1)).astype(np.float32)
    soft = np.asarray(network(windows))
    assert soft.shape == windows.shape
    assert ((soft > 0) & (soft < 1)).all()


def test_a_pixel_acts_through_the_finest_and_the_coarsest_scale():
    """It changes its own output through the skip connections, and distant ones from below."""
    network = build_unet(UNetSizes(widths=(4, 6, 8)))
    windows = np.random.default_rng(0).normal(size=(2, 48, 48, 1)).astype(np.float32)
    changed = windows.copy()
    changed[:, 24, 24] += 5
    change = np.abs(np.asarray(network(changed)) - np.asarray(network(windows)))[..., 0]
    rows, columns = np.nonzero(change.max(axis=0) > 1e-7)
    reach = max(abs(rows - 24).max(), abs(columns - 24).max())
    assert change[:, 24, 24].max() > 1e-4
    assert 12 <= reach <= 24
