"""The files that Binder builds from, checked without a container."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_installs_pip_requirements_and_the_viewer():
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    [requirements, viewer] = [line for line in lines if line and not line.startswith("#")]
    assert [viewer] == PROJECT["optional-dependencies"]["viewer"]
    # pip resolves a nested file from the folder of the file that names it
    nested = (ROOT / "binder" / requirements.removeprefix("-r ")).resolve()
    assert nested == ROOT / "pip-requirements.txt"


def test_its_python_is_supported():
    version = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert version.removeprefix("python-") in SpecifierSet(PROJECT["requires-python"])


def test_the_badge_opens_the_first_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [url] = re.findall(r"https://mybinder\.org/v2/\S+?(?=\))", readme)
    path = unquote(url.split("filepath=")[1])
    assert path == "notebooks/challenge-opensource-model.ipynb"
    assert (ROOT / path).is_file()
