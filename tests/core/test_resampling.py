"""Geometry: to the working grid and back."""

import hypothesis.extra.numpy as hnp
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from orientations import ALL_48, ROTATION, UPRIGHT, a_scan, reoriented, undone

from gmseg.core import resampling as gm_grid


def to_grid(scan):
    return gm_grid.to_working_grid(np.asarray(scan.dataobj), scan.affine)


@pytest.mark.parametrize("rotation", [UPRIGHT, ROTATION])
def test_working_grid_is_what_nibabel_resamples(rotation):
    scan = a_scan(rotation=rotation)
    grid = to_grid(scan)
    assert nib.aff2axcodes(grid.affine) == ("L", "A", "S")
    np.testing.assert_allclose(nib.affines.voxel_sizes(grid.affine), [0.25, 0.25, 3.0], atol=1e-6)
    target = grid.data.shape, grid.affine
    expected = resample_from_to(scan, target, order=1, mode="nearest").get_fdata()
    np.testing.assert_allclose(grid.data, expected, atol=1e-3)


@pytest.mark.parametrize("rotation", [UPRIGHT, ROTATION])
def test_native_grid_is_what_nibabel_resamples(rotation):
    scan = a_scan(rotation=rotation)
    grid = to_grid(scan)
    values = np.random.default_rng(1).random(grid.data.shape).astype(np.float32)
    expected = resample_from_to(
        nib.Nifti1Image(values, grid.affine), (scan.shape, scan.affine), order=1, mode="nearest"
    ).get_fdata()
    np.testing.assert_allclose(gm_grid.to_native_grid(values, grid), expected, atol=1e-4)


def test_field_of_view_keeps_its_corner():
    scan = a_scan()
    grid = to_grid(scan)
    corner = [-0.5, -0.5, -0.5]
    np.testing.assert_allclose(
        nib.affines.apply_affine(grid.affine, corner),
        nib.affines.apply_affine(scan.affine, corner),
        atol=1e-5,
    )


@pytest.mark.parametrize("ornt", ALL_48, ids=range(48))
def test_48_orders_and_flips_have_one_working_grid(ornt):
    scan = a_scan(rotation=ROTATION)
    turned = reoriented(scan, ornt)
    grid, other = to_grid(scan), to_grid(turned)
    np.testing.assert_array_equal(other.data, grid.data)
    np.testing.assert_allclose(other.affine, grid.affine, atol=1e-9)
    values = np.random.default_rng(1).random(grid.data.shape).astype(np.float32)
    native, back = gm_grid.to_native_grid(values, grid), gm_grid.to_native_grid(values, other)
    np.testing.assert_array_equal(undone(back, ornt), native)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4)),
    spacing=st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.3, 10.0)),
    ornt=st.sampled_from(ALL_48),
)
def test_any_geometry_goes_there_and_back(shape, spacing, ornt):
    scan = reoriented(a_scan(shape, spacing), ornt)
    grid = to_grid(scan)
    back = gm_grid.to_native_grid(grid.data, grid)
    assert back.shape == scan.shape
    low, high = scan.get_fdata().min(), scan.get_fdata().max()
    assert back.min() >= low - 1e-3
    assert back.max() <= high + 1e-3


@settings(max_examples=25, deadline=None)
@given(
    ramp=hnp.arrays(np.float64, 3, elements=st.floats(-2, 2)),
    spacing=st.tuples(st.floats(0.3, 1.5), st.floats(0.3, 1.5)),
)
def test_a_ramp_in_world_space_stays_where_it_is(ramp, spacing):
    scan = a_scan((30, 28, 4), (*spacing, 4.0), ROTATION)
    index = np.moveaxis(np.indices(scan.shape), 0, -1)
    data = nib.affines.apply_affine(scan.affine, index) @ ramp
    grid = gm_grid.to_working_grid(data, scan.affine)
    index = np.moveaxis(np.indices(grid.data.shape), 0, -1)
    expected = nib.affines.apply_affine(grid.affine, index) @ ramp
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(grid.data[inside], expected[inside], atol=2e-3)
    np.testing.assert_allclose(
        gm_grid.to_native_grid(grid.data, grid)[3:-3, 3:-3], data[3:-3, 3:-3], atol=4e-3
    )


PARTS = st.tuples(*[st.floats(0, 1)] * 4)


def part_of(shape, shares):
    """Corner and shape of a part of the working grid, from shares of it."""
    corner = [int(share * n) for share, n in zip(shares[:2], shape, strict=False)]
    lengths = [
        int(share * (n - at)) for share, n, at in zip(shares[2:], shape, corner, strict=False)
    ]
    return corner, lengths


@settings(deadline=None)
@given(shares=PARTS, ornt=st.sampled_from(ALL_48[::7]))
def test_a_part_of_the_working_grid_is_that_of_the_whole(shares, ornt):
    scan = reoriented(a_scan(rotation=ROTATION), ornt)
    data = np.asarray(scan.dataobj)
    whole = gm_grid.to_working_grid(data, scan.affine)
    frame = gm_grid.frame_of(scan.shape, scan.affine)
    (row, column), (rows, columns) = part_of(whole.shape, shares)
    part = gm_grid.working_part(data, frame, (row, column), (rows, columns))
    np.testing.assert_array_equal(part, whole.data[row : row + rows, column : column + columns])


@settings(deadline=None)
@given(shares=PARTS, ornt=st.sampled_from(ALL_48[::7]))
def test_back_from_a_part_is_back_from_the_whole_that_is_zero_elsewhere(shares, ornt):
    scan = reoriented(a_scan(rotation=ROTATION), ornt)
    frame = gm_grid.frame_of(scan.shape, scan.affine)
    corner, lengths = part_of(frame.shape, shares)
    part = np.random.default_rng(1).random((*lengths, frame.shape[2])).astype(np.float32)
    whole = np.zeros(frame.shape, np.float32)
    whole[corner[0] : corner[0] + lengths[0], corner[1] : corner[1] + lengths[1]] = part
    expected = gm_grid.to_native_grid(whole, frame)
    np.testing.assert_allclose(gm_grid.to_native_grid(part, frame, corner), expected, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=0, max_size=4), st.integers(0, 47))
def test_what_was_scanned_is_where_the_working_grid_is_not_zero(rows, number):
    scan = a_scan(rotation=ROTATION)
    data = np.zeros(scan.shape, np.float32)
    for row in rows:
        data[row % data.shape[0], (3 * row) % data.shape[1]] = 1 + row
    scan = reoriented(nib.Nifti1Image(data, scan.affine), ALL_48[number])
    data = np.asarray(scan.dataobj)
    extent = gm_grid.scanned_extent(data, gm_grid.frame_of(scan.shape, scan.affine))
    seen = (gm_grid.to_working_grid(data, scan.affine).data != 0).any(axis=2)
    if not rows:
        assert extent is None
        return
    for axis, bounds in enumerate(extent):
        some = np.flatnonzero(seen.any(axis=1 - axis))
        assert bounds == (some[0], some[-1])
