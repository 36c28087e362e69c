"""Find the files that are shipped with the package, and its version."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled(relative: str) -> Path:
    """Return the path of a file or folder that is shipped with the package.

    Parameters
    ----------
    relative : str
        Path from the top level of the repository, for example ``"models"`` or
        ``"data/sample/phantom_t2s.nii.gz"``.

    Returns
    -------
    pathlib.Path
        Inside the installed package, or in the clone that it was installed from with ``-e``.

    Examples
    --------
    >>> bundled("models/default.json").is_file()
    True
    """
    installed = _PACKAGE / "_bundled"
    return (installed if installed.is_dir() else _PACKAGE.parent) / relative


def commit() -> str:
    """Return the commit of the clone in use, or the version of an installed package."""
    place = _PACKAGE.parent
    if (place / ".git").exists():
        command = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return f"gmseg {metadata.version('gmseg')}"
