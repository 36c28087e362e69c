"""The network is asked where the cord is, and the answer is that of the whole windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmseg.inference import focus, localisation
from gmseg.inference.engines import Predictor

MM, SIZE, SIDE = 0.25, 200, 96


class Scene:
    """What a network would say of slices, and how often it was asked for whole windows."""

    def __init__(self, places, decoys=()):
        rows, columns = np.ogrid[:SIZE, :SIZE]
        self.soft = np.zeros((len(places), SIZE, SIZE), np.float32)
        for k, place in enumerate(places):
            for row, column in filter(None, [place, *(at for j, at in decoys if j == k)]):
                for side in (-8, 8):  # a haze of 1e-3 around two halves
                    far = np.hypot(rows - row - side, columns - column)
                    soft = np.where(far < 6.5, 0.9, 1e-3 * np.exp(-far / 20))
                    self.soft[k] = np.maximum(self.soft[k], soft)
        self.whole, self.regions = [], []

    def windows(self):
        """Windows whose first pixel says which slice they are."""
        windows = np.zeros((len(self.soft), SIZE, SIZE), np.float32)
        windows[:, 0, 0] = np.arange(len(self.soft))
        return windows

    def predictor(self):
        def whole(windows):
            slices = [int(one[0, 0]) for one in windows]
            self.whole += slices
            return self.soft[slices]

        def region(window, corner):
            assert all(0 <= start <= SIZE - SIDE for start in corner)
            self.regions.append(int(window[0, 0]))
            row, column = corner
            return self.soft[int(window[0, 0]), row : row + SIDE, column : column + SIDE]

        return Predictor(whole, region, SIDE)


def focused(scene, slice_mm=5.0):
    """Do as a run does; return the soft windows, and what they show by their whole windows."""
    windows = scene.windows()
    kept = focus.Focus(scene.predictor(), SIZE, focused=True, spacing_mm=MM, slice_mm=slice_mm)
    soft = kept.add(windows)
    while True:
        seen = localisation.see(np.array(kept.places), np.array(kept.areas_mm2), MM, slice_mm)
        short = kept.short(seen.path)
        if not short:
            break
        for k in short:
            soft[k] = kept.again(k, windows[k])
    found = [localisation.pick(one, MM) for one in scene.soft]
    truth = localisation.see(*(np.array(part) for part in zip(*found, strict=True)), MM, slice_mm)
    return soft, seen, truth


def near(soft, seen):
    centres = np.full((len(soft), 2), SIZE // 2)
    if seen.path is None:
        return soft
    return localisation.keep_near(soft, centres, seen.path, MM, focus.REACH_MM)


def assert_as_whole(scene, slice_mm=5.0):
    soft, seen, truth = focused(scene, slice_mm)
    np.testing.assert_array_equal(seen.places, truth.places)
    np.testing.assert_array_equal(seen.agree, truth.agree)
    np.testing.assert_array_equal(near(soft, seen), near(scene.soft, truth))


def test_a_calm_cord_costs_one_whole_window_in_eight():
    scene = Scene([(100 + k, 90) for k in range(20)])
    assert_as_whole(scene)
    assert scene.whole == [0, 8, 16]
    assert len(scene.regions) == 17


def test_a_cord_off_the_windows_centre_is_followed_too():
    scene = Scene([(60 + k, 150 - k) for k in range(8)])
    assert_as_whole(scene)
    assert scene.whole == [0]


def test_at_the_windows_border_there_is_nothing_beyond():
    scene = Scene([(2, 197)] * 6)
    assert_as_whole(scene)
    assert scene.whole == [0]


def test_where_it_leaps_the_whole_window_is_looked_at():
    scene = Scene([(60, 60)] * 3 + [(140, 130)] * 3)
    assert_as_whole(scene)
    assert {3, 4} <= set(scene.whole)


def test_silent_slices_are_looked_at_whole():
    scene = Scene([(100, 100), None, None, (100, 100)])
    assert_as_whole(scene)
    assert scene.whole == [0, 1, 2, 3]


def test_where_the_cord_ends_what_was_followed_stands():
    scene = Scene([(100, 100)] * 6 + [None] * 2)
    assert_as_whole(scene)
    assert scene.whole == [0, 6, 7]


def test_what_was_followed_wrongly_is_looked_at_again():
    """Something larger than the cord beside it, in the first slice alone."""
    places = [(150, 60)] * 16
    scene = Scene(places, decoys=[(0, (50, 150))])
    scene.soft[0, 40:60, 140:160] = 0.9
    assert_as_whole(scene)
    # a lesser cord beside it is followed from the first slice on, until slice 8 shows another
    scene = Scene([(60, 60)] * 9)
    for k in range(1, 9):
        scene.soft[k, 130:160, 130:160] = 0.9
    assert_as_whole(scene)


def test_an_outlier_that_the_way_passes_by_is_looked_at_around_the_way():
    """A haze near the cord's way counts, though the slice's own GM lies elsewhere."""
    places = [(100, 100 + (7 if k == 4 else 0)) for k in range(8)]
    scene = Scene(places)
    soft, seen, _ = focused(scene, slice_mm=2.0)
    assert_as_whole(Scene(places), slice_mm=2.0)
    reached = near(np.ones_like(soft), seen) > 0
    np.testing.assert_array_equal(soft[reached], scene.soft[reached])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 199), st.integers(0, 199)) | st.none(), min_size=1, max_size=12
    )
)
def test_wherever_cords_are_it_is_as_with_whole_windows(places):
    assert_as_whole(Scene(places))


@pytest.mark.parametrize("focused", [False, True])
def test_without_regions_all_is_looked_at_in_batches(focused):
    asked = []

    def predict(windows):
        asked.append(len(windows))
        return np.zeros_like(windows)

    told = []
    kept = focus.Focus(predict, SIZE, focused=focused, spacing_mm=MM, slice_mm=5.0)
    kept.add(np.zeros((6, SIZE, SIZE), np.float32), progress=lambda *done: told.append(done))
    assert (asked, told) == ([4, 2], [(4, 6), (6, 6)])
    assert kept.areas_mm2 == [0] * 6
    assert kept.short(None) == []


def test_a_region_holds_all_gm_of_a_slice():
    assert focus.region_side(0.25) == SIDE
    assert focus.region_side(0.25) * 0.25 >= 2 * (focus.REACH_MM + focus.SLACK_MM)
