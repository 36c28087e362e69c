"""Figures: positions, orientation and texts."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from drawings import coloured, panels, reoriented, texts

from gmseg import InputError
from gmseg.core import geometry
from gmseg.datasets.phantom import make_phantom
from gmseg.report import overlays

ORIENTATIONS = ["RAS", "LPI", "PIR", "SAL", "IRP"]


@pytest.fixture(scope="module")
def images():
    """A phantom, its GM, and the part of the GM in front on the patient's left."""
    phantom = make_phantom(seed=3, shape=(64, 64, 4))
    gm = np.asarray(phantom.mask.dataobj) == 1
    world = nib.affines.apply_affine(phantom.image.affine, np.argwhere(gm))
    where = np.argwhere(gm)[
        (world[:, 0] < np.median(world[:, 0]) - 1) & (world[:, 1] > np.median(world[:, 1]))
    ]
    part = np.zeros_like(gm)
    part[tuple(where.T)] = True
    return phantom.image, like(phantom.image, gm), like(phantom.image, part)


def like(scan, mask):
    return nib.Nifti1Image(mask.astype(np.uint8), scan.affine)


# ---------------------------------------------------------------------------------- overlay


@pytest.mark.parametrize("codes", ["LAS", *ORIENTATIONS])
def test_left_is_on_the_right_and_front_at_the_top(images, codes):
    scan, mask, part = (reoriented(image, codes) for image in images)
    shown = panels(overlays.draw_overlay(scan, mask, reference=part))
    for name, pixels in shown.items():
        if "outlined" in name:
            rows, columns = coloured(pixels, overlays.REFERENCE)
            assert len(rows) > 5
            assert columns.min() > 0.5
            assert rows.mean() < 0.5
            assert coloured(pixels, overlays.PREDICTION)[1].min() < 0.5


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_gives_the_same_panels(images, codes):
    scan, mask, part = images
    expected = overlays.draw_overlay(scan, mask, reference=part)
    scan, mask, part = (reoriented(image, codes) for image in images)
    found = overlays.draw_overlay(scan, mask, reference=part)
    numbers = [int(ax.get_label().split()[1]) for ax in found.axes[::2]]
    assert numbers == ([3, 2, 1, 0] if "I" in codes else [0, 1, 2, 3])
    expected, found = (
        [pixels for name, pixels in panels(figure).items() if "outlined" in name]
        for figure in (expected, found)
    )
    np.testing.assert_array_equal(expected, found)


def test_outline_surrounds_the_mask():
    scan, mask = (np.zeros((60, 40, 1), np.float32) for _ in range(2))
    scan += np.random.default_rng(0).normal(0, 0.01, scan.shape)
    scan[30:42, 17:23] += 1
    scan[10:14, 30:34] += 1  # bright, but not in the mask
    mask[30:42, 17:23] = 1
    affine = np.diag([-0.5, 1.0, 4, 1])  # 6 x 6 mm
    shown = panels(
        overlays.draw_overlay(nib.Nifti1Image(scan, affine), nib.Nifti1Image(mask, affine))
    )
    rows, columns = coloured(shown["slice 0 outlined"], overlays.PREDICTION)
    assert np.ptp(rows) == pytest.approx(6 / 26, abs=0.03)
    assert np.ptp(columns) == pytest.approx(6 / 26, abs=0.03)
    plain = shown["slice 0"].mean(axis=-1)
    n = len(plain)
    low, high = (np.array([rows.min(), rows.max()]) * n).astype(int)
    left, right = (np.array([columns.min(), columns.max()]) * n).astype(int)
    assert plain[low + 4 : high - 4, left + 4 : right - 4].min() > 0.6
    around = plain[low - 15 : high + 15, left - 15 : right + 15].copy()
    around[10:-10, 10:-10] = 0
    assert around.max() < 0.4


def test_every_slice_has_two_panels_and_long_scans_are_thinned():
    for count, expected in ((3, [0, 1, 2]), (39, [*range(0, 39, 2)])):
        empty = nib.Nifti1Image(np.zeros((20, 20, count), np.float32), np.diag([-1, 1, 2, 1]))
        figure = overlays.draw_overlay(empty, empty, columns=4)
        labels = [f"slice {k}{what}" for k in expected for what in ("", " outlined")]
        assert [ax.get_label() for ax in figure.axes] == labels
        assert texts(figure).count("0.0 mm²") == len(expected)
    assert not coloured(panels(figure)["slice 38 outlined"], overlays.PREDICTION).size


def test_areas_are_written_for_prediction_and_reference(images):
    scan, mask, part = images
    figure = overlays.draw_overlay(scan, mask, reference=part, slices=[2])
    for image in (mask, part):
        area = geometry.slice_areas_mm2(image.get_fdata(), image.affine)[2]
        assert f"{area:.1f} mm²" in texts(figure)
    assert {"A", "P", "R", "L", "5 mm", "slice 2"} <= set(texts(figure))


def test_cord_is_outlined_in_its_own_colour(images):
    scan, _, part = images
    cord = like(scan, np.asarray(make_phantom(seed=3, shape=(64, 64, 4)).mask.dataobj) > 0)
    figure = overlays.draw_overlay(scan, part, cord=cord, slices=[1])
    assert "··· cord" in texts(figure)
    assert "··· cord" not in texts(overlays.draw_overlay(scan, part, slices=[1]))
    outlined = panels(figure)["slice 1 outlined"]
    assert coloured(outlined, "#40e0ff").shape[1] > 20
    assert not coloured(panels(figure)["slice 1"], "#40e0ff").size


def test_other_grids_and_missing_slices_are_refused(images):
    scan, mask, _ = images
    with pytest.raises(InputError, match="shape"):
        overlays.draw_overlay(scan, mask.slicer[:, :, :2])
    affine = mask.affine.copy()
    affine[:3, 3] += 1
    moved = nib.Nifti1Image(mask.get_fdata(), affine)
    with pytest.raises(InputError, match="reference's affine"):
        overlays.draw_overlay(scan, mask, reference=moved)
    with pytest.raises(InputError, match="slices 0 to 3"):
        overlays.draw_overlay(scan, mask, slices=[4])
    with pytest.raises(InputError, match="slice -1"):
        overlays.draw_slice_with_side_view(scan, mask, -1)


# ---------------------------------------------------------------- side view, areas, imports


def test_slice_is_marked_in_all_three_panels(images):
    scan, mask, _ = images
    areas = geometry.slice_areas_mm2(mask.get_fdata(), mask.affine)
    upright = overlays.draw_slice_with_side_view(scan, mask, 1)
    flipped = overlays.draw_slice_with_side_view(
        reoriented(scan, "LAI"), reoriented(mask, "LAI"), 2
    )
    for figure in (upright, flipped):
        slice_, side, curve = figure.axes
        assert f"{areas[1]:.1f} mm²" in [text.get_text() for text in slice_.texts]
        for ax in (side, curve):
            assert ax.get_lines()[-1].get_ydata()[0] == pytest.approx(1.5 * 5)
        np.testing.assert_allclose(curve.get_lines()[0].get_xdata(), areas)
    shown = [panels(figure) for figure in (upright, flipped)]
    np.testing.assert_array_equal(shown[0]["side view"], shown[1]["side view"])


def test_side_view_has_the_front_on_the_left():
    scan, mask = (np.zeros((40, 40, 6), np.float32) for _ in range(2))
    scan[:, 25:30] = 1  # in front of the mask
    mask[18:22, 18:22] = 1
    affine = np.diag([-0.5, 0.5, 3, 1])
    figure = overlays.draw_slice_with_side_view(
        nib.Nifti1Image(scan, affine), nib.Nifti1Image(mask, affine), 3
    )
    bright = np.median(panels(figure)["side view"].min(axis=-1), axis=0)
    assert bright.max() > 0.7
    assert np.flatnonzero(bright > 0.7).max() < len(bright) / 2


def test_areas_are_drawn_at_their_positions():
    figure = overlays.draw_areas([10, 12, 11], reference=[9, 12, 12], spacing_mm=5)
    reference, prediction = figure.axes[0].get_lines()
    np.testing.assert_array_equal(prediction.get_xydata(), [[0, 10], [5, 12], [10, 11]])
    np.testing.assert_array_equal(reference.get_ydata(), [9, 12, 12])
    assert overlays.draw_areas([1, 2]).axes[0].get_xlabel() == "slice"


def test_overlays_import_neither_keras_nor_pyplot():
    code = "import sys, gmseg.report.overlays; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "matplotlib.pyplot"} & set(done.stdout.split())
