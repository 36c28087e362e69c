"""The wheel, installed elsewhere, segments the sample that it contains."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from gmseg.models.registry import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd):
    """Run a command that must succeed, without the Python settings of this process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel, which `build` makes from the sdist: so this tests the sdist, too."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert len(list(folder.glob("gmseg-*.tar.gz"))) == 1
    [path] = folder.glob("gmseg-*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """Return the scripts folder of an environment with the wheel; other packages are borrowed."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(scheme="venv", vars={"base": str(home), "platbase": str(home)})
    python = Path(paths["scripts"], "python")
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=home)
    # A folder named in a .pth file comes after the environment's own packages, and .pth files
    # in it (of an editable gmseg) are not read.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(paths["purelib"], "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return python.parent


def test_wheel_has_the_package_and_its_data_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    bundled = {n for n in names if n.startswith("gmseg/_bundled/")}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gmseg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names - bundled == package
    assert {"gmseg/py.typed", "gmseg/__init__.pyi", "gmseg/core/network.py"} <= names
    assert {"gmseg/report/assets/index.html", "gmseg/report/assets/niivue.umd.js"} <= names


def test_wheel_has_the_default_model_the_protocols_and_the_sample(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    prefix = "gmseg/_bundled/"
    bundled = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
    assert {n.split("/")[0] for n in bundled} == {"models", "data"}
    assert {f"models/{DEFAULT_MODEL}{end}" for end in (".json", ".weights.h5", ".onnx")} <= bundled
    protocols = {p.relative_to(ROOT).as_posix() for p in (ROOT / "models").glob("protocols/*")}
    assert protocols
    assert protocols <= bundled
    assert "data/sample/phantom_t2s.nii.gz" in bundled
    weights = {n.removesuffix(".weights.h5") for n in bundled if n.endswith(".weights.h5")}
    assert weights <= {n.removesuffix(".json") for n in bundled}
    assert "published" not in " ".join(bundled)  # these weights are downloaded, never shipped


def test_installed_wheel_segments_its_sample_from_another_folder(scripts, tmp_path):
    program = "import gmseg; from gmseg.io.resources import bundled; print(gmseg.__file__); "
    program += "print(bundled('data/sample/phantom_t2s.nii.gz'))"
    module, sample = run(scripts / "python", "-c", program, cwd=tmp_path).splitlines()
    home = scripts.parent.resolve()
    assert Path(module).resolve().is_relative_to(home)
    assert Path(sample).resolve().is_relative_to(home)

    scan = Path(shutil.copy(sample, tmp_path))
    run(scripts / "gmseg", "segment", scan.name, cwd=tmp_path)
    assert (tmp_path / "phantom_t2s_gmseg.nii.gz").stat().st_size > 0
