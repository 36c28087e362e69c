"""Figures of results show the numbers where they belong."""

import nibabel as nib
import numpy as np
import pytest
from matplotlib.text import Text

from gmseg.evaluation.metrics import METRICS
from gmseg.paper.result_figures import draw_boxes, draw_comparison, draw_extremes, draw_results
from gmseg.paper.results import Method, Results

COSTS = {"parameters": 776_321, "multiply_adds": 3.1e9, "slice_s": 0.25, "training_s": 90}


def make_results(scans_per_site=2):
    methods = []
    for name, base in (("ours", 0.8), ("theirs", 0.6)):
        scans = [
            {"name": f"{site}-{n}", "group": site, "scores": dict.fromkeys(METRICS, base + n * 0.1)}
            for site in ("site1", "site2")
            for n in range(scans_per_site)
        ]
        methods.append(Method(name, scans, COSTS))
    return Results("title", "how", "command", methods)


def panels(figure):
    return {ax.get_title().split(" ")[0]: ax for ax in figure.axes}


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_means_are_drawn_at_their_values():
    ax = panels(draw_results(make_results()))["DSC"]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[:3] == ["ours", "theirs", "Perone 2018"]
    points = {
        label: next(line for line in ax.get_lines() if line.get_marker() == marker)
        for label, marker in (("ours", "o"), ("theirs", "s"))
    }
    paper = [line for line in ax.get_lines() if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in paper] == [0.85]
    assert points["theirs"].get_xdata()[0] == pytest.approx(0.65)
    ours = [
        line for line in ax.get_lines() if line.get_marker() == "o" and line.get_ydata()[0] == 0
    ]
    assert ours[0].get_xdata()[0] == pytest.approx(0.85)


def test_undefined_metric_is_not_drawn():
    result = make_results()
    for method in result.methods:
        for scan in method.scans:
            scan["scores"]["CC"] = float("nan")
    figure = draw_results(result)
    figure.canvas.draw()
    assert [line for line in panels(figure)["CC"].get_lines() if line.get_marker() == "s"] == []


def test_few_scans_are_points_without_a_box():
    ax = panels(draw_boxes(make_results(scans_per_site=4)))["DSC"]
    assert not ax.patches
    points = [line for line in ax.get_lines() if line.get_marker() in {"o", "s"}]
    assert len(points) == 2 * 2 * 4
    medians = {
        round(line.get_ydata()[0], 3) for line in ax.get_lines() if line.get_linewidth() == 1.6
    }
    assert medians == {0.95, 0.75}


def test_a_stray_voxel_does_not_swamp_the_other_scans():
    result = make_results(scans_per_site=4)
    result.methods[0].scans[0]["scores"]["HSD"] = 28.0
    shown = panels(draw_boxes(result))
    assert shown["HSD"].get_ylim()[1] < 2
    assert [text.get_text() for text in shown["HSD"].texts] == ["28"]
    assert [line.get_marker() for line in shown["HSD"].get_lines()].count("^") == 1
    assert not shown["HSD95"].texts
    lines = panels(draw_results(result))["HSD"].get_lines()
    medians = [line.get_xdata()[0] for line in lines if line.get_markersize() == 8]
    assert medians == pytest.approx([1.0, 0.75])


def test_there_is_a_box_per_site_and_method():
    figure = draw_boxes(make_results(scans_per_site=5))
    figure.canvas.draw()
    ax = panels(figure)["DSC"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["site1", "site2"]
    assert len(ax.patches) == 4
    medians = {
        round(line.get_ydata()[0], 3) for line in ax.get_lines() if line.get_linewidth() == 1.6
    }
    assert medians == {1.0, 0.8}
    assert len({patch.get_hatch() for patch in ax.patches}) == 2  # distinguishable without colour


def test_comparison_shows_costs_and_means():
    figure = draw_comparison(make_results())
    figure.canvas.draw()
    shown = texts(figure)
    for text in ("776", "3.1", "0.25", "1.5", "0.850", "0.650"):
        assert text in shown, text


def test_comparison_says_what_was_scored():
    assert draw_comparison(make_results()).axes[0].get_title() == "Dice of every scan"
    title = draw_comparison(make_results(), item="slice").axes[0].get_title()
    assert title == "Dice of every slice"


def test_comparison_without_costs_is_drawn():
    result = make_results()
    bare = [Method(method.name, method.scans) for method in result.methods]
    draw_comparison(Results("t", "h", "c", bare)).canvas.draw()


def case(name, dice, *, slice_mm=5.0, empty=False):
    affine = np.diag([-0.5, 0.5, slice_mm, 1])
    rng = np.random.default_rng(0)
    reference = np.zeros((40, 40, 3), np.uint8)
    reference[15:25, 15:25, 1] = 1
    mask = np.zeros_like(reference) if empty else reference.copy()
    parts = {
        "scan": rng.normal(100, 10, reference.shape).astype(np.float32),
        "mask": mask,
        "reference": reference,
    }
    images = {key: nib.Nifti1Image(part, affine) for key, part in parts.items()}
    return {"name": name, "dice": dice} | images


def test_extremes_are_best_median_and_worst():
    cases = [case(f"scan{n}", dice) for n, dice in enumerate((0.7, 0.9, 0.1, 0.8, 0.75))]
    shown = texts(draw_extremes(cases))
    titles = ["best: Dice 0.900", "median: Dice 0.750", "worst: Dice 0.100"]
    assert [text for text in shown if ": Dice" in text] == titles
    assert [text.split(",")[0] for text in shown if ", slice" in text] == [
        "scan1",
        "scan4",
        "scan2",
    ]


def test_slices_are_numbered_as_in_the_file():
    cases = [case("one", 0.9, slice_mm=-5.0)]
    for image in ("scan", "mask", "reference"):
        values = np.roll(np.asarray(cases[0][image].dataobj), 1, axis=2)
        cases[0][image] = nib.Nifti1Image(values, cases[0][image].affine)
    assert "one, slice 2" in texts(draw_extremes(cases))


def test_empty_mask_is_drawn():
    draw_extremes([case("one", 0.0, empty=True)]).canvas.draw()
