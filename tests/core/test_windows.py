"""Where the window lies; cutting and pasting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmseg import InputError
from gmseg.core import windows as window
from gmseg.core.resampling import WorkingGrid


def a_grid(shape=(80, 60, 4), affine=None):
    affine = np.diag([-0.25, 0.25, 3.0, 1]) if affine is None else affine
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    return WorkingGrid(shape, affine, shape, affine, data)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3)),
    size=st.integers(1, 50),
    centre=st.tuples(st.integers(-60, 90), st.integers(-60, 90)),
)
def test_cut_and_paste_undo_each_other(shape, size, centre):
    volume = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    centres = np.tile(centre, (shape[2], 1))
    windows = window.cut(volume, centres, size)
    assert windows.shape == (shape[2], size, size)
    pasted = window.paste(windows, centres, shape)
    seen = pasted > 0
    np.testing.assert_array_equal(pasted[seen], volume[seen])
    assert np.count_nonzero(windows) == np.count_nonzero(seen)
    rows, columns = (np.arange(n) for n in shape[:2])
    inside = [
        (axis >= c - size // 2) & (axis < c - size // 2 + size)
        for axis, c in zip((rows, columns), centre, strict=True)
    ]
    np.testing.assert_array_equal(seen, np.broadcast_to(np.outer(*inside)[..., None], shape))


def test_the_centre_of_the_window_is_the_centre_that_was_asked_for():
    volume = np.zeros((50, 50, 1), np.float32)
    volume[20, 31, 0] = 1
    assert window.cut(volume, np.array([[20, 31]]), 10)[0, 5, 5] == 1


def test_beyond_the_scan_the_filling_is_zero():
    windows = window.cut(np.ones((10, 12, 1), np.float32), np.array([[5, 6]]), 20)
    assert windows.sum() == 120
    assert windows[0, 5:15, 4:16].all()


def test_image_centre():
    np.testing.assert_array_equal(window.locate(a_grid(), centre="image"), [[40, 30]] * 4)
    np.testing.assert_array_equal(window.locate(a_grid()), [[40, 30]] * 4)


def test_cord_is_followed_and_slices_without_it_take_it_from_their_neighbours():
    cord = np.zeros((80, 60, 5), np.float32)
    cord[19:22, 9:12, 1] = 1
    cord[29:32, 19:22, 3] = 1
    expected = [[20, 10], [20, 10], [25, 15], [30, 20], [30, 20]]
    grid = a_grid((80, 60, 5))
    np.testing.assert_array_equal(window.locate(grid, cord=window.middles(cord)), expected)
    np.testing.assert_array_equal(
        window.locate(grid, cord=window.middles(cord), centre="image"), [[40, 30]] * 5
    )
    with pytest.raises(InputError, match="cord mask is empty"):
        window.locate(grid, cord=window.middles(np.zeros_like(cord)))


def test_a_place_in_world_space_is_found_on_oblique_slices():
    affine = np.array([[-0.25, 0, 0.6, 8], [0, 0.25, -0.3, -4], [0, 0, 3, 0], [0, 0, 0, 1]], float)
    centres = window.locate(a_grid(affine=affine), centre=(1.0, 2.0))
    for k, (row, column) in enumerate(centres):
        place = affine @ [row, column, k, 1]
        np.testing.assert_allclose(place[:2], [1.0, 2.0], atol=0.13)
    assert len(set(map(tuple, centres))) > 1


def test_a_place_outside_the_scan_is_refused_with_the_scans_extent():
    with pytest.raises(InputError, match="reaches from x = -20 to 0 and from y = 0 to 15 mm"):
        window.locate(a_grid(), centre=(500.0, 0.0))
