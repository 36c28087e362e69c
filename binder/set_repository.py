"""Write the address of this repository wherever it is needed.

    python binder/set_repository.py https://github.com/NAME/gmseg

The address is the entry ``Repository`` of ``[project.urls]`` in pyproject.toml. This script changes
it there, and in the badges of Binder and Colab and the commands that install from it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
FILES = ("README.md", "notebooks/*.ipynb")
_ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")


def address() -> str:
    """Return the address of the repository from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def name_of(url: str) -> str:
    """Return OWNER/NAME of an address on GitHub."""
    return url.removeprefix("https://github.com/")


def replaced(text: str, old: str, new: str) -> str:
    """Return a text with one repository in place of another: in badges and in git+ addresses."""
    for before in (
        "mybinder.org/v2/gh/",
        "colab.research.google.com/github/",
        "git+https://github.com/",
    ):
        text = re.sub(rf"{re.escape(before + name_of(old))}(?![\w.-])", before + name_of(new), text)
    return text


def main(new: str) -> None:
    """Change the address everywhere."""
    if not _ADDRESS.fullmatch(new):
        sys.exit(f"{new}: is no address of a repository; give https://github.com/NAME/REPOSITORY")
    old = address()
    pyproject = ROOT / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    line = f'Repository = "{old}"'
    pyproject.write_text(text.replace(line, f'Repository = "{new}"'), encoding="utf-8")
    for pattern in FILES:
        for file in ROOT.glob(pattern):
            before = file.read_text(encoding="utf-8")
            if (after := replaced(before, old, new)) != before:
                file.write_text(after, encoding="utf-8")
                print(file.relative_to(ROOT))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
