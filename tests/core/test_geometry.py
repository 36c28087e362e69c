"""Areas and volumes."""

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
    sheared = affine + np.array([[0, 0, 2, 0]] + [[0] * 4] * 3)  # slices that slide keep their gap
    assert geometry.volume_mm3(geometry.slice_areas_mm2(mask, sheared), sheared) == pytest.approx(
        18
    )


@pytest.mark.parametrize("ornt", ALL_48[::5])
def test_areas_follow_the_slice_axis_wherever_it_is_stored(ornt):
    mask = np.zeros((10, 10, 4))
    mask[2:5, 3:7, 1] = 1
    turned = reoriented(nib.Nifti1Image(mask, np.diag([-0.5, 0.4, 5, 1])), ornt)
    areas = geometry.slice_areas_mm2(turned.get_fdata(), turned.affine)
    downwards = geometry.runs_downwards(turned.affine)
    assert downwards == (ornt[2, 1] < 0)
    np.testing.assert_allclose(areas[::-1] if downwards else areas, [0, 2.4, 0, 0])
