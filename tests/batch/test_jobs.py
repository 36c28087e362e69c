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
import psutil
import pytest
from bids_dataset import predict_discs
from command import run
from report_pages import facts_of

from gmseg.batch import jobs, processes, resume
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


# ------------------------------------------------------ incomplete files, and runs at one time


def test_incomplete_files_are_not_done_and_are_written_again(scans, tmp_path, capsys):
    command = ["segment", scans[0], "--out-dir", tmp_path, "--soft", "--resume"]
    assert run(capsys, *command)[0] == 0
    outputs = sorted(tmp_path.glob("*.nii.gz"))
    assert len(outputs) == 2
    for file in outputs:
        complete = file.read_bytes()
        for size in (0, 10, len(complete) // 2, len(complete) - 1):
            file.write_bytes(complete[:size])
            code, out, err = run(capsys, *command)
            assert code == 0, err
            assert "is done" not in out, (file.name, size)
            assert file.read_bytes() == complete
    assert "is done" in run(capsys, *command)[1]


def test_truncated_uncompressed_masks_are_not_done(scans, model, tmp_path):
    job = jobs.Job(scans[0], {"mask": tmp_path / "mask.nii"}, resume=True)
    assert jobs.work(job, model).summary
    assert resume.is_done(job, model)
    complete = job.files["mask"].read_bytes()
    job.files["mask"].write_bytes(complete[:-1])
    assert not resume.is_done(job, model)
    assert jobs.work(job, model).summary
    assert job.files["mask"].read_bytes() == complete


def test_a_link_to_a_missing_file_is_not_replaced(scans, tmp_path, capsys):
    link = tmp_path / f"{scans[0].name.split('.')[0]}_gmseg.nii.gz"
    link.symlink_to(tmp_path / "annex")
    for options in ([], ["--resume"]):
        code, _, err = run(capsys, "segment", scans[0], "--out-dir", tmp_path, *options)
        assert code == 2
        assert "is a link to a file that is missing" in err
        assert link.is_symlink()
    assert run(capsys, "segment", scans[0], "--out-dir", tmp_path, "--overwrite")[0] == 0
    assert not link.is_symlink()


def test_the_second_of_two_runs_does_not_replace_the_mask(scans, model, tmp_path, monkeypatch):
    [job] = jobs_for(scans[:1], tmp_path)
    real = segment.load_predictor

    def finish_the_other_run_first(*arguments):
        monkeypatch.setattr(segment, "load_predictor", real)
        assert jobs.work(job, model).summary
        return real(*arguments)

    monkeypatch.setattr(segment, "load_predictor", finish_the_other_run_first)
    second = jobs.work(job, model)
    assert "exists, and was written in the meantime" in second.fault
    third = jobs.work(job, model)
    assert "exists; use `overwrite=True`" in third.fault


def test_runs_at_one_time_keep_each_others_entries_in_a_summary(tmp_path):
    summary = tmp_path / "s.json"

    def entry(mask, seconds=0.0):
        return {"mask": mask, "scan": "t2s.nii.gz", "flags": [], "seconds": seconds}

    for seconds, resumed in enumerate((False, True, False)):
        runs = [resume.SummaryFile(summary, resume=resumed) for _ in range(2)]
        for number in range(1, 4):
            for name, other in zip("ab", runs, strict=True):
                other.write([entry(f"{name}{k}", seconds) for k in range(number)])
        masks = [scan["mask"] for scan in json.loads(summary.read_text())["scans"]]
        assert sorted(masks) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    resume.SummaryFile(summary, resume=False).write([entry("c")])
    assert [scan["mask"] for scan in json.loads(summary.read_text())["scans"]] == ["c"]
    summary.write_text("")
    assert resume.read_entries(summary) == {}


SEGMENT = """
import os, signal, sys, time
from gmseg.batch import jobs
from gmseg.cli import main
def stay(*arguments):
    print("ready", flush=True)
    time.sleep(60)
jobs._add_to_page = stay  # the soft segmentation is written by then
sys.argv = ["gmseg", *sys.argv[1:]]
main.main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_signals_leave_no_temporary_file_and_resume_removes_others(scans, tmp_path, name, capsys):
    out = tmp_path / "o"
    out.mkdir()
    (tmp_path / "tmp").mkdir()
    command = ["segment", scans[0], "--out-dir", out, "--report", tmp_path / "qc"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    words = [sys.executable, "-c", SEGMENT, *map(str, command)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        assert any(path.name.startswith(".gmseg-") for path in out.iterdir())
        process.send_signal(getattr(signal, name))
        status = process.wait(timeout=30)
    number = getattr(signal, name)
    assert status == (-number if name == "SIGKILL" else 128 + number)
    in_tmp = list((tmp_path / "tmp").iterdir())
    if name == "SIGKILL":  # the folder of matplotlib's settings stays
        in_tmp = list((tmp_path / "tmp").rglob("*.nii*"))
    assert in_tmp == []
    left = [path for path in out.iterdir() if path.name.startswith(".")]
    assert bool(left) == (name == "SIGKILL")
    assert run(capsys, *command, "--resume")[0] == 0
    assert [path.name for path in out.iterdir()] == [
        f"{scans[0].name.removesuffix('.nii.gz')}_gmseg.nii.gz"
    ]
    assert not list((tmp_path / "qc").glob(".gmseg-*"))


# ------------------------------------------------------------------------ processes and Dask


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
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(scans[0].read_bytes()[:-50])
    code, out, err = run(
        capsys, "segment", *scans[:3], bad, "--out-dir", tmp_path / "o", "--workers", "2"
    )
    assert code == 2
    assert len(out.splitlines()) == 3
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


def test_dask_is_named_where_it_is_missing(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ["segment", *scans[:2], "--out-dir", tmp_path]
    code, _, err = run(capsys, *command, "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2
    assert "--scheduler needs Dask; pip install 'gmseg[cluster]'" in err


def test_local_workers_open_no_port_and_do_not_change_results(scans, model, tmp_path):
    serial = {
        outcome.job.scan: outcome for outcome in jobs.run(jobs_for(scans, tmp_path / "a"), model)
    }
    sockets, pids = [], set()
    for outcome in jobs.run(jobs_for(scans, tmp_path / "b"), model, workers=2):
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        pids |= {process.pid for process in family}
        for process in family:
            sockets += process.net_connections("inet")
        mine = serial[outcome.job.scan]
        assert without_times(outcome.summary) == without_times(mine.summary)
        np.testing.assert_array_equal(
            voxels(outcome.job.files["mask"]), voxels(mine.job.files["mask"])
        )
    assert len(pids) >= 3
    assert sockets == []


def test_a_local_worker_that_dies_is_replaced(scans, model, tmp_path):
    before = set(psutil.Process().children(recursive=True))
    outcomes = []
    for outcome in jobs.run(jobs_for(scans, tmp_path), model, workers=2):
        if not outcomes:
            for process in set(psutil.Process().children(recursive=True)) - before:
                if "spawn_main" in " ".join(process.cmdline()):
                    process.kill()
        outcomes.append(outcome)
    assert {outcome.job.scan for outcome in outcomes} == set(scans)
    assert [outcome.fault for outcome in outcomes] == [None] * len(scans)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".gmseg-")]


def test_a_scan_whose_workers_always_die_is_reported(scans, model, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_work", killed_with_the_first_scan)
    outcomes = list(jobs.run(jobs_for(scans[:3], tmp_path), model, workers=2))
    faults = {outcome.job.scan: outcome.fault for outcome in outcomes}
    assert "its workers died, probably because the memory was full" in faults.pop(scans[0])
    assert list(faults.values()) == [None, None]


def killed_with_the_first_scan(job, model):
    if job.scan.name == "t2s0.nii.gz":
        os.kill(os.getpid(), signal.SIGKILL)
    return jobs.work(job, model)


LOCAL = """
import sys
from gmseg.cli import main
if __name__ == "__main__":
    main.main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_local_workers_end_with_the_command(scans, tmp_path, name):
    (tmp_path / "run.py").write_text(LOCAL)
    out = tmp_path / "o"
    command = [tmp_path / "run.py", "segment", *scans, "--out-dir", out, "--workers", "2"]
    words = [sys.executable, *map(str, command), "--tta", "100"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        family = psutil.Process(process.pid)
        while not out.exists():
            assert process.poll() is None
            time.sleep(0.05)
        workers = family.children(recursive=True)
        process.send_signal(getattr(signal, name))
        process.wait(timeout=30)
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert alive == []
        assert "Traceback" not in process.stderr.read()
    assert not out.exists()
