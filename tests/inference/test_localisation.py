"""Localisation of the cord from what the network detects."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmseg.inference import localisation

MM = 0.25
SIZE = 80  # 20 mm


EMPTY = (np.nan, np.nan)


def butterflies(positions, size=SIZE):
    """Return soft windows (slices, size, size) with two discs at each position."""
    rows, columns = np.ogrid[:size, :size]
    soft = np.zeros((len(positions), size, size), np.float32)
    for window, (row, column) in zip(soft, positions, strict=True):
        for side in (-1, 1):  # distances from NaN are NaN, so nothing is drawn
            distance_mm = np.hypot(rows - row - side * 1.9 / MM, columns - column) * MM
            window[distance_mm < 1.6] = 0.9
    return soft


def detect(soft, slice_mm, centres=None):
    """Return the detections in soft windows; they lie on the working grid's corner by default."""
    size = soft.shape[1]
    centres = np.full((len(soft), 2), size // 2) if centres is None else centres
    found = [localisation.largest_component(window, MM) for window in soft]
    positions, areas = (np.array(values) for values in zip(*found, strict=True))
    return localisation.group_detections(positions + centres - size // 2, areas, MM, slice_mm)


def test_two_halves_are_one_component():
    position, area = localisation.largest_component(butterflies([(40, 30)])[0], MM)
    np.testing.assert_allclose(position, (40, 30), atol=0.2)
    assert area == pytest.approx(2 * np.pi * 1.6**2, rel=0.05)


def test_largest_of_two_components_and_of_none():
    soft = butterflies([(20, 40)])[0]
    soft[60:63, 40:43] = 1
    np.testing.assert_allclose(localisation.largest_component(soft, MM)[0], (20, 40), atol=0.2)
    position, area = localisation.largest_component(np.zeros((SIZE, SIZE)), MM)
    assert np.isnan(position).all()
    assert area == 0


def test_a_detection_elsewhere_is_not_consistent():
    positions = [(40, 40), (41, 40), (42, 41), (15, 70), (43, 41), (44, 42)]
    found = detect(butterflies(positions), 1.0)
    assert found.consistent.tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(found.centreline[3], (42.5, 41), atol=1)
    assert found.plausible


def test_gaps_are_bridged_and_the_ends_continue_straight():
    positions = [EMPTY, (30, 40), EMPTY, (36, 40), EMPTY, EMPTY]
    found = detect(butterflies(positions), 2.0)
    np.testing.assert_allclose(found.centreline[:, 0], [30, 30, 33, 36, 36, 36], atol=1.0)
    np.testing.assert_allclose(found.centreline[:, 1], 40, atol=0.3)


@settings(max_examples=30, deadline=None)
@given(
    slope=st.floats(-0.5, 0.5),
    start=st.floats(-4, 4),
    slice_mm=st.floats(1, 8),
    count=st.integers(2, 12),
)
def test_centreline_of_a_straight_oblique_cord(slope, start, slice_mm, count):
    along_mm = (np.arange(count) - (count - 1) / 2) * slice_mm
    rows = 40 + (start + slope * np.clip(along_mm, -12, 12)) / MM * 0.5
    positions = np.column_stack([np.clip(rows, 25, 55), np.full(count, 40.0)])
    found = detect(butterflies(positions), slice_mm)
    assert found.consistent.all()
    if np.ptp(along_mm) < 24:
        np.testing.assert_allclose(found.centreline, positions, atol=2)


def test_nothing_detected():
    found = detect(np.zeros((4, SIZE, SIZE), np.float32), 5.0)
    assert found.centreline is None
    assert found.support == 0
    assert not found.plausible


def test_scattered_detections_are_not_plausible():
    positions = np.random.default_rng(0).uniform(20, 180, (10, 2))  # in windows of 50 mm
    assert not detect(butterflies(positions, size=200), 0.1).plausible


def test_gm_is_kept_everywhere_without_a_centreline_and_at_the_image_centre():
    soft = np.ones((2, 1, 200, 200), np.float32)
    centres = np.full((2, 2), 100)
    none = localisation.no_detections(2)
    made = localisation.Localisation
    assert made(centres, soft, none).keep_near(soft, 0.25) is soft
    areas = np.full(2, 10.0)
    line = localisation.group_detections(centres.astype(float), areas, 0.25, 5.0)
    assert made(centres, soft, line, keep_far=True).keep_near(soft, 0.25) is soft
    kept = made(centres, soft, line).keep_near(soft[1:], 0.25, slice(1, 2))
    assert kept[0, 0, 100, 100] == 1
    assert kept[0, 0, 0, 0] == 0


def test_only_gm_far_from_the_centreline_is_removed():
    near, far = butterflies([(20, 20), (22, 20)]), butterflies([(60, 70), (60, 70)])
    soft = near + far
    centres = np.full((2, 2), SIZE // 2)
    kept = localisation.remove_far(soft[:, None], centres, np.array([[20, 20], [22, 20]]), MM)
    np.testing.assert_array_equal(kept[:, 0], near)
    np.testing.assert_array_equal(soft, near + far)  # the argument is not changed


class SimulatedNetwork:
    """A network that detects a cord wherever a window contains all of it.

    Parameters
    ----------
    shape : tuple of int
        Rows, columns and slices of the working grid.
    positions : list of tuple of float
        Position of the cord in every slice.
    decoy : tuple, optional
        Number of a slice, and a position where it shows GM as well.
    """

    def __init__(self, shape, positions, *, decoy=None):
        self.shape = shape
        self.positions = [[np.array(position, float)] for position in positions]
        if decoy is not None:
            self.positions[decoy[0]].append(np.array(decoy[1], float))
        self.predicted_scans = self.predicted_windows = 0

    def soft(self, k, centre):
        local = [position - centre + SIZE // 2 for position in self.positions[k]]
        inside = [at for at in local if (np.abs(at - SIZE / 2) < SIZE / 2 - 16).all()]
        return butterflies([EMPTY, *inside]).max(axis=0)

    def predict(self, centres):
        self.predicted_scans += 1
        soft = np.array([self.soft(k, centre) for k, centre in enumerate(centres)])
        return soft, detect(soft, 5.0, centres)

    def predict_at(self, k, centres):
        self.predicted_windows += len(centres)
        return np.array([self.soft(k, centre) for centre in centres])

    def localise(self):
        return localisation.localise(
            self.shape, self.predict, self.predict_at, size=SIZE, spacing_mm=MM, slice_mm=5.0
        )


def assert_near(found, position):
    """Check that the windows lie within 10 mm of a position."""
    assert (np.abs(found.centres - position) <= 10 / MM).all()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Search in steps of 8 mm: the windows here have 20 mm."""
    monkeypatch.setattr(localisation, "_CORD_MM", 12.0)


def test_a_cord_at_the_image_centre_needs_one_prediction():
    network = SimulatedNetwork((200, 200, 6), [(104, 97)] * 6)
    found = network.localise()
    assert found.how == "image centre"
    assert (network.predicted_scans, network.predicted_windows) == (1, 0)
    assert (found.centres == 100).all()


def test_windows_are_moved_to_a_cord_off_centre():
    network = SimulatedNetwork((200, 200, 6), [(100, 120 + k) for k in range(6)])
    found = network.localise()
    assert found.how == "moved to the cord"
    np.testing.assert_allclose(found.centres, [(100, 120 + k) for k in range(6)], atol=2)
    assert (network.predicted_scans, network.predicted_windows) == (2, 0)


@pytest.mark.parametrize("position", [(30, 30), (170, 40), (100, 178), (20, 100)])
def test_a_cord_anywhere_is_found(position):
    found = SimulatedNetwork((200, 200, 8), [position] * 8).localise()
    assert found.how == "found by a search"
    assert_near(found, position)
    assert (found.soft_windows > 0.5).any(axis=(1, 2)).all()


def test_slices_without_cord_get_the_position_of_their_neighbours():
    found = SimulatedNetwork((200, 200, 8), [EMPTY] * 3 + [(40, 150)] * 5).localise()
    assert found.how == "found by a search"
    assert_near(found, (40, 150))


def test_a_detection_in_a_single_slice_is_no_cord():
    network = SimulatedNetwork((200, 200, 9), [(170, 170)] * 9, decoy=(4, (30, 30)))
    assert_near(network.localise(), (170, 170))


def test_without_a_cord_the_windows_stay_at_the_image_centre():
    network = SimulatedNetwork((200, 200, 5), [EMPTY] * 5)
    found = network.localise()
    assert found.how == "not found"
    assert (found.centres == 100).all()
    assert not found.soft_windows.any()
    assert network.predicted_windows == 2 * 7 * 7  # the field of view twice


def test_a_slice_without_signal_does_not_end_the_search():
    """The search begins in slice 2 of 4."""
    network = SimulatedNetwork((200, 200, 4), [(30, 170), (30, 170), EMPTY, (30, 170)])
    found = network.localise()
    assert found.how == "found by a search"
    assert_near(found, (30, 170))


def test_a_cord_in_some_slices_is_searched_in_others_too():
    network = SimulatedNetwork((200, 200, 50), [(30, 170)] * 16 + [EMPTY] * 34)
    found = network.localise()
    assert found.how == "found by a search"
    assert_near(found, (30, 170))
    assert network.predicted_windows <= 100 + 2 * 5


def test_an_image_centre_that_cannot_be_used_leads_to_a_search():
    network = SimulatedNetwork((200, 200, 4), [(30, 30)] * 4)
    predict, unusable = network.predict, (np.zeros(0), localisation.no_detections(4))
    network.predict = lambda centres: unusable if (centres == 100).all() else predict(centres)
    found = network.localise()
    assert found.how == "found by a search"
    assert found.soft_windows.size
    assert_near(found, (30, 30))


def test_a_scan_of_one_slice():
    found = SimulatedNetwork((200, 200, 1), [(40, 160)]).localise()
    assert found.how == "found by a search"
    assert_near(found, (40, 160))


def test_detections_of_a_long_scan_take_little_memory():
    positions = np.random.default_rng(0).normal(0, 1, (6000, 2)) + 50
    positions[100] = 900
    tracemalloc.start()
    consistent = localisation._consistent(positions, np.full(6000, 12.0), 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not consistent[100]
    assert consistent.sum() == 5999
    assert peak < 20e6
