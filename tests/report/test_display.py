"""Orientation of a slice on the screen, order of reading, and centre of the field."""

import nibabel as nib
import numpy as np
import pytest

from gmseg.io import scan_reader
from gmseg.report import display


def test_front_is_up_and_the_patients_left_is_right():
    plane = np.zeros((5, 7))  # rows from right to left, columns from posterior to anterior
    plane[4, 6] = 1  # left, in front
    shown = display.upright(plane)
    assert shown.shape == (7, 5)
    assert np.argwhere(shown).tolist() == [[0, 4]]


def test_centreline_is_smooth_and_fills_gaps():
    centres = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1)
    centres[[4, 5, 19]] = np.nan
    line = display.smooth_centreline(centres, 2.0, (0, 0))
    np.testing.assert_allclose(line[:, 1], 3)
    np.testing.assert_allclose(line[8:12, 0], np.arange(8, 12), atol=0.05)
    assert np.all(np.diff(line[:, 0]) > 0)


def test_centreline_of_an_empty_mask_is_the_default():
    line = display.smooth_centreline(np.full((3, 2), np.nan), 2.0, (7, 9))
    np.testing.assert_array_equal(line, [[7, 9]] * 3)


@pytest.mark.parametrize("direction", [1, -1])
def test_slices_are_read_in_the_order_of_the_file(monkeypatch, direction):
    monkeypatch.setattr(scan_reader, "_SLAB_BYTES", 0)
    data = 0.5 + np.arange(6.0) * np.ones((4, 4, 1))
    image = nib.Nifti1Image(data, np.diag([-1, 1, 5 * direction, 1]))
    reader, steps = scan_reader.open_scan(image), []
    slices = list(display.las_slices(reader, reader, step=lambda: steps.append(1)))
    assert [plane.max() - 0.5 for _, plane, _ in slices] == [*range(6)]
    assert [k for k, *_ in slices] == [*range(6)][::direction]
    assert len(steps) == 6
    upwards = display.las_slices(reader, step=lambda: None, upwards=True)
    assert [plane.max() - 0.5 for _, plane in upwards] == [*range(6)][::direction]
