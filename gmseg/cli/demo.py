"""The command ``gmseg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from gmseg.cli.console import say
from gmseg.cli.options import OUTPUT, Overwrite

_OutDir = Annotated[
    Path, Option(metavar="DIR", help="Folder to write; created if missing.", rich_help_panel=OUTPUT)
]


def demo(out_dir: _OutDir = Path("gmseg-demo"), overwrite: Overwrite = False) -> int:
    """Segment the sample that comes with gmseg.

    Writes the mask and a picture of it, and compares the mask with the reference.

        gmseg demo
        gmseg demo --out-dir demo
    """
    from gmseg.report.demo import run_demo

    result = run_demo(out_dir, overwrite=overwrite)
    areas = ", ".join(f"{area:.1f}" for area in result.summary.area_mm2)
    say(f"mask      {result.mask_file}")
    say(f"picture   {result.picture_file}")
    say(f"Dice      {result.dice:.3f} with the reference of this synthetic phantom")
    say(f"area      {areas} mm^2, slice by slice")
    say(f"time      {result.summary.seconds:.1f} s, including loading the network")
    return 0
