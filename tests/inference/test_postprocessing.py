"""Post-processing does only what is asked for."""

import numpy as np
import pytest

from gmseg import InputError
from gmseg.inference import postprocessing

AFFINE = np.diag([-0.5, 0.5, 5.0, 1])


@pytest.fixture
def mask():
    mask = np.zeros((60, 60, 2), bool)
    mask[20:30, 20:30, 0] = True  # 25 mm^2, with a hole
    mask[24, 24, 0] = False
    mask[32:36, 20:30, 0] = True  # 10 mm^2, 1 mm away: counts as the same component
    mask[50:54, 50:54, 0] = True  # 4 mm^2
    mask[5:7, 5:7, 0] = True  # 1 mm^2
    return mask


@pytest.mark.parametrize(
    ("steps", "removed", "filled"),
    [
        ((), 0, 0),
        (("holes",), 0, 1),
        (("small",), 4, 0),
        (("largest",), 20, 0),
        (("largest", "holes"), 20, 1),
    ],
)
def test_steps(mask, steps, removed, filled):
    before = mask.copy()
    result = postprocessing.cleaned(mask, AFFINE, steps)
    assert np.count_nonzero(mask & ~result) == removed
    assert np.count_nonzero(result & ~mask) == filled
    np.testing.assert_array_equal(mask, before)


def test_any_slice_axis(mask):
    moved = np.moveaxis(mask, 2, 0)
    result = postprocessing.cleaned(moved, AFFINE[:, [2, 0, 1, 3]], ("largest",))
    expected = postprocessing.cleaned(mask, AFFINE, ("largest",))
    np.testing.assert_array_equal(np.moveaxis(result, 0, 2), expected)


def test_an_unknown_step_is_refused():
    with pytest.raises(InputError, match="'bogus' is unknown; choose from largest, small, holes"):
        postprocessing.check_steps(("bogus",))
