"""Commands leave nothing in the user's folders and use no network."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gmseg.io.resources import bundled

PROTOCOL = """
[network]
filters = 4
[windows]
size = 64
batch = 2
centre = "image"
[optimiser]
rate = 0.01
steps = 2
epoch = 1
validate_every = 2
[loss]
calibrate = false
"""
RUNS = {
    "segment": [
        "segment scan.nii.gz --soft --tta 2 --summary scan.json --report qc --strict",
        "segment scan.nii.gz second.nii.gz --out-dir two --workers 2",
    ],
    "measure": ["measure gm.nii.gz --tsv gm.tsv"],
    "report": ["report scan.nii.gz gm.nii.gz --out qc"],
    "movie": ["movie scan.nii.gz gm.nii.gz -o run.mp4"],
    "bids": ["bids raw out participant", "bids raw out group"],
    "models list": ["models list"],
    "models import": ["models import release.hdf5"],
    "models export": ["models export default --format onnx"],
    "evaluate": ["evaluate gm.nii.gz gm.nii.gz --tsv scores.tsv"],
    "train": ["train challenge --protocol tiny.toml --split site1-sc01 --out run"],
    "reproduce": ["reproduce challenge --protocol tiny.toml --out run"],
    "figures": ["figures pictures"],
    "phantom": ["phantom out"],
    "demo": ["demo"],
}
SLOW = {"reproduce", "figures"}  # they draw for half a minute
FROM_OUTSIDE = re.compile(r"XDG_|GMSEG_|DASK_|ORT_|KERAS_HOME|MPLCONFIGDIR|HOME$|TMPDIR$")
CALLS = "connect,sendto,sendmsg,sendmmsg,listen"


@pytest.fixture(scope="session")
def strace() -> str:
    """Return the path of strace, if it may trace here."""
    path = shutil.which("strace")
    works = path and not subprocess.run([path, "-qq", "true"], check=False, stderr=-3).returncode
    if not works:
        if os.environ.get("GMSEG_REQUIRE_STRACE") == "1":
            pytest.fail("GMSEG_REQUIRE_STRACE=1, but strace is missing or may not trace")
        pytest.skip("needs strace")
    return path


def traces(strace, folder, *command) -> tuple[str, list[Path], list[str]]:
    """Run a program; return its output, the files it leaves and its network calls."""
    places = {name: folder / name.lower() for name in ("HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    env = {key: value for key, value in os.environ.items() if not FROM_OUTSIDE.match(key)}
    env |= {key: str(place) for key, place in places.items()}
    env["GMSEG_MODELS"] = str(folder / "models")  # imported models are the user's wish
    log = folder / "calls.txt"
    options = ["-f", "--seccomp-bpf", "-qq", "-yy", "-e", f"trace={CALLS}", "-o", log]
    done = subprocess.run(
        [strace, *options, sys.executable, *command],
        cwd=folder / "work",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    left = [path for place in places.values() for path in place.rglob("*")]
    network = re.compile(r"AF_INET|listen\(\d+<(TCP|UDP)")
    calls = [line for line in log.read_text().splitlines() if network.search(line)]
    return f"{done.returncode}\n{done.stdout}\n{done.stderr}", left, calls


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    from release2017 import write_release

    from gmseg.datasets.phantom import write_challenge

    folder = tmp_path_factory.mktemp("inputs")
    scan = bundled("data/sample/phantom_t2s.nii.gz")
    shutil.copy(scan, folder / "scan.nii.gz")
    shutil.copy(scan, folder / "second.nii.gz")
    shutil.copy(bundled("data/sample/phantom_t2s_gm.nii.gz"), folder / "gm.nii.gz")
    raw = folder / "raw" / "sub-01" / "anat"
    raw.mkdir(parents=True)
    shutil.copy(scan, raw / "sub-01_T2starw.nii.gz")
    description = {"Name": "phantoms", "BIDSVersion": "1.9.0"}
    (folder / "raw" / "dataset_description.json").write_text(json.dumps(description))
    write_challenge(folder / "challenge", subjects=3, sites=1, raters=2, shape=(96, 96, 2))
    write_release(folder / "release.hdf5")
    (folder / "tiny.toml").write_text(PROTOCOL)
    return folder


def test_runs_cover_all_commands():
    from gmseg.cli import main

    with_network = {"sample"}  # as its help says
    assert {name.split()[0] for name in RUNS} | with_network == set(main.COMMANDS)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS]
)
def test_nothing_is_left_and_no_network_is_used(name, strace, inputs, tmp_path):
    shutil.copytree(inputs, tmp_path / "work")
    for words in RUNS[name]:
        output, left, calls = traces(strace, tmp_path, "-m", "gmseg", *words.split())
        assert output[0] in "03", output  # 3: a QC flag was raised
        assert left == [], words
        assert calls == [], words


INTRUDER = """
import pathlib, socket
pathlib.Path("~/id").expanduser().write_text("")
socket.socket(type=socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
socket.create_server(("127.0.0.1", 0)).close()
"""


def test_files_and_calls_are_noticed(strace, tmp_path):
    (tmp_path / "work").mkdir()
    _, left, calls = traces(strace, tmp_path, "-c", INTRUDER)
    assert [path.name for path in left] == ["id"]
    assert [line.split("(")[0].split()[-1] for line in calls] == ["connect", "listen"]


def test_settings_of_the_user_are_kept(monkeypatch, tmp_path):
    from gmseg.cli.process import temporary_settings

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "torch"}')
    with temporary_settings():
        assert os.environ["MPLCONFIGDIR"] == "mine"
        assert "KERAS_HOME" not in os.environ
