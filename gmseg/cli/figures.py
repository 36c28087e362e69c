"""The command ``gmseg figures``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import say, stage_bars
from gmseg.cli.options import INPUT, Overwrite

_Folder = Annotated[Path, Argument(metavar="DIR", help="Folder to write; created if missing.")]
_Dataset = Annotated[
    Path | None,
    Option(
        metavar="DATASET",
        show_default="synthetic phantoms",
        help="GM Challenge or BIDS folder whose scans are shown.",
        rich_help_panel=INPUT,
    ),
]


def figures(folder: _Folder, dataset: _Dataset = None, overwrite: Overwrite = False) -> int:
    """Draw the figures of the paper, as PNG and PDF.

    The table and the box plots show the cross-validation on open scans that comes with gmseg;
    gmseg reproduce draws those of the GM Challenge.

        gmseg figures paper-figures
        gmseg figures paper-figures --dataset CHALLENGE_DIR
    """
    from gmseg.paper.figures import PAGE, make_figures

    with stage_bars() as progress:
        files = make_figures(
            folder, dataset=dataset, overwrite=overwrite, progress=partial(progress, "drawing")
        )
    say(f"{folder / PAGE}  {len(files)} files")
    return 0
