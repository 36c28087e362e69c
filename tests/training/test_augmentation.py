"""Random transforms of slice and mask, and of intensities."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from gmseg.core.windows import cut
from gmseg.training.augmentation import (
    Augmentation,
    change_intensity,
    random_coordinates,
    smooth_noise,
    warp,
)
from gmseg.training.protocol import load_protocol

STRONG = load_protocol("variety").augmentation


def test_limits_of_zero_change_nothing():
    plane = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    where = random_coordinates(np.random.default_rng(1), (30, 30), 40, Augmentation())
    np.testing.assert_allclose(warp(plane, where), plane[10:50, 10:50], atol=1e-6)
    # the same window as at inference
    np.testing.assert_array_equal(
        cut(plane[..., None], np.array([[30, 30]]), 40)[0], plane[10:50, 10:50]
    )


@pytest.mark.parametrize("protocol", ["variety", "paper2018"])
@pytest.mark.parametrize("seed", range(10))
def test_mask_and_slice_are_warped_alike(seed, protocol):
    limits = load_protocol(protocol).augmentation
    # expected: the same shape at four times the resolution, warped there
    fine = np.zeros((800, 800), np.float32)
    rows, columns = np.ogrid[:800, :800]
    fine[((rows - 380) / 150) ** 2 + ((columns - 420) / 90) ** 2 < 1] = 1
    coarse = fine.reshape(200, 4, 200, 4).mean(axis=(1, 3))
    where = random_coordinates(np.random.default_rng(seed), (100, 100), 120, limits)
    expected = ndimage.map_coordinates(fine, where * 4 + 1.5, order=1) > 0.5
    mask = warp(coarse, where) > 0.5
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.99


def test_transforms_of_the_paper_stay_within_their_limits():
    paper = dataclasses.replace(load_protocol("paper2018").augmentation, elastic_alpha=0)
    angles, shifts, sizes, flips = [], [], [], []
    for seed in range(300):
        where = random_coordinates(np.random.default_rng(seed), (0, 0), 200, paper)
        down, right = where[:, 1, 0] - where[:, 0, 0], where[:, 0, 1] - where[:, 0, 0]
        flips.append(down[0] < 0)
        angles.append(np.rad2deg(np.arctan2(-right[0], right[1])))
        sizes.append(np.linalg.norm(right))
        shifts.append(where[:, 100, 100])
    assert 4.3 < np.max(np.abs(angles)) <= 4.6 + 1e-6
    assert 5.7 < np.max(np.abs(shifts)) <= 6 + 1e-6  # 3 % of 200
    assert np.exp(-0.02) - 1e-9 <= min(sizes) < 0.983 < 1.017 < max(sizes) <= np.exp(0.02) + 1e-9
    assert 0.4 < np.mean(flips) < 0.6


def test_elastic_transform_of_the_paper():
    """Uniform noise, a Gaussian of sigma 4 and alpha 30 give about 1.2 pixels (Simard)."""
    paper = Augmentation(elastic_alpha=30, elastic_sigma=4)
    still = random_coordinates(np.random.default_rng(0), (0, 0), 200, Augmentation())
    push = random_coordinates(np.random.default_rng(0), (0, 0), 200, paper) - still
    expected = 30 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 4)
    assert push.std() == pytest.approx(expected, rel=0.1)


def test_coarse_pixels_lose_detail_and_keep_their_place():
    window = np.zeros((90, 90))
    window[30:60, 30:60] = 1
    limits = Augmentation(coarse=1, coarse_mm=(0.8, 0.8))
    for seed in range(5):
        out = change_intensity(np.random.default_rng(seed), window, limits)
        assert out.sum() == pytest.approx(window.sum(), rel=0.05)
        np.testing.assert_allclose(ndimage.center_of_mass(out), (44.5, 44.5), atol=0.3)
        assert 0.1 < out[44, 29] < 0.9  # the edge is now a ramp
        assert out[44, 44] == pytest.approx(1, abs=0.02)


def test_slice_and_mask_move_together_and_flips_happen():
    plane = np.zeros((100, 100), np.float32)
    plane[40:60, 30:45] = 1
    sides = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        where = random_coordinates(rng, (50, 50), 64, Augmentation(flip=0.5))
        np.testing.assert_array_equal(warp(plane, where), warp(plane.copy(), where))
        half = warp(plane * np.arange(100)[:, None], where)
        rows = half.sum(axis=1)[np.flatnonzero(half.sum(axis=1))]
        sides.append(rows[0] < rows[-1])
    assert 3 < sum(sides) < 17


def test_transforms_differ_and_are_repeatable():
    first, again, other = (
        random_coordinates(np.random.default_rng(s), (0, 0), 32, STRONG) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_transforms_rarely_fold():
    folded = []
    for seed in range(60):
        where = random_coordinates(np.random.default_rng(seed), (0, 0), 120, STRONG)
        down, right = np.gradient(where, axis=1), np.gradient(where, axis=2)
        area = down[0] * right[1] - down[1] * right[0]
        folded.append((area * np.sign(np.median(area)) <= 0).mean())
    assert np.mean(folded) < 1e-3  # share of the pixels
    assert np.mean(np.array(folded) > 0) < 0.1  # share of the transforms


def test_smooth_noise_has_unit_variance_and_its_wavelength():
    fields = np.stack([smooth_noise(np.random.default_rng(i), (80, 80), 10) for i in range(40)])
    assert fields.var() == pytest.approx(1, abs=0.3)
    steps = np.abs(np.diff(fields, axis=2)).mean()
    assert steps < 0.3


def test_intensities_change_but_stay_finite_and_ordered():
    window = np.random.default_rng(0).standard_normal((64, 64))
    changed = [change_intensity(np.random.default_rng(s), window, STRONG) for s in range(30)]
    assert all(np.isfinite(c).all() and c.dtype == np.float32 for c in changed)
    assert np.std([c.mean() for c in changed]) > 0.05
    plain = dataclasses.replace(STRONG, bias_field=0, blur=0, sharpen=0, coarse=0, noise=0)
    for seed in range(5):  # gamma, contrast and brightness alone keep the order of the values
        out = change_intensity(np.random.default_rng(seed), window, plain)
        inner = (window > np.percentile(window, 1)).ravel()
        order = np.argsort(window.ravel()[inner])
        assert (np.diff(out.ravel()[inner][order]) >= -1e-5).all()
