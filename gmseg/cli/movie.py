"""The command ``gmseg movie``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gmseg.cli.console import exclude, moves, warn
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option


def movie(
    scan: Annotated[
        Path, Argument(metavar="SCAN", help="The scan, of any length: it is read in parts.")
    ],
    mask: Annotated[
        Path, Argument(metavar="MASK", help="A mask on the scan's grid, such as SCAN_gmseg.nii.gz.")
    ],
    output: Annotated[
        Path,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The movie: .mp4 shows every slice; .gif and .webp, for pages, show 120 at most, evenly spread.",
        ),
    ],
    volume: Annotated[
        int | None, Option(metavar="K", help="Take volume K of a 4-D scan, counted from 0.")
    ] = None,
    mean: Annotated[bool, Option("--mean", help="Average the volumes of a 4-D scan.")] = False,
    overwrite: Overwrite = False,
) -> int:
    """Make a movie of a run through the cord, from foot to head.

    Each frame shows a slice with the mask's outline, the position on a side view, and the area
    along the cord so far. Few slices are shown 4 a second, many up to 60 a second.
    """
    from tqdm import tqdm

    from gmseg.report.movie import write_movie

    exclude(("--volume", "--mean", volume is not None and mean))
    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"  # a slice takes three steps
    with tqdm(desc=output.name, leave=False, disable=None, bar_format=shape) as bar:
        made = write_movie(
            scan, mask, output, volume=volume, mean=mean, overwrite=overwrite, progress=moves(bar)
        )
    seconds = made.frames / made.rate
    print(f"{made.file}  {made.frames} frames, {made.rate} a second, {seconds:.1f} s")
    for note in made.notes:
        warn(f"{scan}: {note}")
    return 0
