"""Cleaning a mask: only what was asked for."""

import numpy as np
import pytest

from gmseg import InputError
from gmseg.inference import postprocessing

AFFINE = np.diag([-0.5, 0.5, 5.0, 1])


def a_mask():
    mask = np.zeros((60, 60, 2), bool)
    mask[20:30, 20:30, 0] = True  # 25 mm^2, with a hole
    mask[24, 24, 0] = False
    mask[32:36, 20:30, 0] = True  # 10 mm^2, 1 mm off: the same piece
    mask[50:54, 50:54, 0] = True  # 4 mm^2
    mask[5:7, 5:7, 0] = True  # 1 mm^2
    return mask


@pytest.mark.parametrize(
    ("ways", "lost", "filled"),
    [
        ((), 0, 0),
        (("holes",), 0, 1),
        (("small",), 4, 0),
        (("largest",), 20, 0),
        (("largest", "holes"), 20, 1),
    ],
)
def test_ways(ways, lost, filled):
    mask = a_mask()
    result = postprocessing.cleaned(mask, AFFINE, ways)
    assert np.count_nonzero(mask & ~result) == lost
    assert np.count_nonzero(result & ~mask) == filled
    np.testing.assert_array_equal(mask, a_mask())


def test_the_slice_axis_may_lie_anywhere():
    turned = np.moveaxis(a_mask(), 2, 0)
    affine = AFFINE[:, [2, 0, 1, 3]]
    result = postprocessing.cleaned(turned, affine, ("largest",))
    np.testing.assert_array_equal(
        np.moveaxis(result, 0, 2), postprocessing.cleaned(a_mask(), AFFINE, ("largest",))
    )


def test_an_unknown_way():
    with pytest.raises(InputError, match="'bogus' is unknown; choose of largest, small, holes"):
        postprocessing.check_ways(("bogus",))
