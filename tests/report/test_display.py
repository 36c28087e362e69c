"""Which way up a slice is shown, and where it is looked at."""

import numpy as np

from gmseg.report import display


def test_front_is_up_and_the_patients_left_is_right():
    plane = np.zeros((5, 7))  # rows from right to left, columns from back to front
    plane[4, 6] = 1  # left, in front
    shown = display.upright(plane)
    assert shown.shape == (7, 5)
    assert np.argwhere(shown).tolist() == [[0, 4]]


def test_the_way_is_smooth_and_fills_what_is_missing():
    middles = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1)
    middles[[4, 5, 19]] = np.nan
    way = display.follow(middles, 2.0, (0, 0))
    np.testing.assert_allclose(way[:, 1], 3)
    np.testing.assert_allclose(way[8:12, 0], np.arange(8, 12), atol=0.05)
    assert np.all(np.diff(way[:, 0]) > 0)


def test_without_any_mask_it_is_as_told():
    way = display.follow(np.full((3, 2), np.nan), 2.0, (7, 9))
    np.testing.assert_array_equal(way, [[7, 9]] * 3)
