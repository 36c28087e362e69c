"""The cord's place, from what the network says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmseg.inference import localisation

MM = 0.25
SIZE = 80  # 20 mm


def butterfly(places, size=SIZE, centre=None, radius_mm=1.6):
    """Soft windows (slices, size, size) with two discs about each place; NaN: nothing there."""
    rows, columns = np.ogrid[:size, :size]
    soft = np.zeros((len(places), size, size), np.float32)
    for k, (row, column) in enumerate(places):
        if np.isnan(row):
            continue
        for side in (-1, 1):
            far = np.hypot(rows - row - side * 1.9 / MM, columns - column) * MM
            soft[k][far < radius_mm] = 0.9
    return soft


def whole(centres):
    return np.full((len(centres), 2), SIZE // 2)


def see(soft, centres, spacing_mm, slice_mm):
    """What is seen in soft windows that were cut at centres."""
    found = [localisation.pick(one, spacing_mm) for one in soft]
    places = np.array([place for place, _ in found]) + centres - soft.shape[1] // 2
    return localisation.see(places, np.array([area for _, area in found]), spacing_mm, slice_mm)


def test_two_halves_are_one_piece():
    place, area = localisation.pick(butterfly([(40, 30)])[0], MM)
    np.testing.assert_allclose(place, (40, 30), atol=0.2)
    assert area == pytest.approx(2 * np.pi * 1.6**2, rel=0.05)


def test_the_larger_of_two_pieces_is_picked_and_silence_is_nothing():
    soft = butterfly([(20, 40)])[0]
    soft[60:63, 40:43] = 1
    np.testing.assert_allclose(localisation.pick(soft, MM)[0], (20, 40), atol=0.2)
    place, area = localisation.pick(np.zeros((SIZE, SIZE)), MM)
    assert np.isnan(place).all()
    assert area == 0


def test_a_slice_that_is_elsewhere_does_not_agree():
    places = [(40, 40), (41, 40), (42, 41), (15, 70), (43, 41), (44, 42)]
    seen = see(butterfly(places), whole(places), MM, 1.0)
    assert seen.agree.tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(seen.path[3], (42.5, 41), atol=1)
    assert seen.plausible


def test_gaps_are_bridged_and_ends_go_straight_on():
    nothing = (np.nan, np.nan)
    places = [nothing, (30, 40), nothing, (36, 40), nothing, nothing]
    seen = see(butterfly(places), whole(places), MM, 2.0)
    np.testing.assert_allclose(seen.path[:, 0], [30, 30, 33, 36, 36, 36], atol=1.0)
    np.testing.assert_allclose(seen.path[:, 1], 40, atol=0.3)


@settings(max_examples=30, deadline=None)
@given(
    slope=st.floats(-0.5, 0.5),
    start=st.floats(-4, 4),
    slice_mm=st.floats(1, 8),
    count=st.integers(2, 12),
)
def test_an_oblique_cord_is_followed(slope, start, slice_mm, count):
    """A straight cord's way is found to a pixel, however the slices are spaced."""
    along = (np.arange(count) - (count - 1) / 2) * slice_mm
    rows = 40 + (start + slope * np.clip(along, -12, 12)) / MM * 0.5
    places = np.column_stack([np.clip(rows, 25, 55), np.full(count, 40.0)])
    seen = see(butterfly(places), whole(places), MM, slice_mm)
    assert seen.agree.all()
    if np.ptp(along) < 24:
        np.testing.assert_allclose(seen.path, places, atol=2)


def test_nothing_seen_is_said():
    seen = see(np.zeros((4, SIZE, SIZE), np.float32), whole(range(4)), MM, 5.0)
    assert seen.path is None
    assert seen.support == 0
    assert not seen.plausible


def test_scattered_specks_are_not_plausible():
    rng = np.random.default_rng(0)
    places = rng.uniform(20, 180, (10, 2))  # a window of 50 mm
    soft = butterfly(places, size=200)
    assert not see(soft, np.full((10, 2), 100), MM, 0.1).plausible


def test_far_gm_is_silenced_and_near_gm_is_not():
    soft = butterfly([(20, 20), (22, 20)]) + butterfly([(60, 60), (60, 60)])
    kept = localisation.keep_near(soft, whole(soft), np.array([[20, 20], [22, 20]]), MM, 8.0)
    np.testing.assert_array_equal(kept, butterfly([(20, 20), (22, 20)]))
    assert soft[:, 55:66, 55:66].any()  # the argument is left alone


# ------------------------------------------------------------------ windows over a whole field


class Field:
    """A network that sees a cord at a place per slice, wherever a window holds the whole of it."""

    def __init__(self, shape, places, *, decoy=None):
        self.shape, self.places, self.decoy = shape, np.asarray(places, float), decoy
        self.segmented = self.looked = 0

    def soft(self, k, centre):
        local = self.places[k] - centre + SIZE // 2
        soft = np.zeros((SIZE, SIZE), np.float32)
        if not np.isnan(local[0]) and (np.abs(local - SIZE / 2) < SIZE / 2 - 16).all():
            soft = butterfly([local])[0]
        if self.decoy is not None and k == self.decoy[0]:
            local = np.array(self.decoy[1]) - centre + SIZE // 2
            if (np.abs(local - SIZE / 2) < SIZE / 2 - 16).all():
                soft = np.maximum(soft, butterfly([local])[0])
        return soft

    def segment(self, centres):
        self.segmented += 1
        soft = np.array([self.soft(k, c) for k, c in enumerate(centres)])
        return soft, see(soft, centres, MM, 5.0)

    def look(self, k, centres):
        self.looked += len(centres)
        return np.array([self.soft(k, c) for c in centres])

    def follow(self):
        return localisation.follow(
            self.shape, self.segment, self.look, size=SIZE, spacing_mm=MM, slice_mm=5.0
        )


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(localisation, "STEP_MM", 8.0)  # the windows here are 20 mm, not 50


def test_where_the_cord_is_expected_it_costs_nothing():
    field = Field((200, 200, 6), [(104, 97)] * 6)
    centres, *_, how = field.follow()
    assert how == "image centre"
    assert (field.segmented, field.looked) == (1, 0)
    assert (centres == 100).all()


@pytest.mark.parametrize("place", [(30, 30), (170, 40), (100, 178), (20, 100)])
def test_a_cord_anywhere_is_found(place):
    field = Field((200, 200, 8), [place] * 8)
    centres, soft, _, how = field.follow()
    assert how == "found by a search"
    assert (np.abs(centres - place) <= 10 / MM).all()
    assert (soft > 0.5).any(axis=(1, 2)).all()


def test_slices_without_cord_take_their_neighbours_place():
    places = [(np.nan, np.nan)] * 3 + [(40, 150)] * 5
    centres, *_, how = Field((200, 200, 8), places).follow()
    assert how == "found by a search"
    assert (np.abs(centres - (40, 150)) <= 10 / MM).all()


def test_what_one_slice_alone_shows_is_no_cord():
    field = Field((200, 200, 9), [(170, 170)] * 9, decoy=(4, (30, 30)))
    centres, *_ = field.follow()
    assert (np.abs(centres - 170) <= 10 / MM).all()


def test_an_empty_field_is_not_found_and_stays_at_the_centre():
    field = Field((200, 200, 5), [(np.nan, np.nan)] * 5)
    centres, soft, _, how = field.follow()
    assert how == "not found"
    assert (centres == 100).all()
    assert not soft.any()
    assert field.looked == 7 * 7  # the field once: it has more windows than twice the slices


def test_what_is_only_in_some_slices_is_looked_for_in_others():
    places = [(30, 170)] * 16 + [(np.nan, np.nan)] * 34
    field = Field((200, 200, 50), places)
    centres, *_, how = field.follow()
    assert how == "found by a search"
    assert (np.abs(centres - (30, 170)) <= 10 / MM).all()
    assert field.looked <= 100 + 2 * 5


def test_a_centre_that_cannot_be_used_is_searched_around():
    field = Field((200, 200, 4), [(30, 30)] * 4)
    segment = field.segment
    nothing = None, localisation.nothing(field.shape[2])
    field.segment = lambda centres: nothing if (centres == 100).all() else segment(centres)
    centres, soft, _, how = field.follow()
    assert how == "found by a search"
    assert soft is not None
    assert (np.abs(centres - 30) <= 10 / MM).all()


def test_a_single_slice_is_enough_where_there_is_but_one():
    centres, *_, how = Field((200, 200, 1), [(40, 160)]).follow()
    assert how == "found by a search"
    assert (np.abs(centres - (40, 160)) <= 10 / MM).all()


def test_a_long_scan_is_seen_in_little_memory():
    import tracemalloc

    places = np.random.default_rng(0).normal(0, 1, (6000, 2)) + 50
    places[100] = 900
    tracemalloc.start()
    agree = localisation._agreeing(places, np.full(6000, 12.0), 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not agree[100]
    assert agree.sum() == 5999
    assert peak < 20e6
