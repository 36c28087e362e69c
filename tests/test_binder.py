"""The files that Binder builds from, checked without a container."""

import re
import runpy
import shutil
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
BADGE = re.compile(
    r"https://(?:mybinder\.org/v2|colab\.research\.google\.com/github)/[^\s)\"\\]+(?=\))"
)
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
    [url] = BADGE.findall(readme)
    path = unquote(url.split("filepath=")[1])
    assert path == "notebooks/challenge-opensource-model.ipynb"
    assert (ROOT / path).is_file()


@pytest.fixture
def script():
    return runpy.run_path(str(ROOT / "binder" / "set_repository.py"))


def test_all_badges_open_the_repository_of_pyproject(script):
    name = script["name_of"](PROJECT["urls"]["Repository"])
    assert name.endswith("/gmseg")
    assert name != "neuropoly/gmseg"  # the release of 2018
    places = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]
    badges = {place.name: BADGE.findall(place.read_text(encoding="utf-8")) for place in places}
    assert badges["README.md"]
    assert len(badges["train-gm-challenge.ipynb"]) == 2  # Binder and Colab
    for place, urls in badges.items():
        for url in urls:
            branch = f"blob/{script['BRANCH']}" if "colab" in url else script["BRANCH"]
            assert f"/{name}/{branch}" in url, url
            notebook = re.search(r"notebooks/[\w-]+\.ipynb", unquote(url))[0]
            assert (ROOT / notebook).is_file()
            assert place in {"README.md", Path(notebook).name}
    texts = "".join(place.read_text(encoding="utf-8") for place in places)
    assert set(re.findall(r"git\+https://github\.com/([\w.-]+/[\w.-]+)", texts)) == {name}


def test_the_address_is_set_in_all_places(script, tmp_path, monkeypatch):
    for name in ("pyproject.toml", "README.md", "notebooks/train-gm-challenge.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setitem(script["main"].__globals__, "ROOT", tmp_path)
    script["main"]("https://github.com/someone/gmseg-fork")
    texts = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.*")}
    assert 'Repository = "https://github.com/someone/gmseg-fork"' in texts["pyproject.toml"]
    assert "github.com/neuropoly/gmseg" in texts["README.md"]  # a link to the release stays
    for name in ("README.md", "train-gm-challenge.ipynb"):
        assert all("/someone/gmseg-fork/" in url for url in BADGE.findall(texts[name]))
    assert "git+https://github.com/someone/gmseg-fork" in texts["train-gm-challenge.ipynb"]
    with pytest.raises(SystemExit, match="is no address"):
        script["main"]("someone/gmseg")
