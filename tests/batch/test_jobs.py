"""Many scans: one bad one stops nothing, done ones are left out, and workers give the same."""

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

from gmseg.batch import jobs as cohort
from gmseg.cli import main
from gmseg.datasets.phantom import make_phantom
from gmseg.errors import InputError
from gmseg.io.image import mark_of
from gmseg.models.registry import load_model


def run(capsys, *args):
    code = main.run([str(arg) for arg in args])
    told = capsys.readouterr()
    return code, told.out, told.err


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
        cohort.Job(scan, {"mask": folder / f"{scan.name}_gmseg.nii.gz"}, choices) for scan in scans
    ]


def voxels(file):
    return np.asarray(nib.load(file).dataobj)


# ------------------------------------------------------------------------------ one process


def test_one_bad_scan_stops_nothing(scans, model, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("junk")
    jobs = jobs_for([scans[0], bad, scans[1]], tmp_path)
    outcomes = list(cohort.run(jobs, model))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.fault is None for outcome in outcomes] == [True, False, True]
    assert str(bad) in outcomes[1].fault
    assert not outcomes[1].ours
    assert not jobs[1].files["mask"].exists()
    assert outcomes[2].summary["mask"] == str(jobs[2].files["mask"])


def test_a_fault_of_ours_is_told_as_such_and_stops_nothing(scans, model, tmp_path, monkeypatch):
    real = cohort.work

    def broken(job, *rest):
        if job.scan == scans[0]:
            raise RuntimeError("boom")
        return real(job, *rest)

    monkeypatch.setattr(cohort, "work", broken)
    first, second = cohort.run(jobs_for(scans[:2], tmp_path), model)
    assert first.ours
    assert first.fault == f"{scans[0]}: RuntimeError: boom"
    assert second.summary


def test_files_say_what_they_were_made_from(scans, model, tmp_path):
    job = jobs_for(scans[:1], tmp_path, threshold=0.4)[0]
    assert not cohort.is_done(job, model)
    assert cohort.work(job, model).summary
    assert mark_of(job.files["mask"]) == cohort.fingerprint(job, model)
    assert cohort.is_done(job, model)
    for other in (replace(job, choices={"threshold": 0.5}), replace(job, scan=scans[1])):
        with pytest.raises(InputError, match="was not made from this scan"):
            cohort.is_done(other, model)
    more = replace(job, files=job.files | {"soft": tmp_path / "soft.nii.gz"})
    assert not cohort.is_done(more, model)


# ------------------------------------------------------------------------------- the command


def test_a_run_goes_on_where_it_was_left(scans, tmp_path, capsys, monkeypatch):
    command = [
        "segment",
        *scans[:3],
        "--out-dir",
        tmp_path,
        "--summary",
        tmp_path / "s.json",
        "--resume",
    ]
    real, seen = cohort.work, []

    def counted(job, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(job.scan)
        return real(job, *rest)

    monkeypatch.setattr(cohort, "work", counted)
    assert run(capsys, *command)[0] == 130
    assert seen == scans[:2]
    assert len(json.loads((tmp_path / "s.json").read_text())["scans"]) == 2
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*_gmseg.nii.gz")}

    monkeypatch.setattr(cohort, "work", real)
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


def test_a_summary_keeps_what_it_had(scans, tmp_path, capsys):
    command = ["--out-dir", tmp_path, "--summary", tmp_path / "s.json", "--resume"]
    assert run(capsys, "segment", scans[0], *command)[0] == 0
    assert run(capsys, "segment", scans[1], *command)[0] == 0
    entries = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert [entry["scan"] for entry in entries] == [str(scans[0]), str(scans[1])]
    for junk in ("{", "[]", '{"scans": [{"mask": 1}]}', '{"scans": [{"mask": "a"}]}'):
        (tmp_path / "s.json").write_text(junk)
        code, _, err = run(capsys, "segment", scans[0], *command)
        assert code == 2
        assert "is no summary of gmseg's" in err
        assert (tmp_path / "s.json").read_text() == junk


def test_what_is_older_than_its_mask_is_made_again(scans, tmp_path, capsys):
    """A summary and a page that tell of an earlier mask do not pass for this one's."""
    command = ["segment", scans[0], "--out-dir", tmp_path]
    told = ["--summary", tmp_path / "s.json", "--report", tmp_path / "qc"]
    assert run(capsys, *command, *told)[0] == 0
    assert run(capsys, *command, "--threshold", "0.3", "--overwrite")[0] == 0
    code, out, _ = run(capsys, *command, *told, "--threshold", "0.3", "--resume")
    assert code == 0
    assert "is done" not in out
    [entry] = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert entry["threshold"] == 0.3
    facts = json.loads(next((tmp_path / "qc" / "scans").glob("*/facts.json")).read_text())
    assert facts["mean_area_mm2"] == pytest.approx(np.mean(entry["area_mm2"]), abs=0.01)


def test_flags_of_done_scans_count(tmp_path, capsys):
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


def test_what_appears_meanwhile_is_not_replaced(scans, model, tmp_path):
    job = jobs_for(scans[:1], tmp_path)[0]
    job.files["mask"].write_bytes(scans[1].read_bytes())  # after the command looked
    assert "exists, and was not made from" in cohort.work(job, model).fault
    assert job.files["mask"].read_bytes() == scans[1].read_bytes()
    assert cohort.work(replace(job, overwrite=True), model).summary


def test_choices_that_mean_the_same_are_the_same(scans, model, tmp_path):
    marks = {
        cohort.fingerprint(job, model)
        for choices in ({}, {"threshold": model.threshold}, {"tta": 1, "seed": 3}, {"volume": None})
        for job in jobs_for(scans[:1], tmp_path, **choices)
    }
    assert len(marks) == 1
    other = jobs_for(scans[:1], tmp_path, tta=2, seed=3)[0]
    assert cohort.fingerprint(other, model) not in marks


def test_a_newer_gmseg_says_so(scans, model, tmp_path, monkeypatch):
    job = jobs_for(scans[:1], tmp_path)[0]
    cohort.work(job, model)
    monkeypatch.setattr(cohort.metadata, "version", lambda _: "99.0")
    with pytest.raises(InputError, match=r"was made by gmseg \S+, and this is 99.0"):
        cohort.is_done(job, model)


def test_a_lost_entry_of_the_summary_is_made_again(scans, tmp_path, capsys):
    command = ["segment", scans[0], "--out-dir", tmp_path, "--resume"]
    assert run(capsys, *command)[0] == 0
    code, out, _ = run(capsys, *command, "--summary", tmp_path / "s.json")
    assert code == 0
    assert "is done" not in out
    assert len(json.loads((tmp_path / "s.json").read_text())["scans"]) == 1


def test_a_page_is_made_on_the_way(scans, tmp_path, capsys):
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


def test_a_worker_that_dies_loses_nothing_and_changes_nothing(scans, model, tmp_path):
    serial = {
        outcome.job.scan: outcome
        for outcome in cohort.run(jobs_for(scans, tmp_path / "a", tta=2), model)
    }
    with cluster(tmp_path, 2) as (address, workers):
        outcomes = []
        for outcome in cohort.run(jobs_for(scans, tmp_path / "b", tta=2), model, scheduler=address):
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


def test_local_workers_by_the_command(scans, tmp_path, capsys):
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


def test_no_scheduler_there(scans, tmp_path, capsys):
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        code, _, err = run(
            capsys, "segment", scans[0], "--out-dir", tmp_path, "--scheduler", address
        )
        assert code == 2
        assert f"--scheduler {address}: does not answer" in err
