"""Find the files that travel with the package: models, protocols, the sample."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


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
