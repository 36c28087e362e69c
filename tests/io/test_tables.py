"""Tables and the sidecars that describe their columns."""

import csv
import json
import math

import pytest

from gmseg.io import tables
from gmseg.morphometry import areas


def test_table_and_sidecar(tmp_path):
    rows = [
        {"region": "slice", "slice": 0, "gm_area_mm2": 14.25, "level": math.nan},
        {"region": 'a\tb\n"c', "slice": None, "gm_area_mm2": 1 / 3, "level": 4.0},
    ]
    tables.write_table(tmp_path / "t.tsv", rows, areas.COLUMNS)
    with (tmp_path / "t.tsv").open(newline="") as file:
        first, second = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert first == {"region": "slice", "slice": "0", "gm_area_mm2": "14.25", "level": "n/a"}
    assert second == {"region": 'a b "c', "slice": "n/a", "gm_area_mm2": "0.3333", "level": "4"}
    sidecar = json.loads((tmp_path / "t.json").read_text())
    assert list(sidecar) == list(rows[0])
    assert sidecar["gm_area_mm2"]["Units"] == "mm^2"
    assert "Units" not in sidecar["region"]


def test_significant_digits():
    row = {"small": 1.23456e-5, "large": 123456.7, "whole": 100.0, "none": None, "inf": math.inf}
    text = tables.as_tsv([row], significant=4)
    assert text.splitlines()[1].split("\t") == ["1.235e-05", "1.235e+05", "100", "n/a", "n/a"]


@pytest.mark.parametrize(
    "name",
    [
        "=1+1.nii",
        "=HYPERLINK(A1)",
        "@SUM(A1).nii",
        "+cmd|' /C calc'!A0",
        "-1+1.nii",
        "\uff1d1.nii",
        '"=1+1".nii',
        "\t=1.nii",
    ],
)
def test_a_name_is_no_formula(name):
    header, line = tables.as_tsv([{"scan": name, "rater": "r1"}]).splitlines()
    assert line.split("\t") == ["'" + name.strip(), "r1"]
    # spreadsheets and pandas see the same
    [row] = csv.DictReader([header, line], delimiter="\t")
    assert row == {"scan": "'" + name.strip(), "rater": "r1"}


@pytest.mark.parametrize("value", ["-0.5", "+1", "-1.5e-05", "n/a", "-", "sub-01/a=b.nii", "a@b"])
def test_numbers_and_other_text_stay_as_they_are(value):
    assert tables.cell(value) == value


def test_control_characters_and_bytes_that_are_no_text_are_escaped(tmp_path):
    rows = [
        {"scan": "t2s\x1b[2J\x07\u202e.nii"},
        {"scan": b"t2s\xff.nii".decode(errors="surrogateescape")},
    ]
    tables.write_table(tmp_path / "t.tsv", rows, {"scan": tables.Column("scan")})
    assert (tmp_path / "t.tsv").read_text(encoding="utf-8").splitlines()[1:] == [
        r"t2s\x1b[2J\x07\u202e.nii",
        r"t2s\udcff.nii",
    ]


def test_every_column_is_described():
    for name, column in areas.COLUMNS.items():
        assert column.description, name
        unit = {"mm2": "mm^2", "mm3": "mm^3", "mm": "mm", "deg": "degree", "ratio": "1"}
        assert column.unit == unit.get(name.rsplit("_", 1)[-1], ""), name
