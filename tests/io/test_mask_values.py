"""One rule for the values of masks, whichever command reads them."""

import nibabel as nib
import numpy as np
import pytest
from random_masks import AFFINE, blobs, save

import gmseg
from gmseg import InputError
from gmseg.evaluation.evaluate import evaluate
from gmseg.io import image
from gmseg.io.mask_values import as_mask, value_inside
from gmseg.io.scan_reader import array_reader, open_mask, open_scan

MASK = np.repeat(np.array([[0.0, 1.0], [1.0, 0.0]])[..., None], 3, axis=2)


def inside(values, *, what="mask", label=None):
    """Return which voxels of an image are in a mask."""
    values = np.asarray(values, np.float32)
    return as_mask(values, value_inside("m.nii", [values], what=what, label=label))


@pytest.mark.parametrize("what", ["mask", "cord mask", "soft segmentation", "reference"])
@pytest.mark.parametrize("values", [MASK, MASK * 1.0000001, MASK * 0.9995, 0 * MASK])
def test_zeros_and_ones_are_a_mask_of_any_kind(what, values):
    np.testing.assert_array_equal(inside(values, what=what), np.rint(values))


def test_fractions_count_in_cord_masks_and_soft_segmentations_alone():
    for what in ("cord mask", "soft segmentation"):
        np.testing.assert_allclose(inside(MASK * 0.4, what=what), MASK * 0.4, rtol=1e-6)
    np.testing.assert_array_equal(inside(MASK * 255, what="cord mask"), MASK)
    np.testing.assert_array_equal(inside(MASK * 2, label=2), MASK)
    np.testing.assert_array_equal(inside(MASK + 1, label=2), MASK)


SCAN = np.random.default_rng(0).uniform(0, 900, (20, 20, 3))


@pytest.mark.parametrize(
    ("values", "choices", "fault"),
    [
        (MASK * np.nan, {}, "contains NaN or infinity"),
        (MASK * np.nan, {"what": "cord mask"}, "contains NaN or infinity"),
        (np.where(MASK, np.inf, 0), {"what": "soft segmentation"}, "contains NaN or infinity"),
        (MASK * 0.5, {}, "as a soft segmentation does; give a mask of 0 and 1"),
        (MASK * 0.5, {"label": 1}, "as a soft segmentation does"),
        (MASK * 2, {}, "contains 2 besides 0 and 1; say which value is GM with `label=2`"),
        (MASK * 2 + 1, {}, "contains 3 besides 0 and 1; say which value is GM with `label=1`"),
        (MASK * 3, {"label": 2}, "contains 3 and no 2; give the value of GM with `label`"),
        (-MASK, {}, "contains -1 besides 0 and 1"),
        (MASK * 2 + 1, {"what": "reference"}, "contains 3 besides 0 and 1; give one with GM alone"),
        (SCAN, {}, "many values from 0 to 89.*, as a scan does"),
        (np.rint(SCAN), {}, "as a scan does"),
        (np.rint(SCAN), {"label": 7}, "as a scan does"),
        (SCAN / 900 * 255, {"what": "cord mask"}, "from 0 to 25.*; a cord mask has 0 to 1"),
        (np.rint(SCAN / 9), {"what": "cord mask"}, "from 0 to 100; a cord mask has 0 to 1"),
        (MASK * 100.5, {"what": "soft segmentation"}, "a soft segmentation has 0 to 1"),
        (MASK * 255, {"what": "soft segmentation"}, "contains 255"),
        (MASK * 1.1, {"what": "cord mask"}, "from 0 to 1.1; a cord mask has 0 to 1"),
        (MASK - 0.5, {"what": "cord mask"}, "from -0.5"),
        (MASK * 2 + 1, {"what": "cord mask"}, "contains 1, 3, as labels of several tissues"),
    ],
)
def test_other_values_are_refused(values, choices, fault):
    with pytest.raises(InputError, match=f"m.nii: .*{fault}"):
        inside(values, **choices)


def test_masks_are_checked_in_parts():
    values = np.zeros((4, 4, 3))
    values[0, 0, 0], values[0, 0, 2] = 1, 2
    parts = np.moveaxis(values, 2, 0)
    with pytest.raises(InputError, match="contains 2 besides"):
        value_inside("m.nii", parts, what="mask")
    assert value_inside("m.nii", parts, what="mask", label=2) == 2


def read_by_all(path):
    """Yield the voxels of a GM mask as every reader of masks returns them."""
    scan = array_reader("scan", np.arange(24 * 22 * 4).reshape(24, 22, 4), AFFINE)
    yield open_mask(path, scan, what="mask").read(0, 4)
    yield image.read_mask(path, scan.like, what="reference")
    yield np.asarray(image.read_segmentation(path).dataobj)


def test_all_readers_of_masks_agree(tmp_path):
    mask, reference = blobs(0)
    path = save(tmp_path / "near.nii.gz", mask * 1.0000001, dtype=np.float32)
    for voxels in read_by_all(path):
        np.testing.assert_array_equal(voxels, mask)
    exact, drawn = save(tmp_path / "m.nii.gz", mask), save(tmp_path / "r.nii.gz", reference)
    assert evaluate(path, drawn)["volume"] == evaluate(exact, drawn)["volume"]
    measured = [gmseg.measure_mask(file)[-1]["gm_volume_mm3"] for file in (path, exact)]
    assert measured[0] == measured[1]
    save(tmp_path / "wrong.nii.gz", mask * 0.7, dtype=np.float32)
    for read in (image.read_segmentation, gmseg.measure_mask, lambda file: evaluate(file, drawn)):
        with pytest.raises(InputError, match=r"wrong.nii.gz: contains values such as 0\.7"):
            read(tmp_path / "wrong.nii.gz")


def test_a_mask_or_a_result_is_no_scan(tmp_path):
    mask, _ = blobs(0)
    with pytest.raises(InputError, match="contains only 0, 1, as a mask does; give the scan"):
        open_scan(nib.Nifti1Image(mask.astype(np.uint8), AFFINE))
    with pytest.raises(InputError, match="contains only 0, 1, 2, as a mask does"):
        open_scan((mask.astype(int) + blobs(1)[0], AFFINE))
    soft = nib.Nifti1Image(np.random.default_rng(0).random((9, 9, 3), np.float32), AFFINE)
    open_scan(soft)
    soft.header["descrip"] = b"gmseg 0.2.0 0123456789abcdef"
    with pytest.raises(InputError, match="is a result of gmseg and no scan"):
        open_scan(soft)
    soft.header["descrip"] = b"gmseg rms 0123456789abcdef"  # echoes that gmseg combined
    open_scan(soft)
