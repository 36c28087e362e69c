"""Slice axis, areas and volumes."""

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented

from gmseg.core import geometry


def test_area_and_volume_of_a_block():
    mask = np.zeros((10, 10, 4))
    mask[2:5, 3:7, 1] = 1
    mask[2:5, 3:7, 2] = 0.5
    affine = np.diag([-0.5, 0.4, 5, 1])
    areas = geometry.slice_areas_mm2(mask, affine)
    np.testing.assert_allclose(areas, [0, 2.4, 1.2, 0])
    assert geometry.volume_mm3(areas, affine) == pytest.approx(18)
    affine[0, 2] = 2  # sheared slices keep their distance
    areas = geometry.slice_areas_mm2(mask, affine)
    assert geometry.volume_mm3(areas, affine) == pytest.approx(18)


@pytest.mark.parametrize("ornt", ALL_48[::5])
def test_areas_run_along_the_slice_axis_in_any_orientation(ornt):
    mask = np.zeros((10, 10, 4))
    mask[2:5, 3:7, 1] = 1
    image = reoriented(nib.Nifti1Image(mask, np.diag([-0.5, 0.4, 5, 1])), ornt)
    areas = geometry.slice_areas_mm2(image.get_fdata(), image.affine)
    downwards = geometry.runs_downwards(image.affine)
    assert downwards == (ornt[2, 1] < 0)
    np.testing.assert_allclose(areas[::-1] if downwards else areas, [0, 2.4, 0, 0])


def turned(degrees, axis, spacing=(0.5, 0.5, 5.0)):
    turn = nib.eulerangles.euler2mat(**{axis: np.deg2rad(degrees)})
    return nib.affines.from_matvec(turn @ np.diag([-1, 1, 1]) @ np.diag(spacing))


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("degrees", [-55, 46, 50, 60, 70, 150])
def test_thick_slices_that_lean_keep_their_axis(axis, degrees):
    affine = turned(degrees, axis)
    assert geometry.slice_axis(affine) == 2
    lean = min(abs(degrees), 180 - abs(degrees))
    assert geometry.slice_lean_deg(affine) == pytest.approx(lean)
    assert geometry.runs_downwards(affine) == (degrees == 150)


def test_sagittal_and_coronal_slices_are_not_axial():
    for axis in "xy":
        plain = nib.orientations.io_orientation(turned(85, axis))
        np.testing.assert_array_equal(geometry.orientation(turned(85, axis)), plain)
        assert geometry.slice_axis(turned(85, axis)) != 2
    # without thick slices, the affine alone tells
    assert geometry.slice_axis(turned(55, "x", (0.5, 0.5, 0.6))) == 1


@pytest.mark.parametrize("ornt", ALL_48[::3])
def test_leaning_slices_in_any_order_of_the_voxels(ornt):
    mask = np.zeros((10, 10, 4))
    mask[2:5, 3:7, 1] = 1
    image = reoriented(nib.Nifti1Image(mask, turned(55, "x")), ornt)
    assert geometry.slice_areas_mm2(image.get_fdata(), image.affine).max() == pytest.approx(3)
