"""The command ``gmseg phantom``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import say
from gmseg.cli.options import METHOD, Overwrite, Seed

_Folder = Annotated[Path, Argument(metavar="DIR", help="Folder to write; created if missing.")]
_Subjects = Annotated[
    int, Option(metavar="N", min=1, help="Subjects per site.", rich_help_panel=METHOD)
]


def phantom(
    folder: _Folder, subjects: _Subjects = 1, seed: Seed = 0, overwrite: Overwrite = False
) -> int:
    """Write synthetic phantoms of the cord with reference masks.

    The files have the names and the layout of the GM Challenge's data.

        gmseg phantom phantoms --subjects 3
        gmseg reproduce phantoms --model default --out reproduced
    """
    from gmseg.datasets.phantom import write_challenge

    written = write_challenge(folder, subjects=subjects, seed=seed, overwrite=overwrite)
    say(f"{folder}  {len(written)} files")
    return 0
