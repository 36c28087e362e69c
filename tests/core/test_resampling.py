"""To the working grid and back."""

import hypothesis.extra.numpy as hnp
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from orientations import ALL_48, ROTATION, UPRIGHT, a_scan, reoriented, undone

from gmseg.core import resampling


def to_grid(scan):
    return resampling.to_working_grid(np.asarray(scan.dataobj), scan.affine)


@pytest.mark.parametrize("rotation", [UPRIGHT, ROTATION])
def test_working_grid_equals_nibabels(rotation):
    scan = a_scan(rotation=rotation)
    grid = to_grid(scan)
    assert nib.aff2axcodes(grid.affine) == ("L", "A", "S")
    np.testing.assert_allclose(nib.affines.voxel_sizes(grid.affine), [0.25, 0.25, 3.0], atol=1e-6)
    target = grid.data.shape, grid.affine
    expected = resample_from_to(scan, target, order=1, mode="nearest").get_fdata()
    np.testing.assert_allclose(grid.data, expected, atol=1e-3)


@pytest.mark.parametrize("rotation", [UPRIGHT, ROTATION])
def test_native_grid_equals_nibabels(rotation):
    scan = a_scan(rotation=rotation)
    grid = to_grid(scan)
    values = np.random.default_rng(1).random(grid.data.shape).astype(np.float32)
    expected = resample_from_to(
        nib.Nifti1Image(values, grid.affine), (scan.shape, scan.affine), order=1, mode="nearest"
    ).get_fdata()
    np.testing.assert_allclose(resampling.to_native_grid(values, grid), expected, atol=1e-4)


def test_field_of_view_begins_at_the_same_corner():
    scan = a_scan()
    grid = to_grid(scan)
    corner = [-0.5, -0.5, -0.5]
    np.testing.assert_allclose(
        nib.affines.apply_affine(grid.affine, corner),
        nib.affines.apply_affine(scan.affine, corner),
        atol=1e-5,
    )


@pytest.mark.parametrize("ornt", ALL_48, ids=range(48))
def test_48_orders_and_flips_give_the_same_working_grid(ornt):
    scan = a_scan(rotation=ROTATION)
    grid, other = to_grid(scan), to_grid(reoriented(scan, ornt))
    np.testing.assert_array_equal(other.data, grid.data)
    np.testing.assert_allclose(other.affine, grid.affine, atol=1e-9)
    values = np.random.default_rng(1).random(grid.data.shape).astype(np.float32)
    native, back = resampling.to_native_grid(values, grid), resampling.to_native_grid(values, other)
    np.testing.assert_array_equal(undone(back, ornt), native)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4)),
    spacing=st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.3, 10.0)),
    ornt=st.sampled_from(ALL_48),
)
def test_any_geometry_goes_to_the_working_grid_and_back(shape, spacing, ornt):
    scan = reoriented(a_scan(shape, spacing), ornt)
    grid = to_grid(scan)
    back = resampling.to_native_grid(grid.data, grid)
    assert back.shape == scan.shape
    low, high = scan.get_fdata().min(), scan.get_fdata().max()
    assert back.min() >= low - 1e-3
    assert back.max() <= high + 1e-3


@settings(max_examples=25, deadline=None)
@given(
    ramp=hnp.arrays(np.float64, 3, elements=st.floats(-2, 2)),
    spacing=st.tuples(st.floats(0.3, 1.5), st.floats(0.3, 1.5)),
)
def test_a_ramp_in_world_space_keeps_its_place(ramp, spacing):
    scan = a_scan((30, 28, 4), (*spacing, 4.0), ROTATION)
    index = np.moveaxis(np.indices(scan.shape), 0, -1)
    data = nib.affines.apply_affine(scan.affine, index) @ ramp
    grid = resampling.to_working_grid(data, scan.affine)
    index = np.moveaxis(np.indices(grid.data.shape), 0, -1)
    expected = nib.affines.apply_affine(grid.affine, index) @ ramp
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(grid.data[inside], expected[inside], atol=2e-3)
    np.testing.assert_allclose(
        resampling.to_native_grid(grid.data, grid)[3:-3, 3:-3], data[3:-3, 3:-3], atol=4e-3
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_that_is_not_finite_stays_in_its_slice(value):
    scan = a_scan()
    data = np.array(scan.dataobj)
    clean = resampling.to_working_grid(data, scan.affine).data
    data[20, 18, 2] = value
    grid = resampling.to_working_grid(data, scan.affine)
    bad = ~np.isfinite(grid.data)
    rows, columns, slices = np.nonzero(bad)
    assert set(slices) == {2}
    # no farther than one voxel of the scan, 0.7 x 0.55 mm
    assert np.ptp(rows) * 0.25 <= 2 * 0.7
    assert np.ptp(columns) * 0.25 <= 2 * 0.55
    np.testing.assert_array_equal(grid.data[~bad], clean[~bad])
    assert set(np.nonzero(~np.isfinite(resampling.to_native_grid(grid.data, grid)))[2]) == {2}
