"""Read scans and masks; write images with the geometry of a scan."""

import nibabel as nib
import numpy as np
import pytest
from orientations import ROTATION, a_scan

from gmseg import InputError
from gmseg.io import image, voxel_sizes


def unusual_scan(nifti):
    """Return a scan with unusual qform, sform and units, and a name in its description."""
    scan = nifti(np.ones((6, 7, 3), np.int16), None)
    scan.header.set_zooms((0.5859375, 0.5859376, 2.5))
    matrix = ROTATION @ np.diag([-0.5859375, 0.5859376, 2.5])
    scan.header.set_qform(nib.affines.from_matvec(matrix, [1, 2, 3]), 2)
    scan.header.set_sform(nib.affines.from_matvec(matrix, [1.1, 2, 3]), 4)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["descrip"] = b"a patient's name"
    return nifti(np.asarray(scan.dataobj), scan.header.get_best_affine(), scan.header)


@pytest.mark.parametrize("nifti", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("qcode", "scode"), [(2, 4), (1, 0), (0, 3), (0, 0)])
def test_geometry_is_copied_bit_for_bit_and_nothing_else(tmp_path, nifti, qcode, scode):
    scan = unusual_scan(nifti)
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


def test_a_mask_on_another_grid_is_refused(tmp_path):
    scan = a_scan()
    shifted = scan.affine.copy()
    shifted[0, 3] += 0.06
    nib.save(nib.Nifti1Image(np.ones(scan.shape, np.uint8), shifted), tmp_path / "shifted.nii.gz")
    with pytest.raises(InputError, match=r"is displaced by up to 0\.06 mm against the scan"):
        image.read_mask(tmp_path / "shifted.nii.gz", scan, what="cord mask")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), scan.affine), tmp_path / "small.nii.gz")
    with pytest.raises(InputError, match=r"has shape \(4, 4, 4\), the scan \(40, 36, 5\)"):
        image.read_mask(tmp_path / "small.nii.gz", scan, what="cord mask")
    shifted[0, 3] = scan.affine[0, 3] + 0.046  # as after another program; pixels have 0.55 mm
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


def test_slope_and_intercept_are_applied(tmp_path):
    scan = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    scan.header.set_slope_inter(2.5, -3)
    nib.save(scan, tmp_path / "s.nii.gz")
    data = np.asarray(image.read_scan(tmp_path / "s.nii.gz").dataobj)
    np.testing.assert_allclose(data, nib.load(tmp_path / "s.nii.gz").get_fdata())


def test_the_description_of_an_image_is_read_back(tmp_path):
    result = image.like_scan(a_scan(), np.ones((40, 36, 5), np.uint8))
    result.header["descrip"] = "gmseg"
    image.write_image(result, tmp_path / "m.nii.gz")
    assert image.description_of(tmp_path / "m.nii.gz") == "gmseg"
    nib.save(nib.MGHImage(np.ones((3, 3, 3), np.float32), np.eye(4)), tmp_path / "m.mgz")
    assert image.description_of(tmp_path / "m.mgz") == ""


def with_header(path, units=0, **fields):
    """Write a scan of 0.5 x 0.5 x 5 mm whose header has other fields, as the file stores them."""
    scan = nib.Nifti1Image(a_scan((20, 20, 4)).get_fdata(dtype=np.float32), None)
    scan.header["pixdim"][1:4] = 0.5, 0.5, 5
    scan.header["qform_code"] = 1
    nib.save(scan, path)
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header["xyzt_units"] = units
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("units", "name", "factor"), [(1, "metres", 1e-3), (3, "microns", 1e3)])
def test_units_other_than_mm_are_refused_where_they_are_certain(tmp_path, units, name, factor):
    pixdim = [1, 0.5 * factor, 0.5 * factor, 5 * factor, 1, 1, 1, 1]
    path = with_header(tmp_path / "s.nii", units, pixdim=pixdim)
    with pytest.raises(InputError, match=f"voxel sizes are in {name} .*; convert the header to mm"):
        image.read_scan(path)
    # a voxel of half a metre or micron is not possible, so the unit is wrong, which is flagged
    wrong = image.read_scan(with_header(tmp_path / "s.nii", units))
    assert voxel_sizes.unit_of(wrong)[0] == name


def test_negative_voxel_sizes_are_read_as_nibabel_reads_them(tmp_path):
    path = with_header(tmp_path / "s.nii", pixdim=[1, -0.5, 0.5, -5, 1, 1, 1, 1])
    np.testing.assert_array_equal(image.read_scan(path).affine, nib.load(path).affine)


def test_thick_slices_that_are_not_axial_are_named(tmp_path):
    sagittal = nib.Nifti1Image(a_scan((9, 40, 40)).get_fdata(), np.diag([7.5, 0.5, 0.5, 1]))
    with pytest.raises(InputError, match=r"is not axial: its slices of 7.5 mm lean"):
        image.check_scan(sagittal, name="s.nii")
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(55)))
    leaning = nib.Nifti1Image(sagittal.get_fdata().T, turn @ np.diag([0.5, 0.5, 7.5, 1]))
    assert image.check_scan(leaning, name="s.nii").shape == (40, 40, 9)
