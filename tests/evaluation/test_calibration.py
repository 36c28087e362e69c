"""Calibration of soft segmentations, and repeatability of measurements."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmseg import InputError
from gmseg.evaluation.calibration import (
    Reliability,
    coefficient_of_variation_percent,
    expected_calibration_error,
    near_border,
    pooled,
    reliability,
)

# ------------------------------------------------------------------------------ near_border


def half_plane(rows=20, columns=9):
    """Return GM in rows 0 to 9 of the middle of three slices: a straight border below row 9."""
    reference = np.zeros((rows, columns, 3), bool)
    reference[:10, :, 1] = True
    return reference


def test_distances_to_a_straight_border():
    # pixels of 0.8 mm: centres at 0.4, 1.2, 2.0, 2.8 mm on both sides of the border
    near = near_border(half_plane(), (0.8, 0.5, 5), within_mm=2.0)
    np.testing.assert_array_equal(np.flatnonzero(near[:, 4, 1]), range(7, 13))
    assert near[7:13, :, 1].all()
    near = near_border(half_plane(), (0.8, 0.5, 5), within_mm=1.99)
    np.testing.assert_array_equal(np.flatnonzero(near[:, 4, 1]), range(8, 12))


def test_slices_without_gm_have_no_border():
    near = near_border(half_plane(), (0.1, 0.1, 0.1), within_mm=5)
    assert near[..., 1].all()
    assert not near[..., [0, 2]].any()
    assert not near_border(np.zeros((4, 4, 2)), (1, 1, 1)).any()


def test_distances_with_anisotropic_pixels():
    reference = np.zeros((21, 21, 1))
    reference[10, 10, 0] = 1
    near = near_border(reference, (0.5, 1.0, 5), within_mm=2.0)[..., 0]
    # the border is 0.25 mm and 0.5 mm from the centre of the pixel
    np.testing.assert_array_equal(np.flatnonzero(near[:, 10]), range(6, 15))
    np.testing.assert_array_equal(np.flatnonzero(near[10]), range(8, 13))
    # (3, 2) pixels away: to the corner of the pixel sqrt(1.25^2 + 1.5^2) = 1.95 mm
    assert near[13, 12]
    # (4, 2) away: sqrt(1.75^2 + 1.5^2) = 2.30 mm
    assert not near[14, 12]


def test_any_slice_axis():
    reference = half_plane()
    expected = near_border(reference, (0.8, 0.5, 5))
    turned = near_border(np.moveaxis(reference, 2, 0), (5, 0.8, 0.5), axis=0)
    np.testing.assert_array_equal(turned, np.moveaxis(expected, 2, 0))


def test_the_edge_of_the_image_is_no_border():
    assert not near_border(np.ones((5, 5, 2)), (1, 1, 1)).any()


def brute_force_distances_mm(gm, spacing_mm):
    """Return the distance from each pixel centre to the nearest edge between unlike pixels."""
    size = np.array(spacing_mm)
    centres = np.stack(np.meshgrid(*map(np.arange, gm.shape), indexing="ij"), axis=-1)
    distance = np.full(gm.shape, np.inf)
    for i, j in np.ndindex(gm.shape):
        for k, step in enumerate(((1, 0), (0, 1))):
            other = i + step[0], j + step[1]
            if other < gm.shape and other[k] < gm.shape[k] and gm[i, j] != gm[other]:
                offset = np.abs(centres - (i, j) - np.array(step) / 2)
                offset[..., 1 - k] = np.maximum(offset[..., 1 - k] - 0.5, 0)
                distance = np.minimum(distance, np.linalg.norm(offset * size, axis=-1))
    return distance


@settings(max_examples=40, deadline=None)
@given(
    gm=hnp.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))),
    spacing=st.tuples(st.sampled_from([0.25, 0.4, 0.78, 1.0]), st.sampled_from([0.25, 0.6, 1.1])),
    within=st.floats(0.1, 3),
)
def test_near_border_matches_brute_force(gm, spacing, within):
    near = near_border(gm[..., None], (*spacing, 5), within)[..., 0]
    distance = brute_force_distances_mm(gm, spacing)
    clear = np.abs(distance - within) > 1e-5
    np.testing.assert_array_equal(near[clear], (distance <= within)[clear])


# ------------------------------------------------------------------------------ reliability


def test_reliability_by_hand():
    soft = np.array([0.0, 0.1, 0.5, 0.6, 0.9, 1.0])
    table = reliability(soft, [0, 1, 0, 1, 1, 1], bins=2)
    np.testing.assert_array_equal(table.count, [2, 4])
    np.testing.assert_allclose(table.mean_soft, [0.05, 0.75])
    np.testing.assert_allclose(table.gm_share, [0.5, 0.75])
    assert expected_calibration_error(table) == pytest.approx(2 / 6 * 0.45)


def test_only_selected_voxels_are_counted():
    soft = np.array([0.9, 0.9, 0.1, 0.1])
    table = reliability(soft, [1, 0, 0, 0], [1, 0, 1, 0])
    np.testing.assert_array_equal(table.count, np.eye(10)[1] + np.eye(10)[9])
    assert expected_calibration_error(table) == pytest.approx(0.1)


def test_empty_bins_are_nan_and_have_no_weight():
    table = reliability([0.95, 0.95], [1, 1])
    assert np.isnan(table.gm_share[:9]).all()
    assert expected_calibration_error(table) == pytest.approx(0.05)


def test_calibrated_values_have_almost_no_error():
    rng = np.random.default_rng(0)
    soft = rng.random((200, 200, 10))
    table = reliability(soft, rng.random(soft.shape) < soft)
    np.testing.assert_allclose(table.gm_share, np.arange(10) / 10 + 0.05, atol=0.01)
    assert expected_calibration_error(table) < 0.005


def test_error_of_saturated_values_is_the_fraction_of_wrong_voxels():
    reference = np.zeros(100, bool)
    reference[:30] = True
    assert expected_calibration_error(reliability(~reference * 1.0, reference)) == 1
    half = reference.copy()
    half[:10] = False  # a third of the GM is missed with full confidence
    assert expected_calibration_error(reliability(half * 1.0, reference)) == pytest.approx(0.1)


@settings(deadline=None)
@given(
    soft=hnp.arrays(np.float32, 30, elements=st.floats(0, 1, width=32)),
    reference=hnp.arrays(bool, 30),
    bins=st.integers(1, 15),
)
def test_reliability_counts_every_voxel(soft, reference, bins):
    reference[0] = True
    table = reliability(soft, reference, bins=bins)
    assert table.count.sum() == 30
    np.testing.assert_allclose(np.nansum(table.count * table.gm_share), reference.sum())
    np.testing.assert_allclose(np.nansum(table.count * table.mean_soft), soft.sum(), rtol=1e-5)
    filled = np.flatnonzero(table.count)
    assert (table.mean_soft[filled] >= filled / bins - 1e-9).all()
    assert (table.mean_soft[filled] <= (filled + 1) / bins + 1e-9).all()
    error = expected_calibration_error(table)
    # at least the error of the mean, at most the mean error of the voxels
    assert error >= abs(soft.astype(float).mean() - reference.mean()) - 1e-6
    assert error <= np.abs(soft - reference).mean() + 1e-6


def test_pooled_scans_have_equal_weight():
    small = reliability([0.05], [1])
    large = reliability(np.full(99, 0.95), np.ones(99))
    table = pooled([small, large])
    np.testing.assert_allclose(table.count[[0, 9]], [0.5, 0.5])
    assert expected_calibration_error(table) == pytest.approx((0.95 + 0.05) / 2)
    # in one bin, errors of opposite sign compensate each other
    pair = [reliability([0.5] * 4, [1] * 4), reliability([0.5] * 8, [0] * 7 + [1])]
    table = pooled(pair)
    assert table.gm_share[5] == pytest.approx((1 + 1 / 8) / 2)
    assert expected_calibration_error(table) == pytest.approx(1 / 16)


def test_a_single_scan_is_not_changed_by_pooling():
    table = reliability([0.05, 0.35, 0.95], [0, 1, 1])
    alone = pooled([table])
    np.testing.assert_allclose(alone.count, table.count / 3)
    np.testing.assert_array_equal(alone.gm_share, table.gm_share)
    assert isinstance(alone, Reliability)


def test_unusable_input_is_refused():
    soft, reference = np.zeros((3, 3, 1)), np.ones((3, 3, 1))
    with pytest.raises(InputError, match="the reference is empty"):
        reliability(soft, soft)
    with pytest.raises(InputError, match="no voxel is counted"):
        reliability(soft, reference, near_border(reference, (1, 1, 1)))
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(InputError, match="within 0 to 1"):
            reliability(soft + wrong, reference)
    with pytest.raises(InputError, match="no scan to pool"):
        pooled([])
    with pytest.raises(ValueError, match="shapes differ"):
        reliability(soft, reference[:2])


# ------------------------------------------------------------------------------ scan, rescan


def test_coefficient_of_variation_by_hand():
    # of 9 and 11: sd sqrt(2), mean 10; of 10 and 10: 0
    assert coefficient_of_variation_percent([9], [11]) == pytest.approx(14.142, abs=1e-3)
    assert coefficient_of_variation_percent([9, 10], [11, 10]) == pytest.approx(10)


@given(pairs=hnp.arrays(float, (5, 2), elements=st.floats(0.1, 100)), scale=st.floats(0.01, 100))
def test_coefficient_of_variation_does_not_depend_on_unit_or_order(pairs, scale):
    value = coefficient_of_variation_percent(*pairs.T)
    assert coefficient_of_variation_percent(*(pairs * scale).T) == pytest.approx(value)
    assert coefficient_of_variation_percent(*pairs[::-1, ::-1].T) == pytest.approx(value)
    each = pairs.std(axis=1, ddof=1) / pairs.mean(axis=1)
    assert value == pytest.approx(100 * np.sqrt((each**2).mean()))


def test_unusable_pairs_are_refused():
    with pytest.raises(InputError, match="no scan-rescan pair"):
        coefficient_of_variation_percent([], [])
    for first in ([1, 0], [1, np.nan]):
        with pytest.raises(InputError, match="pair 1, counted from 0"):
            coefficient_of_variation_percent(first, [1, 0])
    with pytest.raises(ValueError, match="no pairs"):
        coefficient_of_variation_percent([1, 2], [1])
