"""Tables and what tells their columns."""

import csv
import json

from gmseg.io import tables
from gmseg.morphometry import areas


def test_a_table_and_its_sidecar(tmp_path):
    rows = [
        {"region": "slice", "slice": 0, "gm_area_mm2": 14.25, "level": float("nan")},
        {"region": "a\tb\nc", "slice": None, "gm_area_mm2": 1 / 3, "level": 4.0},
    ]
    tables.write_table(tmp_path / "t.tsv", rows, areas.COLUMNS)
    with (tmp_path / "t.tsv").open(newline="") as file:
        read = list(csv.DictReader(file, delimiter="\t"))
    assert read[0] == {"region": "slice", "slice": "0", "gm_area_mm2": "14.25", "level": "n/a"}
    assert read[1] == {"region": "a b c", "slice": "n/a", "gm_area_mm2": "0.3333", "level": "4"}
    told = json.loads((tmp_path / "t.json").read_text())
    assert list(told) == list(rows[0])
    assert told["gm_area_mm2"]["Units"] == "mm^2"
    assert "Units" not in told["region"]


def test_every_column_is_told():
    for name, column in areas.COLUMNS.items():
        assert column.description, name
        unit = {"mm2": "mm^2", "mm3": "mm^3", "mm": "mm", "deg": "degree", "ratio": "1"}
        assert column.unit == unit.get(name.rsplit("_", 1)[-1], ""), name
