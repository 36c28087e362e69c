"""The page on spoiled scans: what it counts, and how a scan comes to its line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from gmseg import load_model
from gmseg.datasets.degradations import DEGRADATIONS

DOCS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(scope="module")
def scripts():
    if not (DOCS / "robustness.py").is_file():
        pytest.skip("the scripts of docs/ are not in the source distribution")
    sys.path.insert(0, str(DOCS))
    try:
        import robustness
        import robustness_page

        yield robustness, robustness_page
    finally:
        sys.path.remove(str(DOCS))


WAYS = {"as it is": 1} | {name: len(way.values) for name, way in DEGRADATIONS.items()}


def made_up_records():
    """Dice falls as expected; every deserved flag but the mildest of each is raised."""
    rng = np.random.default_rng(0)
    return [
        a_record(system, subject, spoil, grade, rng)
        for system in ("fold", "published", "release")
        for subject in ("a", "b", "c")
        for spoil, grades in WAYS.items()
        for grade in range(grades)
    ]


def whole_and_choices():
    """Two scans as they are, one with a flag, one with a low confidence; and two choices."""
    for system in ("fold", "published"):
        yield {
            "system": system,
            "scan": "one",
            "spoil": "whole",
            "grade": 0,
            "subject": "a",
            "flags": ["edge"],
            "told": ["the cord is cut"],
            "expected": [0.8],
        }
        yield {
            "system": system,
            "scan": "two",
            "spoil": "whole",
            "grade": 0,
            "subject": "b",
            "flags": [],
            "told": [],
            "expected": [0.2, None],
        }
        for grade, (name, dice) in enumerate({"nothing": 0.9, "much": 0.8}.items()):
            yield {
                "system": system,
                "scan": "one",
                "spoil": "choice",
                "grade": grade,
                "subject": "a",
                "choice": name,
                "dice": dice,
            }


def a_record(system, subject, spoil, grade, rng):
    dice = 0.9 - 0.2 * grade * (spoil != "as it is")
    record = {
        "system": system,
        "scan": subject,
        "subject": subject,
        "spoil": spoil,
        "grade": grade,
        "dice": dice,
    }
    if system == "release":
        return record
    flag = DEGRADATIONS[spoil].deserves if spoil in DEGRADATIONS and grade else None
    slices = np.clip(dice + rng.normal(0, 0.02, 4), 0, 1)
    return record | {
        "slice_dice": [*slices, None],
        "expected": [*(slices - 0.1), None],
        "flags": [flag] if flag else [],
        "window": "image centre",
    }


def test_the_page_counts_what_was_raised_and_ranks_what_was_foretold(scripts):
    _, page = scripts
    text, knots, pairs = page.write_page(made_up_records())
    assert "| as it is |  | 0.900 (0.90) | 0.900 (0.90) | 0.900 (0.90) |" in text
    assert "| cut | edge | 6 of 9 | 6 of 9 |" in text
    assert "| mirrored | orientation | 0 of 3 | 0 of 3 |" in text
    rho = float(text.split("slices: **")[1].split("**")[0])
    assert 0.95 < rho <= 1
    assert (
        len(pairs[0])
        == len(pairs[1])
        == 4 * 3 * (1 + sum(len(w.values) for w in DEGRADATIONS.values()))
    )
    assert [at for at, _ in knots] == sorted(at for at, _ in knots)
    page.draw_confidence(pairs)


def test_the_page_tells_of_whole_scans_and_of_choices(scripts):
    _, page = scripts
    text, *_ = page.write_page([*made_up_records(), *whole_and_choices()])
    ours, others = text.split("### Whole scans")[1].split("## Limits")[0].split("published weights")
    assert "2 scans, 2 with flags" in ours
    assert "- one: the cord is cut\n- two: low-confidence\n" in ours
    assert "2 scans, 1 with flags" in others
    assert "low-confidence" not in others  # there is no curve for them
    assert "| much | 0.8000 (0.800) | 0.8000 (0.800) |" in text


def test_a_scan_is_spoiled_segmented_and_scored(scripts):
    make, _ = scripts
    case = make.made_up(10_001)
    assert case.data.shape[2] == make.SLICES
    good, lost = (
        make.one("fold", load_model(), "a", case, "x", spoil, grade)
        for spoil, grade in (("as it is", 0), ("slices lost", 1))
    )
    assert good["dice"] > 0.75
    assert len(good["slice_dice"]) == len(good["expected"]) == make.SLICES
    assert good["flags"] == []
    assert lost["flags"] == ["no-gm"]
    assert lost["dice"] < good["dice"] - 0.2
