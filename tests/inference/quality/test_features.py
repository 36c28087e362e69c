"""Features of drawn butterflies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gmseg.inference.quality import features

SIDE = round(features.CROP_MM / 0.25)


def butterfly(rotation_deg=0.0, one_sided=0.0):
    """Draw a soft segmentation of two horns and a bridge, and a scan in which they are bright."""
    x, y = np.meshgrid(*[(np.arange(SIDE) - (SIDE - 1) / 2) * 0.25] * 2, indexing="ij")
    shape = np.zeros((SIDE, SIDE))
    for side in (-1, 1):
        shape += np.hypot((x - side * 2.2) / 1.0, y / 3.0) < 1
    shape += (np.abs(x) < 2.2) & (np.abs(y) < 0.5)
    soft = ndimage.gaussian_filter((shape > 0).astype(float), 1.0)
    soft = np.clip(ndimage.rotate(soft, -rotation_deg, order=1, reshape=False), 0, 1)
    noise = np.random.default_rng(0).normal(0, 1, soft.shape)
    bright = 4 * soft * np.where(x > 0, 1 - one_sided, 1)
    return soft, 100 + bright + noise


def gathered(**choices):
    found = features.Features()
    for _ in range(3):
        found.add(*butterfly(**choices), 0.25, 20.0)
    return found


def test_a_butterfly_is_one_component_with_contrast_and_symmetry():
    found = gathered()
    assert found.second_mm2 == [0.0] * 3
    assert found.contrast[0] == pytest.approx(4, abs=1)
    assert found.margin_mm == [20.0] * 3
    assert 0.7 < found.soft_dice[0] < 1
    sides = features.symmetry(found, 0.25)
    assert abs(sides.angle_deg) <= 5
    assert sides.area < 0.03
    assert sides.contrast[0] == pytest.approx(sides.contrast[1], rel=0.15)


@pytest.mark.parametrize("degrees", [-40, -20, 25, 45])
def test_angle_of_a_rotated_butterfly(degrees):
    sides = features.symmetry(gathered(rotation_deg=degrees), 0.25)
    assert sides.angle_deg == pytest.approx(-degrees, abs=5)


def test_contrast_of_a_side_that_is_invisible():
    left, right = features.symmetry(gathered(one_sided=1.0), 0.25).contrast
    assert min(left, right) < 0.3 < 1.5 < max(left, right)


def test_soft_dice_is_the_mean_dice_of_calibrated_masks():
    soft = np.zeros((SIDE, SIDE))
    soft[40:60, 40:60] = 0.8
    scan = np.random.default_rng(0).normal(size=soft.shape)
    found = features.Features()
    found.add(soft, scan, 0.25, 9.0)
    rng = np.random.default_rng(1)
    sizes = (rng.random((200, 400)) < 0.8).sum(axis=1)  # of possible references
    dice = 2 * sizes / (sizes + 400)
    assert found.soft_dice[0] == pytest.approx(np.mean(dice), abs=0.01)


def test_area_of_a_second_component_and_a_slice_without_gm():
    soft, scan = butterfly()
    soft[5:13, 5:13] = 1.0
    found = features.Features()
    found.add(soft, scan, 0.25, 9.0)
    found.add(np.zeros_like(soft), scan, 0.25, 9.0)
    assert found.second_mm2[0] == pytest.approx(4.0)
    assert np.isnan([found.second_mm2[1], found.soft_dice[1], found.contrast[1]]).all()


def test_clipped_share():
    soft, scan = butterfly()
    found = features.Features()
    found.add(soft, scan, 0.25, 9.0)
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * 0.25
    near = np.hypot(axis[:, None], axis) <= features._NEAR_MM
    found.add(soft, np.minimum(scan, np.percentile(scan[near], 95)), 0.25, 9.0)
    found.add(soft, np.full_like(scan, 7.0), 0.25, 9.0)
    assert found.clipped[0] < 0.001
    assert found.clipped[1] == pytest.approx(0.05, abs=0.002)
    assert np.isnan(found.clipped[2])


@settings(max_examples=50, deadline=None)
@given(areas=st.lists(st.floats(0, 50), min_size=1, max_size=12))
def test_area_jumps_do_not_depend_on_the_direction(areas):
    upwards, downwards = features.area_jumps(areas), features.area_jumps(areas[::-1])
    np.testing.assert_allclose(upwards, downwards[::-1])
    assert (upwards >= 1).all()


@pytest.mark.parametrize(("factor", "least", "most"), [(1, 1, 1), (2, 1.6, 2.5), (3, 2.5, 3.4)])
def test_zero_filling_is_measured(factor, least, most):
    image = np.random.default_rng(0).normal(size=(96, 120)).cumsum(axis=0).cumsum(axis=1)
    image += np.random.default_rng(1).normal(size=image.shape) * image.std() / 30
    image += 100 - image.min()  # magnitudes are positive
    if factor > 1:
        space = np.fft.fftshift(np.fft.fft2(image))
        rows, columns = (np.abs(np.arange(n) - n // 2) for n in image.shape)
        space[rows > 48 / factor] = 0
        space[:, columns > 60 / factor] = 0
        image = np.abs(np.fft.ifft2(np.fft.ifftshift(space)))
    assert least <= features.effective_resolution_px(lambda k: image, 5) <= most
