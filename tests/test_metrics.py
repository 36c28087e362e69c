"""Agreement of two masks."""

import numpy as np
import pytest

from gmseg.metrics import dice, dice_labelled, labelled_slices


def test_dice_of_shifted_squares():
    a, b = np.zeros((10, 10, 1)), np.zeros((10, 10, 1))
    a[2:6, 2:6] = 1
    b[2:6, 4:8] = 1
    assert dice(a, b) == pytest.approx(0.5)
    assert dice(a, a) == 1
    assert dice(a, np.roll(b, 5, axis=0)) == 0


def test_empty_masks_have_no_dice():
    empty = np.zeros((3, 3, 1))
    assert np.isnan(dice(empty, empty))
    assert dice(empty, np.ones((3, 3, 1))) == 0


def test_only_labelled_slices_count():
    prediction, reference = np.ones((4, 4, 3)), np.zeros((4, 4, 3))
    reference[..., 1] = 1
    assert dice(prediction, reference) == pytest.approx(0.5)
    assert dice_labelled(prediction, reference) == 1
    np.testing.assert_array_equal(labelled_slices(reference), [False, True, False])
    turned = np.moveaxis(prediction, 2, 0), np.moveaxis(reference, 2, 0)
    assert dice_labelled(*turned, axis=0) == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
