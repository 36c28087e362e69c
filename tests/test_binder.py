"""What Binder builds from, as far as it can be checked without a container."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]


def test_it_installs_what_pip_requirements_installs():
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    [line, viewer] = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [viewer] == project["optional-dependencies"]["viewer"]
    bridge = line.removeprefix("-r ")
    # pip takes a nested file relative to the file that names it
    assert (ROOT / "binder" / bridge).resolve() == ROOT / "pip-requirements.txt"


def test_its_python_is_one_of_ours():
    version = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version in SpecifierSet(project["requires-python"])


def test_the_badge_opens_the_first_notebook():
    [url] = re.findall(r"https://mybinder\.org/v2/\S+?(?=\))", (ROOT / "README.md").read_text())
    path = unquote(url.split("filepath=")[1])
    assert path == "notebooks/challenge-opensource-model.ipynb"
    assert (ROOT / path).is_file()
