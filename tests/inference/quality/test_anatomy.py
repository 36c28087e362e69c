"""QC flags of cord masks that do not fit, and of voxel sizes that anatomy rules out."""

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented
from scipy import ndimage

from gmseg import segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality.anatomy import CordFit
from gmseg.inference.quality.flags import LIMITS, header_flags

AFFINE = np.diag([-0.5, 0.5, 5, 1])


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=10_007, spacing_mm=(0.5, 0.5, 5.0), shape=(110, 110, 3))


@pytest.fixture(scope="module")
def cord(phantom):
    return nib.Nifti1Image(
        (np.asarray(phantom.mask.dataobj) > 0).astype(np.uint8), phantom.image.affine
    )


def names(flags):
    assert {flag.name for flag in flags} <= set(LIMITS)
    return [flag.name for flag in flags]


def changed(cord, change):
    return nib.Nifti1Image(change(np.asarray(cord.dataobj)).astype(np.uint8), cord.affine)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda cord: np.roll(cord, 12, axis=0),  # 6 mm
        lambda cord: ndimage.binary_erosion(cord, np.ones((3, 3, 1)), iterations=5),
    ],
)
def test_a_cord_mask_that_does_not_fit_is_flagged(phantom, cord, change, within):
    misfit = changed(cord, change)
    result = segment(phantom.image, cord=misfit, within_cord=within)
    [flag] = [flag for flag in result.summary.flags if flag.name == "outside-cord"]
    assert " % of the GM lies outside the cord mask" in flag.text
    assert flag.text.endswith("removed") == within
    assert flag.slices


def test_a_cord_mask_that_fits_raises_no_flag_in_any_orientation(phantom, cord):
    result = segment(phantom.image, cord=cord, within_cord=True)
    assert names(result.summary.flags) == []
    turned = segment(phantom.image, cord=reoriented(cord, ALL_48[29]), within_cord=True)
    np.testing.assert_array_equal(turned.mask.dataobj, result.mask.dataobj)


def test_slices_without_cord_are_flagged_where_gm_is_removed():
    gm, cord = np.zeros((2, 20, 20, 4), bool)
    gm[5:10, 5:10] = cord[2:14, 2:14] = True
    cord[..., 3] = False
    fit = CordFit()
    fit.add(gm, cord, AFFINE)
    assert fit.flags(removed=False) == []
    [flag] = fit.flags(removed=True)
    assert flag.slices == (3,)
    assert "the cord mask is empty in slice 3" in flag.text


def header(affine=AFFINE, **fields):
    image = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), affine)
    image.set_qform(affine, 1)
    for field, value in fields.items():
        image.header[field] = value
    return image


def test_headers_that_contradict_themselves():
    assert header_flags(header(), (90, 90, 6)) == []
    for code in (1, 3):
        [flag] = header_flags(header(xyzt_units=code), (90, 90, 6))
        assert flag.name == "voxel-size"
        assert "mm was used" in flag.text
    wrong = header(pixdim=[1, 0.4, 0.4, 5, 1, 1, 1, 1], qform_code=0)
    [flag] = header_flags(wrong, (90, 90, 6))
    assert "pixdim of 0.4 x 0.4 x 5 mm contradicts the affine: 0.5 x 0.5 x 5 mm" in flag.text


def test_slices_that_lean_are_not_axial():
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(55)))
    [flag] = header_flags(header(turn @ AFFINE), (90, 90, 6))
    assert (flag.name, flag.text) == ("not-axial", "the slices lean 55 degrees from axial")


@pytest.mark.parametrize(
    ("factors", "flagged"),
    [((1, 1, 1), False), ((0.8, 0.8, 1), True), ((1.3, 1.3, 1), True), ((0.7, 1, 1), True)],
)
def test_a_real_scan_with_a_wrong_voxel_size(shared, factors, flagged):
    folder = shared / "data/t2starw-multicentre/sub-9584/anat"
    scan = nib.load(folder / "sub-9584_run-1_T2starw.nii.gz").slicer[..., 5:9]
    wrong = (np.asarray(scan.dataobj), scan.affine @ np.diag([*factors, 1]))
    assert ("voxel-size" in names(segment(wrong).summary.flags)) == flagged


def test_a_leaning_scan_is_segmented_as_an_upright_one(phantom):
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(55)))
    leaning = nib.Nifti1Image(np.asarray(phantom.image.dataobj), turn @ phantom.image.affine)
    upright, leaning = segment(phantom.image), segment(leaning)
    differ = np.asarray(upright.mask.dataobj) != np.asarray(leaning.mask.dataobj)
    assert differ.sum() <= 2
    assert names(leaning.summary.flags) == ["not-axial"]
