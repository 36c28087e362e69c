"""Grids that are the same within a tenth of a voxel, and in another orientation."""

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, ROTATION, a_scan, reoriented

from gmseg import InputError
from gmseg.io import grids, image
from gmseg.io.image_file import open_image
from gmseg.io.scan_reader import open_mask, open_scan

SCAN = a_scan(rotation=ROTATION)


def moved(**entries):
    """Return the affine of the scan with something added to entries: ``a02=1e-3``."""
    affine = SCAN.affine.copy()
    for name, added in entries.items():
        affine[int(name[1]), int(name[2])] += added
    return affine


def test_the_displacement_of_the_corners_counts():
    pixel_mm = 0.55
    for entries, same in (
        ({"a03": 0.99 * 0.1 * pixel_mm}, True),
        ({"a03": 1.01 * 0.1 * pixel_mm}, False),
        ({"a02": 1.1e-2}, True),  # 5 slices: 0.05 mm at the last
        ({"a00": 5e-4}, True),  # 40 voxels: 0.02 mm
        ({"a00": 2e-3}, False),
        ({"a03": np.nan}, False),
    ):
        assert grids.same_place(moved(**entries), SCAN.affine, SCAN.shape) == same, entries
    assert not grids.same_place(np.diag([0.5005, 0.5, 5, 1]), np.diag([0.5, 0.5, 5, 1]), (192,) * 3)


@pytest.mark.parametrize("ornt", ALL_48[::5])
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_mask_in_another_orientation_is_reoriented_exactly(ornt, in_parts, tmp_path, monkeypatch):
    mask = nib.Nifti1Image((np.asarray(SCAN.dataobj) > 60).astype(np.uint8), moved(a03=0.02))
    nib.save(reoriented(mask, ornt), tmp_path / "m.nii")
    reader = open_scan(SCAN)
    monkeypatch.setattr("gmseg.io.scan_reader.IN_MEMORY_BYTES", 1000 if in_parts else 2**28)
    opened = open_mask(tmp_path / "m.nii", reader, what="cord mask")
    np.testing.assert_array_equal(opened.read(0, 5), mask.dataobj)
    np.testing.assert_array_equal(opened.read(1, 3), np.asarray(mask.dataobj)[..., 1:3])
    np.testing.assert_array_equal(opened.affine, reader.affine)
    read = image.read_mask(tmp_path / "m.nii", SCAN, what="cord mask")
    np.testing.assert_array_equal(read, mask.dataobj)


def test_reoriented_masks_elsewhere_are_refused(tmp_path):
    mask = nib.Nifti1Image(np.ones(SCAN.shape, np.uint8), moved(a03=3.0))
    nib.save(reoriented(mask, ALL_48[20]), tmp_path / "m.nii")
    with pytest.raises(InputError, match="; give a cord mask on the scan's grid"):
        open_mask(tmp_path / "m.nii", open_scan(SCAN), what="cord mask")


def test_the_qform_counts_where_it_is_almost_the_sform():
    mask = nib.Nifti1Image(np.zeros(SCAN.shape, np.uint8), moved(a01=2e-3))
    mask.set_qform(SCAN.affine, 1)
    assert grids.displacement_mm(mask.affine, SCAN.affine, SCAN.shape) > 0.07
    for pair in ((mask, SCAN), (SCAN, mask)):
        np.testing.assert_array_equal(grids.orientation_onto(*pair), [[0, 1], [1, 1], [2, 1]])
    mask.set_sform(moved(a03=0.5), 1)  # the mask was moved, and its qform was not
    assert grids.orientation_onto(mask, SCAN) is None


def test_real_masks_fit_their_scans(shared):
    data = shared / "data/t2starw-multicentre"
    for file in data.glob("derivatives/labels/sub-*/anat/*-manual.nii.gz"):
        stem = file.name.split("_T2starw")[0]
        scan = open_image(data / stem.split("_")[0] / "anat" / f"{stem}_T2starw.nii.gz")
        assert grids.orientation_onto(open_image(file), scan) is not None
