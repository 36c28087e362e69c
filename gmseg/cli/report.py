"""The command ``gmseg report``: a page to judge masks by eye."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from gmseg.cli.console import exclude
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option
from gmseg.errors import InputError


def report(
    scan: Annotated[Path, Argument(metavar="SCAN")],
    mask: Annotated[Path, Argument(metavar="MASK", help="On the scan's grid.")],
    out: Annotated[
        Path,
        Option(
            metavar="DIR",
            help="The report's folder; created if missing, else the scan is added to it.",
        ),
    ],
    soft: Annotated[
        Path | None,
        Option(metavar="FILE", help="The soft segmentation (gmseg segment --soft), as a layer."),
    ] = None,
    spread: Annotated[
        Path | None,
        Option(metavar="FILE", help="Where copies disagree (gmseg segment --tta), as a layer."),
    ] = None,
    summary: Annotated[
        Path | None,
        Option(
            metavar="FILE.json",
            help="What gmseg segment --summary wrote: all flags, expected_dice, how the mask was made.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        Option(
            metavar="TEXT",
            help="What to call the scan. [default: its file's name, without folders]",
        ),
    ] = None,
    volume: Annotated[
        int | None, Option(metavar="K", help="Take volume K of a 4-D scan, counted from 0.")
    ] = None,
    mean: Annotated[bool, Option("--mean", help="Average the volumes of a 4-D scan.")] = False,
    header_text: Annotated[
        bool,
        Option(
            "--header-text", help="Show the header's text fields, where names and dates can hide."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> int:
    """Add a scan and its mask to a page that a browser opens from disk, to judge masks by eye.

    DIR/index.html lists the scans: outlines, areas, flags, a viewer, verdicts and their export.
    """
    from gmseg.io import files
    from gmseg.report.qc_facts import find_summary
    from gmseg.report.qc_page import add_scan, scan_folder, write_index

    exclude(("--volume", "--mean", volume is not None and mean))
    given = [path for path in (scan, mask, soft, spread, summary) if path is not None]
    for path in given:
        files.check_input(path)
    if scan_folder(out, scan, name).exists() and not overwrite:
        raise InputError(f"{out}: has a page of {scan}; use --overwrite to replace it")
    add_scan(
        out,
        scan,
        mask,
        name=name,
        soft=soft,
        spread=spread,
        volume=volume,
        mean=mean,
        summary=summary and find_summary(summary, scan, mask),
        command=["gmseg", *sys.argv[1:]],
        header_text=header_text,
    )
    print(write_index(out))
    return 0
