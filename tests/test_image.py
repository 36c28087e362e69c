"""Geometry: to the working grid and back; reading and writing."""

import hypothesis.extra.numpy as hnp
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from orientations import ALL_48, reoriented, undone

from gmseg import InputError, image

UPRIGHT = np.eye(3)
ROTATION = nib.eulerangles.euler2mat(0.1, -0.15, 0.2)


def a_scan(shape=(40, 36, 5), spacing=(0.7, 0.55, 3.0), rotation=UPRIGHT, seed=0):
    rng = np.random.default_rng(seed)
    affine = nib.affines.from_matvec(rotation @ np.diag([-1, 1, 1]) @ np.diag(spacing), [9, -30, 5])
    return nib.Nifti1Image(rng.uniform(1, 100, shape).astype(np.float32), affine)


def to_grid(scan):
    return image.to_working_grid(np.asarray(scan.dataobj), scan.affine)


# ---------------------------------------------------------------------------- working grid


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
    np.testing.assert_allclose(image.to_native_grid(values, grid), expected, atol=1e-4)


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
    native, back = image.to_native_grid(values, grid), image.to_native_grid(values, other)
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
    back = image.to_native_grid(grid.data, grid)
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
    grid = image.to_working_grid(data, scan.affine)
    index = np.moveaxis(np.indices(grid.data.shape), 0, -1)
    expected = nib.affines.apply_affine(grid.affine, index) @ ramp
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(grid.data[inside], expected[inside], atol=2e-3)
    np.testing.assert_allclose(
        image.to_native_grid(grid.data, grid)[3:-3, 3:-3], data[3:-3, 3:-3], atol=4e-3
    )


# ------------------------------------------------------------------------------- the result


def odd_header(nifti=nib.Nifti1Image):
    """A scan whose qform, sform, codes and units all differ from the usual."""
    scan = nifti(np.ones((6, 7, 3), np.int16), None)
    scan.header.set_zooms((0.5859375, 0.5859376, 2.5))
    scan.header.set_qform(
        nib.affines.from_matvec(ROTATION @ np.diag([-0.5859375, 0.5859376, 2.5]), [1, 2, 3]), 2
    )
    scan.header.set_sform(
        nib.affines.from_matvec(ROTATION @ np.diag([-0.5859375, 0.5859376, 2.5]), [1.1, 2, 3]), 4
    )
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["descrip"] = b"a patient's name"
    return nifti(np.asarray(scan.dataobj), scan.header.get_best_affine(), scan.header)


@pytest.mark.parametrize("nifti", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("qcode", "scode"), [(2, 4), (1, 0), (0, 3), (0, 0)])
def test_geometry_is_copied_bit_for_bit_and_nothing_else(tmp_path, nifti, qcode, scode):
    scan = odd_header(nifti)
    scan.header["qform_code"], scan.header["sform_code"] = qcode, scode
    scan = nifti(np.asarray(scan.dataobj), scan.header.get_best_affine(), scan.header)
    nib.save(scan, tmp_path / "scan.nii.gz")
    scan = nib.load(tmp_path / "scan.nii.gz")
    image.write_image(image.like_scan(scan, np.ones(scan.shape, np.uint8)), tmp_path / "m.nii.gz")
    mask = nib.load(tmp_path / "m.nii.gz")
    assert type(mask) is nifti
    assert mask.affine.tobytes() == scan.affine.tobytes()
    for field in image._GEOMETRY_FIELDS:
        assert mask.header[field].tobytes() == scan.header[field].tobytes(), field
    assert mask.get_data_dtype() == np.uint8
    assert b"patient" not in bytes(mask.header.binaryblock)


# ---------------------------------------------------------------------------------- reading


def test_a_cord_masks_grid_must_be_the_scans(tmp_path):
    scan = a_scan()
    shifted = scan.affine.copy()
    shifted[0, 3] += 0.01
    nib.save(nib.Nifti1Image(np.ones(scan.shape, np.uint8), shifted), tmp_path / "shifted.nii.gz")
    with pytest.raises(InputError, match=r"affine differs from the scan's by 0\.01 mm"):
        image.read_mask(tmp_path / "shifted.nii.gz", scan, what="cord mask")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), scan.affine), tmp_path / "small.nii.gz")
    with pytest.raises(InputError, match=r"has shape \(4, 4, 4\), the scan \(40, 36, 5\)"):
        image.read_mask(tmp_path / "small.nii.gz", scan, what="cord mask")
    shifted[0, 3] = scan.affine[0, 3] + 2e-4  # as between a real scan and its mask
    nib.save(nib.Nifti1Image(np.ones(scan.shape, np.uint8), shifted), tmp_path / "near.nii.gz")
    assert image.read_mask(tmp_path / "near.nii.gz", scan, what="cord mask").all()


def test_4d_scans_give_one_volume_or_the_mean(tmp_path):
    data = np.random.default_rng(0).uniform(1, 9, (5, 6, 3, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "4d.nii.gz")
    one = image.read_scan(tmp_path / "4d.nii.gz", volume=2)
    np.testing.assert_array_equal(one.get_fdata(dtype=np.float32), data[..., 2])
    mean = image.read_scan(tmp_path / "4d.nii.gz", mean=True)
    np.testing.assert_allclose(mean.get_fdata(), data.mean(axis=3), rtol=1e-6)
    assert mean.shape == (5, 6, 3)
    nib.save(nib.Nifti1Image(data[..., :1], np.eye(4)), tmp_path / "single.nii.gz")
    assert image.read_scan(tmp_path / "single.nii.gz").shape == (5, 6, 3)


def test_scaled_integers_are_read_as_what_they_mean(tmp_path):
    scan = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    scan.header.set_slope_inter(2.5, -3)
    nib.save(scan, tmp_path / "s.nii.gz")
    data = np.asarray(image.read_scan(tmp_path / "s.nii.gz").dataobj)
    np.testing.assert_allclose(data, nib.load(tmp_path / "s.nii.gz").get_fdata())
