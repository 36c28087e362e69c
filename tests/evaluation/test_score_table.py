"""Scores as a table, rows and JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from random_masks import AFFINE, blobs

from gmseg.evaluation import score_table
from gmseg.evaluation.evaluate import compare_raters, pool
from gmseg.evaluation.metrics import METRICS


def scores_of(raters=1, prediction=None):
    predicted, reference = blobs(0)
    masks = [reference, *blobs(1)][:raters]
    prediction = predicted if prediction is None else prediction
    return {"name": "t2s"} | compare_raters(
        prediction, {f"r{n}": mask for n, mask in enumerate(masks, 1)}, AFFINE
    )


def test_a_table_of_one_scan():
    scores = scores_of()
    lines = score_table.as_table(scores).splitlines()
    assert lines[0].split() == ["volume", "labelled", "slices"]
    assert [line.split()[0] for line in lines[1:]] == list(METRICS)
    assert float(lines[1].split()[-2]) == pytest.approx(scores["volume"]["DSC"], abs=5e-4)
    assert lines[2].split()[-3] == "mm"
    assert len({len(line) for line in lines}) == 1


def test_a_table_of_several_raters():
    scores = scores_of(raters=3)
    table = score_table.as_table(scores)
    head = table.splitlines()[0].split()
    assert head[-6:] == ["mean", "r1", "r2", "r3", "majority", "raters"]
    assert "r2 r2" in table
    first = table.splitlines()[1].split()
    assert float(first[-1]) == pytest.approx(scores["between_raters"]["volume"]["DSC"], abs=5e-4)


def test_a_table_of_several_scans():
    empty = np.zeros_like(blobs(0)[0])
    scores = pool({"good": scores_of(), "a-scan-with-a-longer-name": scores_of(prediction=empty)})
    lines = score_table.as_table(scores).splitlines()
    assert lines[0].startswith("over the labelled slices")
    assert lines[0].split()[4:6] == ["DSC", "MSD"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    assert rows["a-scan-with-a-longer-name"][:2] == ["0.000", "-"]
    assert float(rows["mean"][0]) == pytest.approx(float(rows["good"][0]) / 2, abs=1e-3)
    assert rows["mean"][1] == rows["good"][1]
    assert lines[5] == ""
    assert lines[6].startswith("over the volume")


def test_rows_of_every_rater_and_slice():
    empty = np.zeros_like(blobs(0)[0])
    scores = pool({"good": scores_of(raters=2), "bad": scores_of(prediction=empty)})
    rows = score_table.score_rows(scores)
    assert len(rows) == 3 * (2 + 4) + (2 + 4)
    first = rows[0]
    assert (first["scan"], first["rater"], first["region"]) == ("good", "r1", "volume")
    assert first["MSD_mm"] == scores_of()["volume"]["MSD"]
    assert {row["rater"] for row in rows} == {"r1", "r2", "consensus"}
    for row in rows:  # a missing value has a reason
        missing = any(np.isnan(row[name]) for name in row if name[0].isupper())
        assert missing == (row["undefined"] is not None)
    assert [row["slice"] for row in rows[:6]] == [None, None, 0, 1, 2, 3]


def test_json_has_no_nan():
    text = score_table.as_json(scores_of(prediction=np.zeros_like(blobs(0)[0])))
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["volume"]["HSD"] is None
    assert read["volume"]["DSC"] == 0
    assert "empty" in read["undefined"]["against r1"]
    assert set(read["volume"]) == set(METRICS)


def test_written_scores_read_back(tmp_path):
    scores = scores_of()
    score_table.write_scores(scores, tsv=tmp_path / "s.tsv", json_file=tmp_path / "s.json")
    table = pd.read_csv(tmp_path / "s.tsv", sep="\t")
    assert table["DSC"][0] == pytest.approx(scores["volume"]["DSC"], rel=1e-5)
    assert table["slice"].isna().tolist() == [True, True, False, False, False, False]
    assert (tmp_path / "s.json").read_text() == score_table.as_json(scores)
