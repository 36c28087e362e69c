"""The command ``gmseg movie``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import advance, exclude, progress_bar, say, warn
from gmseg.cli.options import OUTPUT, Label, Mean, Overwrite, Volume

_Scan = Annotated[Path, Argument(metavar="SCAN", help="A scan of any length; it is read in parts.")]
_Mask = Annotated[
    Path, Argument(metavar="MASK", help="A mask on the scan's grid, such as SCAN_gmseg.nii.gz.")
]
_Output = Annotated[
    Path,
    Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The movie: .mp4 shows every slice; .gif and .webp, for web pages, at most 120 evenly "
        "spaced slices.",
        rich_help_panel=OUTPUT,
    ),
]


def movie(
    scan: _Scan,
    mask: _Mask,
    output: _Output,
    label: Label = None,
    volume: Volume = None,
    mean: Mean = False,
    overwrite: Overwrite = False,
) -> int:
    """Make a movie through the slices, from inferior to superior.

    Each frame shows a slice with the outline of the mask, its position on a side view, and the
    area along the cord up to this slice. Few slices are shown at 4 frames per second, many at up
    to 60.

        gmseg movie t2s.nii.gz t2s_gmseg.nii.gz -o t2s.mp4
        gmseg movie t2s.nii.gz t2s_gmseg.nii.gz -o t2s.gif
    """
    from gmseg.report.movie import write_movie

    exclude(("--volume", "--mean", volume is not None and mean))
    bar_format = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with progress_bar(desc=output.name, bar_format=bar_format) as bar:
        made = write_movie(
            scan,
            mask,
            output,
            volume=volume,
            mean=mean,
            label=label,
            overwrite=overwrite,
            progress=advance(bar),
        )
    seconds = made.frames / made.rate
    say(f"{made.file}  {made.frames} frames, {made.rate} per second, {seconds:.1f} s")
    for message in made.notes:
        warn(f"{scan}: {message}")
    return 0
