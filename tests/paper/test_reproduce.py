"""From the folder of a synthetic challenge to table and figures."""

import csv
import dataclasses
import json
import re
import sys

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError
from gmseg.core import pipeline
from gmseg.core.resampling import to_native_grid
from gmseg.core.windows import paste
from gmseg.datasets.folders import unlabelled_scans
from gmseg.datasets.phantom import write_challenge
from gmseg.evaluation.evaluate import compare_raters
from gmseg.inference import engines
from gmseg.io.image import read_scan
from gmseg.models import registry
from gmseg.paper import published
from gmseg.paper.figures import NAMES
from gmseg.paper.reproduce import _segment, reproduce
from gmseg.paper.results import load_results

PROTOCOL = """
[network]
filters = 4
dropout = 0.0
batchnorm_momentum = 0.9
[windows]
size = 64
batch = 4
centre = "image"
raters = "each"
[optimiser]
rate = 0.02
steps = 40
epoch = 1
validate_every = 20
[loss]
calibrate = false
"""
HELD_OUT = {f"site{site}-sc0{number}" for site in (1, 2, 3, 4) for number in (2, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write 4 sites with 3 subjects and 4 raters; one more subject has no mask."""
    folder = tmp_path_factory.mktemp("reproduce")
    challenge = folder / "challenge"
    write_challenge(challenge, subjects=3, sites=4, raters=4, shape=(96, 96, 2))
    write_challenge(folder / "more", subjects=4, sites=1, raters=1, shape=(96, 96, 2))
    (folder / "more" / "site1-sc04-image.nii.gz").rename(challenge / "site1-sc11-image.nii.gz")
    (folder / "tiny.toml").write_text(PROTOCOL)
    return folder


@pytest.fixture
def no_figures(monkeypatch):
    """Skip drawing, which takes seconds and is tested elsewhere."""
    monkeypatch.setattr(sys.modules["gmseg.paper.reproduce"], "make_figures", lambda *_, **__: [])


def run(folder, out="run", **more):
    lines, steps = [], []
    results = reproduce(
        folder / "challenge",
        folder / out,
        **({"protocol": folder / "tiny.toml"} | more),
        describe=lines.append,
        progress=lambda *step: steps.append(step),
    )
    return results, lines, steps


@pytest.fixture(scope="module")
def first(folder):
    return run(folder)


def test_from_the_folder_to_the_table(folder, first):
    results, _, steps = first
    out = folder / "run"
    stages = list(dict.fromkeys(stage for stage, _, _ in steps))
    assert stages == ["training", "segmenting", "evaluating", "drawing"]
    for stage in stages:
        counts = [step[1:] for step in steps if step[0] == stage]
        assert counts == [(n, len(counts)) for n in range(1, len(counts) + 1)]
    names = ["trained here, threshold 0.999", "trained here, threshold 0.5", "between raters"]
    assert [method.name for method in results.methods] == names
    for method in results.methods:
        assert {scan["name"] for scan in method.scans} == HELD_OUT
        assert {scan["group"] for scan in method.scans} == {"site1", "site2", "site3", "site4"}
    table = (out / "results.md").read_text(encoding="utf-8")
    assert all(name in table for name in names)
    assert published.TRANSCRIBED in table
    assert all((out / "figures" / f"{name}.pdf").exists() for name in NAMES)
    saved = load_results(out / "results.json")
    assert [method.name for method in saved.methods] == names


def test_network_is_evaluated_on_unseen_subjects(folder, first):
    trained_on = registry.load_model(folder / "run" / "training" / "model.json").trained_on
    assert set(re.findall(r"site\d-sc\d\d", trained_on)) == {
        f"site{site}-sc01" for site in (1, 2, 3, 4)
    }
    assert "evaluated on" not in " ".join(first[1])


def test_masks_are_compared_with_every_rater(folder, first):
    rows = list(csv.DictReader((folder / "run" / "scores.tsv").open(), delimiter="\t"))
    assert {row["rater"] for row in rows} == {"r1", "r2", "r3", "r4", "consensus"}
    scan = nib.load(folder / "challenge" / "site2-sc03-image.nii.gz")
    raters = {
        f"r{n}": np.asarray(nib.load(file).dataobj) == 1
        for n in (1, 2, 3, 4)
        for file in [folder / "challenge" / f"site2-sc03-mask-r{n}.nii.gz"]
    }
    for name, method in zip(("masks", "masks-0.5"), first[0].methods, strict=False):
        mask = nib.load(folder / "run" / name / "site2-sc03-image_gmseg.nii.gz")
        by_hand = compare_raters(np.asarray(mask.dataobj) == 1, raters, scan.affine)["volume"]
        (scan_row,) = (row for row in method.scans if row["name"] == "site2-sc03")
        assert scan_row["scores"]["TPR"] == pytest.approx(by_hand["TPR"])
        assert scan_row["scores"]["DSC"] == pytest.approx(by_hand["DSC"])


def test_papers_threshold_is_applied_before_resampling(folder, first):
    model = registry.load_model(folder / "run" / "training" / "model.json")
    file = folder / "challenge" / "site1-sc02-image.nii.gz"
    scan = read_scan(file)
    ready = pipeline.prepare(scan, model, centre="image")
    soft = pipeline.predict_windows(engines.load_predictor(model), ready.windows)[:, 0]
    assert (soft > 0.5).any()
    for name, windows in (("masks", (soft > 0.999).astype(np.float32)), ("masks-0.5", soft)):
        back = to_native_grid(paste(windows, ready.centres, ready.grid.shape), ready.grid)
        mask = nib.load(folder / "run" / name / "site1-sc02-image_gmseg.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), back > 0.5)
        np.testing.assert_array_equal(mask.affine, scan.affine)


def test_voxels_below_the_papers_threshold_are_background(folder, tmp_path, monkeypatch):
    def predict(windows):
        soft = np.zeros((len(windows), 1, *windows.shape[1:]), np.float32)
        soft[..., 60:80, 60:80], soft[..., 120:140, 120:140] = 0.9985, 0.9995
        return soft

    monkeypatch.setattr(engines, "load_predictor", lambda _: predict)
    item = unlabelled_scans(folder / "challenge")[0]
    _segment(item, dataclasses.replace(registry.load_model(), window=200), tmp_path)
    found = {}
    for name in ("masks", "masks-0.5"):
        (file,) = (tmp_path / name).iterdir()
        found[name] = np.asarray(nib.load(file).dataobj).sum() * 0.25 / 2  # mm^2 per slice
    assert found == pytest.approx({"masks": 25, "masks-0.5": 50}, rel=0.1)


def test_subjects_without_masks_are_segmented_and_not_evaluated(folder, first):
    masks = {file.name.split("-image")[0] for file in (folder / "run" / "masks").iterdir()}
    assert masks == HELD_OUT | {"site1-sc11"}


def test_interrupted_run_is_resumed(folder, first, no_figures):
    """A run that was stopped while training and while segmenting has the same results."""

    class Stopped(BaseException):
        pass

    def stop(at):
        def progress(stage, done, _):
            if (stage, done) == at:
                raise Stopped

        return progress

    for at in (("training", 25), ("segmenting", 3)):
        with pytest.raises(Stopped):
            reproduce(
                folder / "challenge",
                folder / "again",
                protocol=folder / "tiny.toml",
                resume=at[0] == "segmenting",
                progress=stop(at),
            )
    stamp = (folder / "again" / "masks" / "site1-sc02-image_gmseg.nii.gz").stat().st_mtime_ns
    results, _, steps = run(folder, "again", resume=True)
    assert "training" not in {stage for stage, *_ in steps}
    assert (
        folder / "again" / "masks" / "site1-sc02-image_gmseg.nii.gz"
    ).stat().st_mtime_ns == stamp
    for ours, theirs in zip(results.methods, first[0].methods, strict=True):
        assert ours.mean() == pytest.approx(theirs.mean(), nan_ok=True)


@pytest.mark.parametrize("more", [{"seed": 1}, {"split": "site1-sc01"}, {"model": "default"}])
def test_folder_of_another_run_is_refused(folder, first, more):
    with pytest.raises(InputError, match="contains a run with other"):
        run(folder, **more)


def test_run_is_not_resumed_by_default(folder, first):
    with pytest.raises(InputError, match="set `resume=True`"):
        run(folder)


def test_folder_with_other_files_is_refused(folder, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        reproduce(folder / "challenge", tmp_path, protocol=folder / "tiny.toml")
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_given_model_is_evaluated_and_its_training_scans_are_named(folder, first, no_figures):
    model = folder / "run" / "training" / "model.json"
    results, lines, steps = run(folder, "given", model=model, split="site1-sc01,site2-sc03")
    assert "training" not in {stage for stage, *_ in steps}
    assert any("trained on scans that it is evaluated on: site1-sc01" in line for line in lines)
    assert results.methods[0].name == "model, threshold 0.999"
    assert "evaluated on: site1-sc01" in (folder / "given" / "results.md").read_text()
    note = json.loads((folder / "given" / "run.json").read_text())
    assert note["model"] == registry.load_model(model).weights_sha256
