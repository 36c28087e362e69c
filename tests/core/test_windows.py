"""Where the window lies; cutting and pasting."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import ALL_48, reoriented

from gmseg import InputError
from gmseg.core import windows
from gmseg.core.resampling import WorkingGrid, grid_geometry, to_native_grid, to_working_grid


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
    cut = windows.cut(volume, centres, size)
    assert cut.shape == (shape[2], size, size)
    pasted = windows.paste(cut, centres, shape)
    covered = pasted > 0
    np.testing.assert_array_equal(pasted[covered], volume[covered])
    assert np.count_nonzero(cut) == np.count_nonzero(covered)
    starts = [c - size // 2 for c in centre]
    inside = [
        (np.arange(length) >= start) & (np.arange(length) < start + size)
        for length, start in zip(shape[:2], starts, strict=True)
    ]
    np.testing.assert_array_equal(covered, np.broadcast_to(np.outer(*inside)[..., None], shape))


def test_window_is_cut_around_its_centre():
    volume = np.zeros((50, 50, 1), np.float32)
    volume[20, 31, 0] = 1
    assert windows.cut(volume, np.array([[20, 31]]), 10)[0, 5, 5] == 1


def test_window_is_filled_beyond_the_scan():
    cut = windows.cut(np.ones((10, 12, 1), np.float32), np.array([[5, 6]]), 20)
    assert cut.sum() == 120
    assert cut[0, 5:15, 4:16].all()
    scan = np.array([[[5.0, np.nan], [7.0, 3.0]]])
    cut = windows.cut(scan, np.array([[0, 0], [0, 0]]), 4, windows.darkest(scan))
    np.testing.assert_array_equal(cut[:, 0, 0], [5, 3])


@settings(max_examples=40, deadline=None)
@given(
    code=st.sampled_from(ALL_48),
    spacings=st.tuples(st.floats(0.15, 1.3), st.floats(0.15, 1.3)),
    size=st.integers(2, 60),
    centre=st.tuples(st.integers(-40, 90), st.integers(-40, 90)),
)
def test_windows_of_a_scan_are_those_of_its_working_grid(code, spacings, size, centre):
    rng = np.random.default_rng(0)
    scan = nib.Nifti1Image(
        rng.uniform(50, 90, (24, 18, 3)).astype(np.float32),
        np.diag([-spacings[0], spacings[1], 4, 1]),
    )
    turned = reoriented(scan, code)
    data, grid = np.asarray(turned.dataobj), to_working_grid(np.asarray(scan.dataobj), scan.affine)
    centres = centre + rng.integers(-3, 4, (3, 2))
    expected = windows.cut(grid.data, centres, size, windows.darkest(grid.data))
    found = windows.cut_from_scan(data, turned.affine, centres, size, 0.25)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # of values up to 90
    # and back
    back = grid_geometry(data.shape, turned.affine)
    pasted = windows.paste(found, centres, back.shape)
    np.testing.assert_allclose(
        windows.paste_to_scan(found, centres, back), to_native_grid(pasted, back), atol=1e-4
    )


def test_image_centre():
    np.testing.assert_array_equal(windows.window_centres(a_grid(), centre="image"), [[40, 30]] * 4)
    np.testing.assert_array_equal(windows.window_centres(a_grid()), [[40, 30]] * 4)


def test_windows_lie_on_the_cord_and_empty_slices_are_interpolated():
    cord = np.zeros((80, 60, 5), np.float32)
    cord[19:22, 9:12, 1] = 1
    cord[29:32, 19:22, 3] = 1
    expected = [[20, 10], [20, 10], [25, 15], [30, 20], [30, 20]]
    grid = a_grid((80, 60, 5))
    np.testing.assert_array_equal(
        windows.window_centres(grid, cord=windows.centres_of_mass(cord)), expected
    )
    np.testing.assert_array_equal(
        windows.window_centres(grid, cord=windows.centres_of_mass(cord), centre="image"),
        [[40, 30]] * 5,
    )
    with pytest.raises(InputError, match="cord mask is empty"):
        windows.window_centres(grid, cord=windows.centres_of_mass(np.zeros_like(cord)))


def test_a_position_in_world_space_on_oblique_slices():
    affine = np.array([[-0.25, 0, 0.6, 8], [0, 0.25, -0.3, -4], [0, 0, 3, 0], [0, 0, 0, 1]], float)
    centres = windows.window_centres(a_grid(affine=affine), centre=(1.0, 2.0))
    for k, (row, column) in enumerate(centres):
        position = affine @ [row, column, k, 1]
        np.testing.assert_allclose(position[:2], [1.0, 2.0], atol=0.13)
    assert len(set(map(tuple, centres))) > 1


def test_a_position_outside_the_scan_is_refused_with_its_extent():
    with pytest.raises(InputError, match="reaches from x = -20 to 0 and from y = 0 to 15 mm"):
        windows.window_centres(a_grid(), centre=(500.0, 0.0))


def test_a_position_in_upright_slices_is_refused():
    affine = np.array([[0, 0, 3, 0], [0, 0.25, 0, 0], [0.25, 0, 0, 0], [0, 0, 0, 1]], float)
    with pytest.raises(InputError, match="leave out `centre`"):
        windows.window_centres(a_grid(affine=affine), centre=(1.0, 2.0))
