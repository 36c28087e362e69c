"""Small steps on pictures equal SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from gmseg.inference import planes

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30))


def random_mask(seed, shape=(40, 33), density=0.5):
    return np.random.default_rng(seed).random(shape) < density


@given(MASKS)
def test_pieces_equal_scipys(mask):
    ours, count = planes.pieces(mask)
    theirs, expected = ndimage.label(mask)
    assert count == expected
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("density", [0.1, 0.4, 0.59, 0.8])
def test_pieces_of_winding_masks(density):
    for seed in range(5):
        mask = random_mask(seed, density=density)
        np.testing.assert_array_equal(planes.pieces(mask)[0], ndimage.label(mask)[0])
    spiral = np.zeros((9, 9), bool)
    spiral[0, :], spiral[:, 8], spiral[8, :], spiral[2:, 0], spiral[2, :6] = (True,) * 5
    assert planes.pieces(spiral)[1] == ndimage.label(spiral)[1] == 1


def test_sums_equal_scipys():
    mask = random_mask(3, density=0.4)
    values = np.random.default_rng(4).normal(size=mask.shape)
    labels, count = planes.pieces(mask)
    expected = ndimage.sum_labels(values, labels, range(1, count + 1))
    np.testing.assert_allclose(planes.sums(values, labels, count), expected)


@given(MASKS, st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.75, 1.25, 1.75]))
def test_within_equals_a_distance_transform(mask, reach_mm):
    for spacing_mm in (0.25, np.nextafter(0.25, 1)):  # as its rounding decides
        far = ndimage.distance_transform_edt(~mask) * spacing_mm
        far = far if mask.any() else np.full(mask.shape, np.inf)
        np.testing.assert_array_equal(planes.within(mask, reach_mm, spacing_mm), far <= reach_mm)


def test_median_equals_numpys():
    for count in (1, 2, 7, 10):
        values = np.random.default_rng(count).normal(size=count)
        assert planes.median(values) == pytest.approx(np.median(values), abs=1e-12)
    assert np.isnan(planes.median(np.array([])))


@given(
    st.integers(1, 20), st.integers(1, 20), st.floats(0.1, 4), st.floats(-3, 3), st.integers(0, 9)
)
def test_sampled_equals_scipys(rows, columns, step, start, seed):
    data = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    shape = (7, 11)
    theirs = ndimage.affine_transform(
        data, [step, 0.5 * step], [start, -start], shape, np.float64, order=1, mode="nearest"
    )
    at = (start + step * np.arange(7), -start + 0.5 * step * np.arange(11))
    ours = planes.sampled(data, *at)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_what_is_no_number_stays_where_it_is():
    data = np.ones((5, 5), np.float32)
    data[2, 2] = np.nan
    same = planes.sampled(data, np.arange(5.0), np.arange(5.0))
    np.testing.assert_array_equal(np.isnan(same), np.isnan(data))
    data[2, 2] = np.inf
    assert np.isfinite(planes.sampled(data, np.arange(5.0), np.arange(5.0))).sum() == 24


def test_middle_blurred_and_turned_equal_scipys():
    picture = np.random.default_rng(5).random((40, 40))
    np.testing.assert_allclose(planes.middle(picture), ndimage.center_of_mass(picture))
    for sigma in (0.5, 0.8, 1.6):
        theirs = ndimage.gaussian_filter(picture, sigma)
        np.testing.assert_allclose(planes.blurred(picture, sigma), theirs, atol=1e-12)
    for degrees in (-60, -5, 0, 35, 90):
        angle = np.deg2rad(degrees)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        about = np.full(2, 19.5)
        theirs = ndimage.affine_transform(picture, matrix, about - matrix @ about, order=1)
        ours = planes.turned(picture, degrees)
        # at the very border, rounding decides what lies within
        np.testing.assert_allclose(ours[1:-1, 1:-1], theirs[1:-1, 1:-1], atol=1e-9)


def test_zooming_as_scipy_does():
    picture = np.random.default_rng(6).random((112, 112))
    at = np.linspace(0, 111, 56)
    theirs = ndimage.zoom(picture, 0.5, order=1)
    np.testing.assert_allclose(planes.sampled(picture, at, at), theirs, atol=1e-9)
