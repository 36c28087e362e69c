"""The files for GitHub and Zenodo agree with the package."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_zenodo_citation_and_package_agree():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    citation = read_yaml("CITATION.cff")
    for key in ("title", "version", "license", "keywords"):
        assert zenodo[key] == citation[key], key
    assert [author["name"] for author in zenodo["creators"]] == [
        author["name"] for author in citation["authors"]
    ]
    assert zenodo["version"] == PROJECT["version"]
    assert zenodo["license"] == PROJECT["license"]
    assert zenodo["description"] == PROJECT["description"]
    paper = citation["preferred-citation"]
    assert [entry["identifier"] for entry in zenodo["related_identifiers"]] == [
        paper["doi"],
        paper["identifiers"][0]["value"],
    ]


def test_workflow_covers_systems_pythons_and_both_ends_of_the_versions():
    matrix = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    prefix = "Programming Language :: Python :: 3."
    supported = {c.split(":: ")[-1] for c in PROJECT["classifiers"] if c.startswith(prefix)}
    assert set(matrix["python"]) == supported
    assert set(matrix["dependencies"]) == {"newest", "lowest"}
    assert {entry["dependencies"] for entry in matrix["include"]} == set(matrix["dependencies"])


def test_smoke_tests_exist():
    names = (ROOT / ".ci" / "smoke.txt").read_text(encoding="utf-8").split()
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("form", ["bug.yml", "request.yml"])
def test_issue_forms_warn_about_patient_data(form):
    fields = read_yaml(f".github/ISSUE_TEMPLATE/{form}")["body"]
    assert "No patient data" in fields[0]["attributes"]["value"]


def test_bug_form_asks_for_command_geometry_and_version():
    fields = read_yaml(".github/ISSUE_TEMPLATE/bug.yml")["body"]
    required = {f["id"] for f in fields if f.get("validations", {}).get("required")}
    assert {"command", "geometry", "version"} <= required
