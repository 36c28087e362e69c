"""The paper's table of results, with ours beside it."""

import math

import pytest

from gmseg.evaluation.metrics import METRICS
from gmseg.paper import published as paper
from gmseg.paper.results import Method, Results


def make_results(**changes):
    scores = dict.fromkeys(METRICS, 0.5) | changes
    scans = [{"name": n, "group": n, "scores": scores} for n in ("one", "two")]
    return Results("Two scans", "synthetic.", "a command", [Method("ours", scans)])


def test_paper_is_best_in_eight_of_ten_metrics():
    """The paper's statement about its table ("8 of 10") holds for the transcription."""
    distances = {"MSD", "HSD", "SHD", "SMD"}
    best = set()
    for key in paper.PAPER_METRICS:
        means = {name: column[key][0] for name, column in paper.PUBLISHED.items()}
        chosen = (min if key in distances else max)(means.values())
        if means[paper.PAPER] == chosen:
            best.add(key)
    assert set(paper.PAPER_METRICS) - best == {"TNR", "P"}
    assert tuple(METRICS)[:10] == paper.PAPER_METRICS


@pytest.mark.parametrize("name", paper.PUBLISHED)
def test_jaccard_and_dice_agree(name):
    """J = D / (2 - D) holds for a scan, and nearly for means: a check of the transcription."""
    dice, jaccard = (paper.PUBLISHED[name][key][0] for key in ("DSC", "J"))
    assert jaccard == pytest.approx(dice / (2 - dice), abs=0.02)


def test_markdown_has_every_metric_and_marks_transcribed_values():
    text = paper.as_markdown(make_results(CC=math.nan))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 11
    assert rows[11].startswith("| HSD95 mm |")
    assert rows[11].count("| - ") == len(paper.PUBLISHED)
    assert rows[0].split("|")[2].strip() == "ours"
    assert "| 0.500 ± 0.000 |" in rows[1]
    assert "0.85 ± 0.04" in rows[1]  # two digits, as transcribed
    assert rows[10].split("|")[2].strip() == "-"
    assert paper.TRANSCRIBED in text
    assert "`a command`" in text


def test_rows_are_per_metric_and_method():
    rows = paper.table_rows(make_results(CC=math.nan))
    assert len(rows) == 10 * (1 + len(paper.PUBLISHED))
    ours = {row["metric"]: row for row in rows if row["method"] == "ours"}
    assert (ours["DSC"]["mean"], ours["DSC"]["sd"], ours["DSC"]["scans"]) == (0.5, 0, 2)
    assert math.isnan(ours["CC"]["mean"])
    published = [row for row in rows if row["method"] != "ours"]
    assert {row["source"] for row in published} == {paper.TRANSCRIBED}


def test_text_has_our_columns_and_the_papers():
    lines = paper.as_text(make_results()).splitlines()
    assert len(lines) == 12
    assert lines[0].split() == ["ours", "Perone", "2018"]
    assert len({len(line) for line in lines[:11]}) == 1
    assert paper.TRANSCRIBED in lines[-1]
