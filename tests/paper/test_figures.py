"""All figures of the paper are written into one folder."""

import re

import pytest

from gmseg import InputError
from gmseg.datasets.phantom import write_challenge
from gmseg.paper.figures import NAMES, make_figures, one_per_site
from gmseg.paper.published import PUBLISHED, TRANSCRIBED
from gmseg.paper.results import stored_results


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    write_challenge(folder / "mine", subjects=1, sites=2, raters=2, shape=(96, 96, 2))
    calls = []
    files = make_figures(
        folder / "figures", dataset=folder / "mine", progress=lambda *done: calls.append(done)
    )
    return folder, files, calls


def test_every_figure_is_written_as_png_and_pdf(written):
    folder, files, calls = written
    assert {file.name for file in (folder / "figures").iterdir()} == {file.name for file in files}
    for name in NAMES:
        assert (folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / "figures" / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
    assert calls == [(n, len(NAMES)) for n in range(1, len(NAMES) + 1)]


def test_page_shows_every_figure_and_its_source(written):
    page = (written[0] / "figures" / "figures.md").read_text(encoding="utf-8")
    assert re.findall(r"!\[.*?\]\((.*?)\)", page) == [f"{name}.png" for name in NAMES]
    captions = dict(re.findall(r"## (\w+)\n\n!.*\n\n(.+)", page))
    assert "scans of mine: site1-sc01, site2-sc01" in captions["sites"]
    for name in ("results", "augmentation", "unet", "exvivo"):
        assert TRANSCRIBED in captions[name], name
    assert "synthetic phantoms" in captions["extremes"]
    assert "optimistic" in captions["extremes"]
    assert "probably corrected automatic masks" in captions["boxes"]


def test_table_is_written(written):
    table = (written[0] / "figures" / "results.md").read_text(encoding="utf-8")
    assert all(name in table for name in PUBLISHED)
    assert "default, folds" in table


def test_existing_files_are_not_replaced(written):
    with pytest.raises(InputError, match=r"sites\.png: exists; use `overwrite=True`"):
        make_figures(written[0] / "figures")


def test_stored_results_are_of_real_scans_of_unseen_subjects():
    results = stored_results("cross-validation")
    assert {len(method.scans) for method in results.methods} == {6}
    assert "never saw the subject" in results.how


@pytest.mark.parametrize("name", ["unet", "exvivo"])
def test_stored_comparisons_are_of_networks_of_the_papers_sizes(name):
    results = stored_results(name)
    assert [method.facts["parameters"] for method in results.methods] == [124_769, 776_321]
    ours, unet = (method.scans for method in results.methods)
    assert [scan["name"] for scan in ours] == [scan["name"] for scan in unet]
    for method in results.methods:
        assert method.facts["training_s"] > 0
        assert method.facts["slice_s"] > 0
        assert 0 < method.mean()["DSC"] < 1


def test_one_scan_of_each_site_is_shown(tmp_path):
    from gmseg.datasets.folders import find_scans

    write_challenge(tmp_path / "c", subjects=2, sites=2, raters=1, shape=(48, 48, 1))
    assert [s.name for s in one_per_site(find_scans(tmp_path / "c"))] == [
        "site1-sc01",
        "site2-sc01",
    ]
