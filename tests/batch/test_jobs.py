"""Many scans: bad ones, resumed runs, and workers that give the same results."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from bids_dataset import predict_discs
from command import run
from report_pages import facts_of

from gmseg.batch import jobs, resume
from gmseg.datasets.phantom import make_phantom
from gmseg.errors import InputError
from gmseg.inference import segment
from gmseg.io.image import description_of
from gmseg.models.registry import load_model


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    files = [folder / f"t2s{number}.nii.gz" for number in range(5)]
    for number, file in enumerate(files):
        nib.save(make_phantom(seed=500 + number, shape=(64, 64, 2)).image, file)
    return files


@pytest.fixture(scope="module")
def model():
    return load_model()


def jobs_for(scans, folder, **choices):
    return [
        jobs.Job(scan, {"mask": folder / f"{scan.name}_gmseg.nii.gz"}, choices) for scan in scans
    ]


def voxels(file):
    return np.asarray(nib.load(file).dataobj)


# ------------------------------------------------------------------------------ one process


def test_a_bad_scan_does_not_stop_the_others(scans, model, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("junk")
    wanted = jobs_for([scans[0], bad, scans[1]], tmp_path)
    outcomes = list(jobs.run(wanted, model))
    assert [outcome.job for outcome in outcomes] == wanted
    assert [outcome.fault is None for outcome in outcomes] == [True, False, True]
    assert str(bad) in outcomes[1].fault
    assert not outcomes[1].internal
    assert not wanted[1].files["mask"].exists()
    assert outcomes[2].summary["mask"] == str(wanted[2].files["mask"])


def test_a_bug_does_not_stop_the_other_scans(scans, model, tmp_path, monkeypatch):
    real = jobs.work

    def broken(job, *rest):
        if job.scan == scans[0]:
            raise RuntimeError("boom")
        return real(job, *rest)

    monkeypatch.setattr(jobs, "work", broken)
    first, second = jobs.run(jobs_for(scans[:2], tmp_path), model)
    assert first.internal
    assert first.fault == f"{scans[0]}: RuntimeError: boom"
    assert second.summary


def test_page_shows_the_cord_that_no_file_is_wanted_of(scans, model, tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "load_predictor", lambda _: predict_discs)
    with_cord = replace(model, network=model.network | {"outputs": 2}, window=80, voxel_size_mm=0.5)
    job = replace(jobs_for(scans[:1], tmp_path)[0], report=tmp_path / "qc")
    [outcome] = jobs.run([job], with_cord)
    [place] = (tmp_path / "qc" / "scans").iterdir()
    facts = facts_of(place)
    assert facts["cord_area_mm2"] == outcome.summary["cord_area_mm2"]
    assert all(tile["cord_path"] for tile in facts["tiles"])
    assert [file.name for file in tmp_path.glob("*.nii*")] == [job.files["mask"].name]


def test_headers_hold_a_fingerprint(scans, model, tmp_path):
    job = jobs_for(scans[:1], tmp_path, threshold=0.4)[0]
    assert not resume.is_done(job, model)
    assert jobs.work(job, model).summary
    assert description_of(job.files["mask"]) == resume.fingerprint(job, model)
    assert resume.is_done(job, model)
    for other in (replace(job, choices={"threshold": 0.5}), replace(job, scan=scans[1])):
        with pytest.raises(InputError, match="was not made from this scan"):
            resume.is_done(other, model)
    more = replace(job, files=job.files | {"soft": tmp_path / "soft.nii.gz"})
    assert not resume.is_done(more, model)


# ------------------------------------------------------------------------------- the command


def test_an_interrupted_run_is_resumed(scans, tmp_path, capsys, monkeypatch):
    command = [
        "segment",
        *scans[:3],
        "--out-dir",
        tmp_path,
        "--summary",
        tmp_path / "s.json",
        "--resume",
    ]
    real, seen = jobs.work, []

    def interrupted_third(job, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(job.scan)
        return real(job, *rest)

    monkeypatch.setattr(jobs, "work", interrupted_third)
    assert run(capsys, *command)[0] == 130
    assert seen == scans[:2]
    assert len(json.loads((tmp_path / "s.json").read_text())["scans"]) == 2
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*_gmseg.nii.gz")}

    monkeypatch.setattr(jobs, "work", real)
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert out.count("is done") == 2
    entries = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert [entry["scan"] for entry in entries] == [str(scan) for scan in scans[:3]]
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())
    code, _, err = run(capsys, *command, "--threshold", "0.3")
    assert code == 2
    assert "was not made from this scan by this model and these choices" in err
    assert run(capsys, *command, "--overwrite")[0] == 2


def test_a_summary_keeps_entries_of_earlier_runs(scans, tmp_path, capsys):
    command = ["--out-dir", tmp_path, "--summary", tmp_path / "s.json", "--resume"]
    assert run(capsys, "segment", scans[0], *command)[0] == 0
    assert run(capsys, "segment", scans[1], *command)[0] == 0
    entries = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert [entry["scan"] for entry in entries] == [str(scans[0]), str(scans[1])]
    for junk in ("{", "[]", '{"scans": [{"mask": 1}]}', '{"scans": [{"mask": "a"}]}'):
        (tmp_path / "s.json").write_text(junk)
        code, _, err = run(capsys, "segment", scans[0], *command)
        assert code == 2
        assert "is no summary of gmseg; " in err
        assert (tmp_path / "s.json").read_text() == junk


def test_outdated_summaries_and_pages_are_written_again(scans, tmp_path, capsys):
    command = ["segment", scans[0], "--out-dir", tmp_path]
    outputs = ["--summary", tmp_path / "s.json", "--report", tmp_path / "qc"]
    assert run(capsys, *command, *outputs)[0] == 0
    assert run(capsys, *command, "--threshold", "0.3", "--overwrite")[0] == 0
    code, out, _ = run(capsys, *command, *outputs, "--threshold", "0.3", "--resume")
    assert code == 0
    assert "is done" not in out
    [entry] = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert entry["threshold"] == 0.3
    facts = json.loads(next((tmp_path / "qc" / "scans").glob("*/facts.json")).read_text())
    assert facts["mean_area_mm2"] == pytest.approx(np.mean(entry["area_mm2"]), abs=0.01)


def test_flags_of_resumed_scans_count(tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(1, 2, (110, 110, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([-0.5, 0.5, 5, 1])), tmp_path / "noise.nii.gz")
    command = ["segment", tmp_path / "noise.nii.gz", "--strict", "--resume"]
    assert "give --summary" in run(capsys, *command)[2]
    command += ["--summary", tmp_path / "s.json"]
    assert run(capsys, *command)[0] == 3
    code, out, err = run(capsys, *command)
    assert code == 3
    assert "is done" in out
    assert "no gray matter found" in err


def test_a_file_that_appears_during_the_run_is_not_replaced(scans, model, tmp_path):
    job = jobs_for(scans[:1], tmp_path)[0]
    job.files["mask"].write_bytes(scans[1].read_bytes())
    assert "exists, and was not made from" in jobs.work(job, model).fault
    assert job.files["mask"].read_bytes() == scans[1].read_bytes()
    assert jobs.work(replace(job, overwrite=True), model).summary


def test_equivalent_choices_have_one_fingerprint(scans, model, tmp_path):
    marks = {
        resume.fingerprint(job, model)
        for choices in ({}, {"threshold": model.threshold}, {"tta": 1, "seed": 3}, {"volume": None})
        for job in jobs_for(scans[:1], tmp_path, **choices)
    }
    assert len(marks) == 1
    other = jobs_for(scans[:1], tmp_path, tta=2, seed=3)[0]
    assert resume.fingerprint(other, model) not in marks


def test_another_version_is_named(scans, model, tmp_path, monkeypatch):
    job = jobs_for(scans[:1], tmp_path)[0]
    jobs.work(job, model)
    monkeypatch.setattr(resume.metadata, "version", lambda _: "99.0")
    with pytest.raises(InputError, match=r"was made by gmseg \S+, and this is 99.0"):
        resume.is_done(job, model)


def test_a_scan_without_entry_in_the_summary_is_segmented_again(scans, tmp_path, capsys):
    command = ["segment", scans[0], "--out-dir", tmp_path, "--resume"]
    assert run(capsys, *command)[0] == 0
    code, out, _ = run(capsys, *command, "--summary", tmp_path / "s.json")
    assert code == 0
    assert "is done" not in out
    assert len(json.loads((tmp_path / "s.json").read_text())["scans"]) == 1


def test_scans_are_added_to_a_page(scans, tmp_path, capsys):
    command = ["segment", *scans[:2], "--out-dir", tmp_path, "--report", tmp_path / "qc"]
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "qc" / "index.html")
    page = (tmp_path / "qc" / "index.html").read_text()
    assert all(scan.name in page for scan in scans[:2])
    assert not list(tmp_path.glob("*gmsoft*"))
    assert run(capsys, *command, "--resume")[1].count("is done") == 2


# ------------------------------------------------------------------------------------- Dask


@contextlib.contextmanager
def cluster(folder, workers):
    """A scheduler and workers on loopback, each a process of its own."""
    pytest.importorskip("distributed")
    address = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    commands = [[*dask, "scheduler", *local, "--port", "0", "--scheduler-file", address]]
    commands += [
        [
            *dask,
            "worker",
            "--no-nanny",
            "--nthreads",
            "1",
            *local,
            "--scheduler-file",
            address,
            "--local-directory",
            folder,
        ]
    ] * workers
    running = [subprocess.Popen(list(map(str, command)), **quiet) for command in commands]
    try:
        for _ in range(300):
            if address.exists() and address.read_text().endswith("}"):
                break
            time.sleep(0.1)
        yield json.loads(address.read_text())["address"], running[1:]
    finally:
        for process in running:
            process.kill()
            process.wait()


def without_times(summary):
    return {name: value for name, value in summary.items() if name not in ("seconds", "mask")}


def test_results_do_not_change_if_a_worker_dies(scans, model, tmp_path):
    serial = {
        outcome.job.scan: outcome
        for outcome in jobs.run(jobs_for(scans, tmp_path / "a", tta=2), model)
    }
    with cluster(tmp_path, 2) as (address, workers):
        outcomes = []
        for outcome in jobs.run(jobs_for(scans, tmp_path / "b", tta=2), model, scheduler=address):
            if not outcomes:
                workers[0].send_signal(signal.SIGKILL)
            outcomes.append(outcome)
    assert [outcome.fault for outcome in outcomes] == [None] * len(scans)
    assert {outcome.job.scan for outcome in outcomes} == set(scans)
    for outcome in outcomes:
        mine = serial[outcome.job.scan]
        assert without_times(outcome.summary) == without_times(mine.summary)
        np.testing.assert_array_equal(
            voxels(outcome.job.files["mask"]), voxels(mine.job.files["mask"])
        )


def test_local_workers(scans, tmp_path, capsys):
    pytest.importorskip("distributed")
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(scans[0].read_bytes()[:-50])
    code, out, err = run(
        capsys, "segment", *scans[:3], bad, "--out-dir", tmp_path / "o", "--workers", "2"
    )
    assert code == 2
    assert len(out.splitlines()) == 3
    assert "2 workers, dashboard at" in err
    assert "3 of 4 scans segmented, 1 failed:" in err
    assert str(bad) in err.splitlines()[-1]


def test_a_scheduler_that_does_not_answer(scans, tmp_path, capsys):
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        code, _, err = run(
            capsys, "segment", scans[0], "--out-dir", tmp_path, "--scheduler", address
        )
        assert code == 2
        assert f"--scheduler {address}: does not answer" in err
