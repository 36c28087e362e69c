"""Masks are drawn on their own gray matter, and nothing is mirrored."""

import nibabel as nib
import numpy as np
import pytest
from drawings import coloured, panels, reoriented, texts
from matplotlib.colors import to_rgb

from gmseg import InputError
from gmseg.datasets.phantom import make_phantom
from gmseg.paper import sample_figures


@pytest.fixture(scope="module")
def scan():
    return make_phantom(seed=3, shape=(64, 64, 3)).image


def anterior_left(scan, grow=0):
    """Return a mask in front of the middle on the patient's left, on the second slice."""
    rows, columns, _ = scan.shape
    mask = np.zeros(scan.shape, bool)
    mask[rows // 2 + 3 : rows // 2 + 9 + grow, columns // 2 + 3 : columns // 2 + 9, 1] = True
    return mask  # the phantom is LAS: rows run to the left, columns to anterior


@pytest.mark.parametrize("codes", ["LAS", "RAS", "PIR"])
def test_masks_of_raters_are_drawn_in_place(scan, codes):
    first, second = anterior_left(scan), anterior_left(scan, grow=6)  # farther to the left
    for mask in (first, second):
        mask[29:35, 29:35, 1] = True  # on the other side, so that both are visible
    images = [nib.Nifti1Image(mask.astype(np.uint8), scan.affine) for mask in (first, second)]
    masks = [np.asarray(reoriented(image, codes).dataobj) > 0 for image in images]
    figure = sample_figures.draw_raters(reoriented(scan, codes), masks)
    shown = panels(figure)
    assert list(shown) == ["plain", "outlined", "agreement"]
    for colour in sample_figures.RATERS[:2]:
        assert not coloured(shown["plain"], colour).size
        assert coloured(shown["outlined"], colour).shape[1] > 20
    assert f"raters, {72 / 108:.0%} by all" in texts(figure)
    [by_one] = [text.get_color() for text in figure.texts if text.get_text() == "1"]
    rows, columns = coloured(shown["agreement"], to_rgb(by_one))
    assert rows.max() < 0.5 < columns.min()


def test_masks_of_another_grid_or_without_gm_are_refused(scan):
    with pytest.raises(InputError, match=r"a mask has shape \(2, 2, 2\)"):
        sample_figures.draw_raters(scan, [np.ones((2, 2, 2), bool)])
    with pytest.raises(InputError, match="no rater drew any GM"):
        sample_figures.draw_raters(scan, [np.zeros(scan.shape, bool)])


@pytest.fixture(scope="module")
def pairs():
    windows = np.random.default_rng(0).normal(0, 1, (3, 80, 80, 1)).astype(np.float32)
    masks = np.zeros_like(windows)
    masks[:, 50:60, 50:70] = 1  # on the patient's left, in front
    masks[2] = 0
    return windows, masks


def test_windows_have_their_own_masks(pairs):
    windows, masks = pairs
    rows = {"before": pairs, "after": (windows[:, ::-1], masks[:, ::-1])}
    figure = sample_figures.draw_pairs(rows, columns=3)
    assert texts(figure) == ["before", "after"]
    shown = panels(figure)
    assert list(shown) == [f"{name} {i}" for name in rows for i in range(3)]
    for i in (0, 1):
        up, right = coloured(shown[f"before {i}"], sample_figures.REFERENCE)
        assert len(up) > 20
        assert up.max() < 0.5 < right.min()
        up, right = coloured(shown[f"after {i}"], sample_figures.REFERENCE)
        assert up.max() < 0.5
        assert right.max() < 0.5
    assert not coloured(shown["before 2"], sample_figures.REFERENCE).size  # an empty mask
    assert len(sample_figures.draw_pairs(rows, columns=2).axes) == 4


def test_windows_of_a_column_share_black_and_white_and_show_the_gm(pairs):
    windows, masks = pairs
    rows = {"before": pairs, "brighter": (windows + 0.5, masks)}
    figure = sample_figures.draw_pairs(rows, size=40)
    limits = [ax.images[0].get_clim() for ax in figure.axes]
    assert limits[:3] == limits[3:]
    for place, ax in enumerate(figure.axes):
        # around rows 50 to 59 and columns 50 to 69, but within the window; its middle without GM
        shown = ((19.5, 59.5), (19.5, 59.5)) if place % 3 == 2 else ((34.5, 74.5), (39.5, 79.5))
        assert (ax.get_xlim(), ax.get_ylim()) == shown
