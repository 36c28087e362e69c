"""The locked versions fit what the package allows, and every import is declared."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINUX = default_environment() | {"sys_platform": "linux", "platform_machine": "x86_64"}
# versions in which vulnerabilities of the packages are fixed that were known in November 2026
SAFE = {
    "pillow": "12.3",
    "tqdm": "4.66.3",
    "onnx": "1.22",
    "keras": "3.14.1",
    "torch": "2.10",
    "requests": "2.33",
    "notebook": "7.5.6",
}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("gmseg[")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, Version]:
    """Return the locked versions for this Python on Linux."""
    text = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8")
    pins = [Requirement(line.rstrip(" \\")) for line in re.findall(r"^\w.*$", text, re.MULTILINE)]
    return {
        normal(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(LINUX)
    }


def test_the_lock_has_an_allowed_version_of_every_requirement():
    pins = locked()
    outside = {"torch", "ipyniivue"}  # .ci/run names its release; CI does not install the viewer
    for requirement in requirements():
        if requirement.marker and not requirement.marker.evaluate(LINUX):
            continue
        if requirement.name not in outside:
            assert pins[normal(requirement.name)] in requirement.specifier, "run make lock"


def test_every_locked_package_has_a_hash():
    text = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_lowest_versions_have_no_known_vulnerability():
    lowest = {
        requirement.name: min(
            Version(part.version) for part in requirement.specifier if part.operator == ">="
        )
        for requirement in requirements()
    }
    assert {name: str(lowest[name]) for name in SAFE if lowest[name] < Version(SAFE[name])} == {}


def test_imported_packages_are_declared():
    imported = set()
    for file in (ROOT / "gmseg").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    imported -= {"gmseg", *sys.stdlib_module_names}
    declared = {normal(requirement.name) for requirement in requirements()}
    providers = metadata.packages_distributions()
    undeclared = {
        name
        for name in imported
        if name in providers
        and not {re.sub(r"[-_.]+", "-", provider).lower() for provider in providers[name]}
        & declared
    }
    assert undeclared == set()
