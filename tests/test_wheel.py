"""The wheel, installed elsewhere, segments the sample that travels in it."""

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


def call(*command, cwd):
    """Run a command that must succeed, away from this process' Python settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the sdist, which `build` makes first: so the sdist holds all that it must."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert len(list(folder.glob("gmseg-*.tar.gz"))) == 1
    [path] = folder.glob("gmseg-*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """An environment's ``bin`` with the wheel alone; other packages are lent, not downloaded."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(scheme="venv", vars={"base": str(home), "platbase": str(home)})
    python = Path(paths["scripts"], "python")
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    call(sys.executable, "-m", "pip", "--python", python, *install, cwd=home)
    # A folder named in a .pth file comes after the environment's own packages, and .pth files
    # within it (an editable gmseg's) are not read.
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(paths["purelib"], "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    return python.parent


def test_wheel_holds_the_package_its_model_protocols_and_sample_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    code = [n for n in names if n.endswith(".py")]
    bundled = [n.removeprefix("gmseg/_bundled/") for n in names if n.startswith("gmseg/_bundled/")]
    info = [n for n in names if n.split("/")[0].endswith(".dist-info")]

    on_disk = (ROOT / "gmseg").rglob("*.py")
    assert sorted(code) == sorted(p.relative_to(ROOT).as_posix() for p in on_disk)
    assert "data/sample/phantom_t2s.nii.gz" in bundled
    assert {f"models/{DEFAULT_MODEL}.json", f"models/{DEFAULT_MODEL}.weights.h5"} <= set(bundled)
    protocols = {p.relative_to(ROOT).as_posix() for p in (ROOT / "models").glob("protocols/*")}
    assert protocols
    assert protocols <= set(bundled)
    weights = {n.removesuffix(".weights.h5") for n in bundled if n.endswith(".weights.h5")}
    assert weights <= {n.removesuffix(".json") for n in bundled}
    assert {n.split("/")[0] for n in bundled} == {"models", "data"}
    extra = set(names) - set(code) - set(info) - {f"gmseg/_bundled/{n}" for n in bundled}
    assert not {
        n for n in extra if n != "gmseg/py.typed" and not n.startswith("gmseg/report/assets/")
    }
    assert {"index.html", "page.js", "niivue.umd.js", "niivue-licences.txt"} <= {
        n.removeprefix("gmseg/report/assets/") for n in extra
    }
    assert "published" not in " ".join(bundled)  # these weights are downloaded, never shipped


def test_installed_wheel_segments_its_sample_from_another_folder(elsewhere, tmp_path):
    where = "import gmseg; from gmseg.io.resources import bundled; print(gmseg.__file__); "
    where += "print(bundled('data/sample/phantom_t2s.nii.gz'))"
    module, sample = call(elsewhere / "python", "-c", where, cwd=tmp_path).splitlines()
    home = elsewhere.parent.resolve()
    assert Path(module).resolve().is_relative_to(home)
    assert Path(sample).resolve().is_relative_to(home)

    scan = Path(shutil.copy(sample, tmp_path))
    call(elsewhere / "gmseg", "segment", scan.name, cwd=tmp_path)
    assert (tmp_path / "phantom_t2s_gmseg.nii.gz").stat().st_size > 0
