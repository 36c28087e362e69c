"""Sizes that anatomy rules out, and sizes that are plausible."""

import nibabel as nib
import numpy as np
import pytest
from synthetic_cords import disc, drawn

import gmseg
from gmseg.datasets.phantom import make_phantom
from gmseg.morphometry import anatomy

AFFINE = np.diag([-0.5, 0.5, 5, 1])
GM_MM2 = np.array([11.0, 13.0, 14.0, 16.0, 18.0])


def scaled(*factors):
    return AFFINE @ np.diag([*factors, 1])


@pytest.mark.parametrize(
    "factors", [(1, 1, 1), (0.9, 0.9, 1), (1.1, 1.1, 1), (1, 1, 2), (1.1, 1, 1)]
)
def test_plausible_sizes(factors):
    areas = GM_MM2 * factors[0] * factors[1]
    assert anatomy.size_faults(areas, scaled(*factors), 5.7 * areas) == []


@pytest.mark.parametrize(
    "factors", [(0.8, 0.8, 1), (1.3, 1.3, 1), (0.7, 1, 1), (1, 0.7, 1), (1.4, 1, 1), (1, 1, 6)]
)
def test_wrong_voxel_sizes(factors):
    areas = GM_MM2 * factors[0] * factors[1]
    faults = anatomy.size_faults(areas, scaled(*factors))
    assert len(faults) == 1
    assert "implausible" in faults[0]
    assert "check the voxel size" in faults[0]


def test_the_cord_counts_where_it_is_known():
    [fault] = anatomy.size_faults(GM_MM2, AFFINE, [np.nan, 40, 41, 42, 0])
    assert fault.startswith("a cord of 41.0 mm^2 is implausible")
    assert anatomy.size_faults([], AFFINE) == []
    assert anatomy.size_faults([30.0, 0, 0], AFFINE) == []  # a single slice may differ


def test_phantoms_are_plausible():
    for seed in range(6):
        labels = make_phantom(seed=seed, shape=(64, 64, 3)).mask
        gm, cord = (np.asarray(labels.dataobj) == 1), np.asarray(labels.dataobj) > 0
        areas = [part.sum(axis=(0, 1)) * 0.25 for part in (gm, cord)]
        assert anatomy.size_faults(areas[0], labels.affine, areas[1]) == []


def test_manual_masks_are_plausible_and_rescaled_ones_are_not(shared):
    folder = shared / "data/t2starw-multicentre/derivatives/labels"
    for file in sorted(folder.glob("sub-*/anat/*_gmseg-manual.nii.gz")):
        gm = nib.load(file)
        cord = nib.load(str(file).replace("gmseg", "seg"))
        pixel_mm2 = np.prod(nib.affines.voxel_sizes(gm.affine)[:2])
        areas = [np.asarray(part.dataobj).sum(axis=(0, 1)) * pixel_mm2 for part in (gm, cord)]
        assert anatomy.size_faults(areas[0], gm.affine, areas[1]) == [], file
        for factor in (0.8, 1.3):
            larger = gm.affine @ np.diag([factor, factor, 1, 1])
            sizes = (part * factor**2 for part in areas)
            assert anatomy.size_faults(next(sizes), larger, next(sizes)), file


def test_faults_of_measurements():
    gm = np.repeat(drawn(0.5)[..., None] > 0.5, 5, axis=2).astype(np.uint8)
    cord = np.repeat(disc(0.5, 5.0)[..., None] > 0.5, 5, axis=2).astype(np.uint8)

    def faults(affine=AFFINE, shift=0):
        shifted = np.roll(cord, shift, axis=0)
        rows = gmseg.measure_mask(
            nib.Nifti1Image(gm, affine), cord=nib.Nifti1Image(shifted, affine)
        )
        return anatomy.measurement_faults(rows, affine)

    assert faults() == []
    [fault] = faults(shift=12)
    assert fault.endswith(" % of the GM lies outside the cord mask")
    assert all("check the voxel size" in fault for fault in faults(scaled(1.5, 1.5, 1)))
