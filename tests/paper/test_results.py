"""Results of experiments are written and read without loss."""

import math

import pytest

from gmseg import InputError
from gmseg.evaluation.metrics import METRICS
from gmseg.paper.results import Method, Results, load_results, save_results


def scores(value):
    return dict.fromkeys(METRICS, value)


def make_results():
    scans = [
        {"name": "site1-sc01", "group": "site1", "scores": scores(0.8123456)},
        {"name": "site2-sc01", "group": "site2", "scores": scores(0.9) | {"CC": math.nan}},
    ]
    return Results("title", "how", "a command", [Method("ours", scans, {"parameters": 124_769})])


def test_saved_results_are_loaded(tmp_path):
    save_results(make_results(), tmp_path / "r.json")
    found = load_results(tmp_path / "r.json")
    assert (found.title, found.how, found.made_by) == ("title", "how", "a command")
    (method,) = found.methods
    assert method.facts == {"parameters": 124_769}
    assert [scan["group"] for scan in method.scans] == ["site1", "site2"]
    assert method.scans[0]["scores"]["DSC"] == 0.81235  # five digits
    assert math.isnan(method.scans[1]["scores"]["CC"])
    assert "NaN" not in (tmp_path / "r.json").read_text()


def test_group_mean_counts_every_subject_once():
    scans = [
        {"name": name, "group": group, "scores": scores(value)}
        for name, group, value in (("a1", "a", 0.8), ("a2", "a", 1.0), ("b1", "b", 0.5))
    ]
    assert Method("ours", scans).group_mean()["DSC"] == pytest.approx(0.7)


def test_means_skip_undefined_scores():
    (method,) = make_results().methods
    assert method.mean()["DSC"] == pytest.approx((0.8123456 + 0.9) / 2)
    assert method.mean()["CC"] == pytest.approx(0.8123456)
    assert method.deviation()["DSC"] == pytest.approx((0.9 - 0.8123456) / math.sqrt(2))


@pytest.mark.parametrize("text", ["[]", "{}", '{"methods": [{"name": "a"}]}', '{"methods": 3}'])
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"r\.json"):
        load_results(file)
