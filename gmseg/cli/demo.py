"""The commands ``gmseg phantom`` and ``gmseg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option


def phantom(
    folder: Annotated[Path, Argument(metavar="DIR")],
    subjects: Annotated[int, Option(metavar="N", min=1, help="Per site.")] = 1,
    seed: Annotated[int, Option(metavar="S", min=0, max=2**32 - 1)] = 0,
    overwrite: Overwrite = False,
) -> int:
    """Make up cord phantoms with known truth, laid out as the GM challenge's data."""
    from gmseg.datasets.phantom import write_challenge

    written = write_challenge(folder, subjects=subjects, seed=seed, overwrite=overwrite)
    print(f"{folder}  {len(written)} files")
    return 0


def demo(
    out_dir: Annotated[Path, Option(metavar="DIR", help="Created if missing.")] = Path(
        "gmseg-demo"
    ),
    overwrite: Overwrite = False,
) -> int:
    """Segment the sample that travels with gmseg, and show the result."""
    from gmseg.cli.demo_run import run_demo

    for line in run_demo(out_dir, overwrite=overwrite):
        print(line)
    return 0
