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
