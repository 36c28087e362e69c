"""The container recipes: what they copy and start; their install steps, without an engine."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from bids_dataset import check_valid, write_description

from gmseg.io.resources import bundled

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8")
RECIPE = (ROOT / "containers" / "apptainer.def").read_text(encoding="utf-8")


def instructions(name):
    return re.findall(rf"^{name} +(.+)$", DOCKERFILE, re.MULTILINE)


def section(name):
    return re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", RECIPE, re.MULTILINE | re.DOTALL)[1]


def copied_by_docker():
    copies = [line.split() for line in instructions("COPY") if not line.startswith("--from")]
    return {source for *sources, _ in copies for source in sources}


def test_both_recipes_copy_and_run_the_same():
    copied = dict(line.split() for line in section("files").splitlines() if line.strip())
    assert set(copied) == copied_by_docker()
    assert [source for source, target in copied.items() if target != f"/src/{source}"] == []
    assert "sh containers/install.sh /opt/gmseg" in instructions("RUN")
    assert "sh /src/containers/install.sh /opt/gmseg" in section("post")
    assert set(re.findall(r"^From: *(\S+)", RECIPE, re.MULTILINE)) == {
        line.split()[0] for line in instructions("FROM")
    }


def test_they_copy_all_that_the_wheel_is_built_from():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]
    copied = copied_by_docker()
    assert {path.split("/")[1] for path in wheel} <= copied
    assert {project["project"]["readme"], "LICENSE", "pyproject.toml"} <= copied
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_entry_point_is_the_bids_app_and_the_user_is_not_root():
    assert [json.loads(line) for line in instructions("ENTRYPOINT")] == [["gmseg", "bids"]]
    assert section("runscript").strip() == 'exec gmseg bids "$@"'
    [user] = instructions("USER")
    assert "0" not in user.split(":")
    assert user.split(":")[0].isdigit()  # Kubernetes can only check a number


@pytest.mark.slow  # installs packages with pip
def test_installed_by_their_steps_the_entry_point_segments_a_dataset(tmp_path):
    source, prefix = tmp_path / "src", tmp_path / "opt"
    for name in copied_by_docker():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source / name)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(["sh", source / "containers/install.sh", prefix], check=True, env=keep)
    shutil.rmtree(source)
    packages = {path.name.split("-")[0].lower() for path in prefix.glob("lib/*/*/*.dist-info")}
    assert {"gmseg", "onnxruntime", "pybids"} <= packages
    assert not {"tensorflow", "keras", "notebook", "torch"} & packages

    raw, out_dir = tmp_path / "raw", tmp_path / "out"
    write_description(raw, Authors=["A", "B"], License="CC0")
    scan = raw / "sub-01/anat/sub-01_T2starw.nii.gz"
    scan.parent.mkdir(parents=True)
    shutil.copy(bundled("data/sample/phantom_t2s.nii.gz"), scan)
    (tmp_path / "home").mkdir()
    env = {"HOME": str(tmp_path / "home"), "PATH": f"{prefix / 'bin'}{os.pathsep}{os.defpath}"}
    [entry_point] = map(json.loads, instructions("ENTRYPOINT"))
    entry_point[0] = str(prefix / "bin" / entry_point[0])
    for level in ("participant", "group"):
        subprocess.run([*entry_point, raw, out_dir, level], check=True, env=env, timeout=300)
    assert (out_dir / "sub-01/anat/sub-01_space-orig_label-GM_mask.nii.gz").is_file()
    assert list((tmp_path / "home").iterdir()) == []
    check_valid(out_dir, allowed=["TOO_FEW_AUTHORS"])
