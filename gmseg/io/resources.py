"""Find the files that travel with the package, and which version of it this is."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled(relative: str) -> Path:
    """Return the path of a file or folder that travels with the package.

    Parameters
    ----------
    relative : str
        As seen from the repository's top level, for example ``"models"`` or
        ``"data/sample/phantom_t2s.nii.gz"``.

    Returns
    -------
    pathlib.Path
        Inside the installed package, or in the clone it was installed from with ``-e``.
    """
    installed = _PACKAGE / "_bundled"
    return (installed if installed.is_dir() else _PACKAGE.parent) / relative


def commit() -> str:
    """Return the commit of the clone that runs, or the version of an installed package."""
    place = _PACKAGE.parent
    if (place / ".git").exists():
        command = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return f"gmseg {metadata.version('gmseg')}"
