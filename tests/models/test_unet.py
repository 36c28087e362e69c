"""The U-Net to compare with."""

import numpy as np
from keras import layers

from gmseg.models.unet import UNetSizes, build_unet


def test_it_has_as_many_parameters_as_the_papers():
    kinds = layers.Conv2D, layers.Conv2DTranspose
    convolutions = [layer for layer in build_unet().layers if isinstance(layer, kinds)]
    assert sum(layer.count_params() for layer in convolutions) == 776_321


def test_it_gives_every_pixel_a_probability():
    network = build_unet(UNetSizes(widths=(4, 6, 8)))
    windows = np.random.default_rng(0).normal(size=(2, 24, 32, 1)).astype(np.float32)
    soft = np.asarray(network(windows))
    assert soft.shape == windows.shape
    assert ((soft > 0) & (soft < 1)).all()


def test_it_sees_the_finest_and_the_coarsest_scale():
    """A touched pixel changes its own place through the joins, and far ones from below."""
    network = build_unet(UNetSizes(widths=(4, 6, 8)))
    windows = np.random.default_rng(0).normal(size=(2, 48, 48, 1)).astype(np.float32)
    touched = windows.copy()
    touched[:, 24, 24] += 5
    change = np.abs(np.asarray(network(touched)) - np.asarray(network(windows)))[..., 0]
    rows, columns = np.nonzero(change.max(axis=0) > 1e-7)
    reach = max(abs(rows - 24).max(), abs(columns - 24).max())
    assert change[:, 24, 24].max() > 1e-4
    assert 12 <= reach <= 24
