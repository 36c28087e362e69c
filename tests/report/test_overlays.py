"""Figures: what is drawn lies where it should and says what is so."""

import subprocess
import sys
from itertools import combinations

import nibabel as nib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle
from nibabel import orientations

from gmseg import InputError
from gmseg.core import geometry
from gmseg.datasets.phantom import make_phantom
from gmseg.models.backend import import_keras
from gmseg.paper.network_diagrams import reach_px
from gmseg.report import overlays

ORIENTATIONS = ["RAS", "LPI", "PIR", "SAL", "IRP"]


@pytest.fixture(scope="module")
def case():
    """A phantom, its GM, and of this GM only what lies in front on the patient's left."""
    phantom = make_phantom(seed=3, shape=(64, 64, 4))
    gm = np.asarray(phantom.mask.dataobj) == 1
    world = nib.affines.apply_affine(phantom.image.affine, np.argwhere(gm))
    where = np.argwhere(gm)[
        (world[:, 0] < np.median(world[:, 0]) - 1) & (world[:, 1] > np.median(world[:, 1]))
    ]
    part = np.zeros_like(gm)
    part[tuple(where.T)] = True
    return phantom.image, like(phantom.image, gm), like(phantom.image, part)


@pytest.fixture(scope="module")
def build():
    import_keras()
    from gmseg.core import network

    return network


def like(scan, mask):
    return nib.Nifti1Image(mask.astype(np.uint8), scan.affine)


def reoriented(image, codes):
    start = orientations.io_orientation(image.affine)
    return image.as_reoriented(orientations.ornt_transform(start, orientations.axcodes2ornt(codes)))


def panels(figure):
    """Return each panel's pixels, (rows, columns, 3) from the top, by its label."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    found = {}
    for ax in figure.axes:
        box = ax.get_window_extent()
        x0, x1, y0, y1 = (round(v) for v in (box.x0, box.x1, box.y0, box.y1))
        found[ax.get_label()] = pixels[len(pixels) - y1 : len(pixels) - y0, x0:x1]
    return found


def coloured(pixels, colour):
    """Return row and column (0 to 1) of the pixels of a colour, those of the labels left out."""
    rows, columns = np.nonzero(np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.15)
    rows, columns = rows / len(pixels), columns / pixels.shape[1]
    return np.stack([rows, columns])[:, rows < 0.85]


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts] + [
        text.get_text() for text in figure.texts
    ]


# ---------------------------------------------------------------------------------- overlay


@pytest.mark.parametrize("codes", ["LAS", *ORIENTATIONS])
def test_the_patients_left_is_on_the_right_and_the_front_at_the_top(case, codes):
    scan, mask, part = (reoriented(image, codes) for image in case)
    shown = panels(overlays.draw_overlay(scan, mask, reference=part))
    for name, pixels in shown.items():
        if "outlined" in name:
            rows, columns = coloured(pixels, overlays.REFERENCE)
            assert len(rows) > 5
            assert columns.min() > 0.5
            assert rows.mean() < 0.5
            assert coloured(pixels, overlays.PREDICTION)[1].min() < 0.5


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_one_scan_in_another_orientation_gives_the_same_picture(case, codes):
    scan, mask, part = case
    expected = overlays.draw_overlay(scan, mask, reference=part)
    scan, mask, part = (reoriented(image, codes) for image in case)
    found = overlays.draw_overlay(scan, mask, reference=part)
    numbers = [int(ax.get_label().split()[1]) for ax in found.axes[::2]]
    assert numbers == ([3, 2, 1, 0] if "I" in codes else [0, 1, 2, 3])
    expected, found = (
        [pixels for name, pixels in panels(figure).items() if "outlined" in name]
        for figure in (expected, found)
    )
    np.testing.assert_array_equal(expected, found)


def test_the_outline_surrounds_what_the_mask_covers():
    scan, mask = (np.zeros((60, 40, 1), np.float32) for _ in range(2))
    scan += np.random.default_rng(0).normal(0, 0.01, scan.shape)
    scan[30:42, 17:23] += 1
    scan[10:14, 30:34] += 1  # bright as well, but no part of the mask
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


def test_every_slice_has_two_panels_and_many_are_thinned_evenly():
    for count, expected in ((3, [0, 1, 2]), (39, [*range(0, 39, 2)])):
        empty = nib.Nifti1Image(np.zeros((20, 20, count), np.float32), np.diag([-1, 1, 2, 1]))
        figure = overlays.draw_overlay(empty, empty, columns=4)
        labels = [f"slice {k}{what}" for k in expected for what in ("", " outlined")]
        assert [ax.get_label() for ax in figure.axes] == labels
        assert texts(figure).count("0.0 mm²") == len(expected)
    assert not coloured(panels(figure)["slice 38 outlined"], overlays.PREDICTION).size


def test_areas_are_written_for_prediction_and_reference(case):
    scan, mask, part = case
    figure = overlays.draw_overlay(scan, mask, reference=part, slices=[2])
    for image in (mask, part):
        area = geometry.slice_areas_mm2(image.get_fdata(), image.affine)[2]
        assert f"{area:.1f} mm²" in texts(figure)
    assert {"A", "P", "R", "L", "5 mm", "slice 2"} <= set(texts(figure))


def test_images_of_another_grid_and_missing_slices_are_refused(case):
    scan, mask, _ = case
    with pytest.raises(InputError, match="shape"):
        overlays.draw_overlay(scan, mask.slicer[:, :, :2])
    moved = nib.Nifti1Image(
        mask.get_fdata(), mask.affine + np.eye(4)[[3, 3, 3, 3]].T * [0, 0, 0, 1]
    )
    with pytest.raises(InputError, match="reference's affine"):
        overlays.draw_overlay(scan, mask, reference=moved)
    with pytest.raises(InputError, match="slices 0 to 3"):
        overlays.draw_overlay(scan, mask, slices=[4])
    with pytest.raises(InputError, match="slice -1"):
        overlays.draw_slice_with_side_view(scan, mask, -1)


# ----------------------------------------------------------------------- run, areas, imports


def test_a_run_marks_the_slice_in_all_three_panels(case):
    scan, mask, _ = case
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


def test_the_side_view_has_the_front_on_the_left():
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


def test_areas_are_drawn_at_their_places():
    figure = overlays.draw_areas([10, 12, 11], reference=[9, 12, 12], spacing_mm=5)
    truth, prediction = figure.axes[0].get_lines()
    np.testing.assert_array_equal(prediction.get_xydata(), [[0, 10], [5, 12], [10, 11]])
    np.testing.assert_array_equal(truth.get_ydata(), [9, 12, 12])
    assert overlays.draw_areas([1, 2]).axes[0].get_xlabel() == "slice"


def test_nothing_but_the_figures_is_imported():
    code = "import sys, gmseg.report.overlays; print({'keras', 'matplotlib.pyplot'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# ------------------------------------------------------------------------------ the network


def test_the_architecture_says_what_the_papers_network_is(build):
    words = " ".join(texts(overlays.draw_architecture(build.build_network())))
    for rate in (2, 6, 12, 18, 24):
        assert words.count(f"3x3, rate {rate}\n32 filters") == 2
    assert words.count("1x1\n") == 3
    for fact in ("124,769", "126,177", "127,585", "192\nchannels", "momentum 0.1", "(0.4)", "±54"):
        assert fact in words


def test_the_architecture_changes_with_the_network(build):
    sizes = build.NetworkSizes(64, (4, 8), dropout=0.25, batchnorm_momentum=0.9)
    network = build.build_network(sizes)
    words = " ".join(texts(overlays.draw_architecture(network)))
    for fact in ("rate 4\n64 filters", "rate 8\n64 filters", "256\nchannels", "±22", "0.9", "0.25"):
        assert fact in words
    assert f"{network.count_params():,} stored" in words
    assert "rate 24" not in words
    assert "32 filters" not in words


@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (4, 8)])
def test_boxes_hold_their_words_and_lines_join_the_right_ones(build, rates):
    network = build.build_network(build.NetworkSizes(dilation_rates=rates))
    figure = overlays.draw_architecture(network)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (ax,) = figure.axes
    boxes = [p.get_window_extent(renderer) for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    *labels, summary = ax.texts
    names, words = labels[::2], labels[1::2]
    box_of = {}
    for name, word, box in zip(names, words, boxes, strict=True):
        extents = [text.get_window_extent(renderer) for text in (name, word)]
        assert not extents[0].overlaps(extents[1])
        for extent in extents:
            assert box.x0 < extent.x0 < extent.x1 < box.x1
            assert box.y0 < extent.y0 < extent.y1 < box.y1
        box_of[name.get_text()] = box
    assert summary.get_window_extent(renderer).x1 < figure.bbox.x1
    ends = set()
    for line in ax.get_lines():
        if len(line.get_xdata()) > 1:
            path = line.get_transform().transform(line.get_xydata())
            at = [
                next(n for n, b in box_of.items() if b.padded(1).contains(*path[end]))
                for end in (0, -1)
            ]
            ends.add(tuple(at))
    assert ("stem_2", "global_mean") in ends
    assert ("global_mean", "global_branch") in ends
    for rate in rates:
        assert ("rate2_2", f"rate{rate}_1") in ends
        assert (f"rate{rate}_2", "branches") in ends
    assert len(ends) == 10 + 3 * (len(rates) + 1)


def test_reach_is_how_far_a_pixel_is_felt(build):
    network = build.build_network(build.NetworkSizes(filters=8, dilation_rates=(3, 5)))
    reach = reach_px(network)
    assert reach["global_branch"] is None
    assert reach["logits"] == reach["rate5_2"] == 16
    keras = import_keras()
    for name in ("stem_2", "branch1x1_2", "rate3_2", "rate5_2"):
        part = keras.Model(network.input, network.get_layer(name).output)
        windows = np.random.default_rng(0).normal(0, 1, (1, 41, 41, 1)).astype(np.float32)
        touched = windows.copy()
        touched[0, 20, 20] += 30
        change = np.asarray(part(touched)) - np.asarray(part(windows))
        felt = np.abs(np.argwhere(np.abs(change).max(axis=(0, 3)) > 1e-7) - 20)
        assert felt.max() == reach[name], name


def test_the_receptive_field_is_drawn_to_scale(build):
    figure = overlays.draw_receptive_field((1, 3), network=build.build_network())
    shown = next(ax for ax in figure.axes if ax.get_label() == "window")
    sides = [p.get_width() for p in shown.patches if isinstance(p, Rectangle)]
    assert sides == [15, 37, 61, 85, 109]
    assert {"±54 pixels", "the whole window", "rate 3: 7 x 7 pixels"} <= set(texts(figure))
