"""The page of degraded scans: what it counts, and how a record comes about."""

import numpy as np
import pytest

from gmseg import load_model
from gmseg.datasets.degradations import DEGRADATIONS

robustness = pytest.importorskip("robustness")  # absent from the source distribution
import robustness_page as page  # noqa: E402

GRADES = {"none": 1} | {name: len(way.values) for name, way in DEGRADATIONS.items()}


def records_of_slices():
    """Return records whose Dice falls as expected, with all expected flags but the mildest."""
    rng = np.random.default_rng(0)
    return [
        record_of_slices(system, subject, degradation, grade, rng)
        for system in ("fold", "published", "release")
        for subject in ("a", "b", "c")
        for degradation, count in GRADES.items()
        for grade in range(count)
    ]


def record_of_slices(system, subject, degradation, grade, rng):
    dice = 0.9 - 0.2 * grade * (degradation != "none")
    record = {"system": system, "scan": subject, "subject": subject, "dice": dice}
    record |= {"degradation": degradation, "grade": grade}
    if system == "release":
        return record
    flag = page.expected_flag(degradation) if grade else None
    slices = np.clip(dice + rng.normal(0, 0.02, 4), 0, 1)
    return record | {
        "slice_dice": [*slices, None],
        "soft_dice": [*(slices - 0.1), None],
        "agreement": [*(0.5 + slices / 2), None],
        "flags": [flag] if flag else [],
        "window": "image centre",
    }


def records_of_whole_scans():
    """Return two whole scans, one with a flag, one with a low expected Dice; and two options."""
    texts = {"flags": ["edge", "low-confidence"], "texts": ["the cord is cut", "by another curve"]}
    edge = texts | scored([0.95, 0.93, 0.96, 0.94, 0.92], [0.90, 0.88, 0.92, 0.89, 0.87])
    low = {"flags": [], "texts": []} | scored([0.2, None], [0.1, None])
    for system in ("fold", "published"):
        common = {"system": system, "subject": "a", "grade": 0}
        yield common | {"scan": "one", "degradation": "whole"} | edge
        yield common | {"scan": "two", "degradation": "whole", "subject": "b"} | low
        for grade, (name, dice) in enumerate({"none": 0.9, "much": 0.8}.items()):
            scan = {"scan": "one", "degradation": "option", "option": name, "dice": dice}
            yield common | scan | {"grade": grade}


def scored(agreement, slice_dice):
    return {"agreement": agreement, "soft_dice": agreement, "slice_dice": slice_dice}


def test_flags_are_counted_and_expected_dice_is_ranked():
    records = [*records_of_slices(), *records_of_whole_scans()]
    text, curves, pairs = page.write_page(records)
    assert "| none |  | 0.900 (0.90) | 0.900 (0.90) | 0.900 (0.90) |" in text
    assert "| cropped field of view | edge | 6 of 9 | 6 of 9 |" in text
    assert "| flipped | orientation | 0 of 3 | 0 of 3 |" in text
    rho = text.split("| all degradations of this page | ")[1].split(" | ")[0]
    assert 0.95 < float(rho) <= 1
    assert "whole scans without degradation, mean of the scans | 1.00 | 1.00 |" in text
    assert len(pairs[0]) == len(pairs[1]) == 4 * 3 * sum(GRADES.values())
    for feature, curve in curves.items():
        assert feature in page.FEATURES
        assert [at for at, _ in curve] == sorted(at for at, _ in curve)
    assert curves["agreement"] != curves["soft_dice"]
    page.draw_confidence(pairs)


def test_whole_scans_and_options_are_listed():
    text, *_ = page.write_page([*records_of_slices(), *records_of_whole_scans()])
    whole = text.split("### Whole scans")[1].split("## Limits")[0]
    ours, others = whole.split("Published weights")
    assert "2 scans, 2 with flags" in ours
    assert "- one: the cord is cut\n- two: the mask is probably poor" in ours
    assert "2 scans, 1 with flags" in others
    assert "probably" not in others  # these weights have no curve
    assert "| much | 0.8000 (0.800) | 0.8000 (0.800) |" in text


def test_scan_is_degraded_segmented_and_scored():
    case = robustness.synthetic_case(10_001)
    assert case.data.shape[2] == robustness.SLICES
    models = load_model(), load_model("unet")
    good, lost = (
        robustness.evaluate_degraded("fold", models, "a", case, "x", degradation, grade)
        for degradation, grade in (("none", 0), ("slices lost", 1))
    )
    assert good["dice"] > 0.75
    assert len(good["slice_dice"]) == len(good["soft_dice"]) == robustness.SLICES
    assert min(good["agreement"]) > 0.75
    assert good["flags"] == []
    assert lost["flags"] == ["no-gm"]
    assert lost["dice"] < good["dice"] - 0.2


def test_limits_of_the_page_are_current():
    stored = page.PAGE.read_text(encoding="utf-8")
    between = stored.split(page.BEGIN)[1].split(page.END)[0]
    assert between.strip() == page.limits_table(), "python experiments/robustness_page.py"
