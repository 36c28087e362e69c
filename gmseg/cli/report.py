"""The command ``gmseg report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import exclude, say
from gmseg.cli.options import INPUT, OUTPUT, Label, Mean, Overwrite, Volume
from gmseg.errors import InputError

_Scan = Annotated[Path, Argument(metavar="SCAN", help="The scan.")]
_Mask = Annotated[Path, Argument(metavar="MASK", help="A mask on the scan's grid.")]
_Out = Annotated[
    Path,
    Option(
        metavar="DIR",
        help="Folder of the page; created if missing, otherwise the scan is added to it.",
        rich_help_panel=OUTPUT,
    ),
]
_Soft = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Soft segmentation (gmseg segment --soft), shown as a layer.",
        rich_help_panel=INPUT,
    ),
]
_Spread = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Standard deviation over the TTA copies (gmseg segment --tta), shown as a layer.",
        rich_help_panel=INPUT,
    ),
]
_Cord = Annotated[
    Path | None,
    Option(
        metavar="MASK",
        help="Cord mask: shows its outline and area, and the ratio of GM area to cord area.",
        rich_help_panel=INPUT,
    ),
]
_Summary = Annotated[
    Path | None,
    Option(
        metavar="FILE.json",
        help="Summary from gmseg segment --summary: adds all flags, the expected Dice, and how "
        "the mask was made.",
        rich_help_panel=INPUT,
    ),
]
_Name = Annotated[
    str | None,
    Option(
        metavar="TEXT",
        show_default="its file name",
        help="Name of the scan on the page.",
        rich_help_panel=OUTPUT,
    ),
]
_HeaderText = Annotated[
    bool,
    Option(
        "--header-text",
        help="Show the text fields of the header, which may contain names and dates.",
        rich_help_panel=OUTPUT,
    ),
]


def report(
    scan: _Scan,
    mask: _Mask,
    out: _Out,
    soft: _Soft = None,
    spread: _Spread = None,
    cord: _Cord = None,
    summary: _Summary = None,
    name: _Name = None,
    label: Label = None,
    volume: Volume = None,
    mean: Mean = False,
    header_text: _HeaderText = False,
    overwrite: Overwrite = False,
) -> int:
    """Add a scan and its mask to a page for quality control.

    A browser opens DIR/index.html from disk. It lists the scans with outlines, areas, flags and a
    viewer, and exports the QC ratings of the reviewer.

        gmseg report t2s.nii.gz t2s_gmseg.nii.gz --out qc
        gmseg report t2s.nii.gz t2s_gmseg.nii.gz --out qc --summary t2s.json
    """
    from gmseg.io import files
    from gmseg.report.qc_facts import find_summary
    from gmseg.report.qc_page import add_scan, scan_folder, write_index

    exclude(("--volume", "--mean", volume is not None and mean))
    for path in (scan, mask, soft, spread, cord, summary):
        if path is not None:
            files.check_input(path)
    if scan_folder(out, scan, name).exists() and not overwrite:
        raise InputError(f"{out}: has a page of {scan}; use --overwrite to replace it")
    add_scan(
        out,
        scan,
        mask,
        name=name,
        label=label,
        soft=soft,
        spread=spread,
        cord=cord,
        volume=volume,
        mean=mean,
        summary=find_summary(summary, scan, mask) if summary else None,
        command=["gmseg", *sys.argv[1:]],
        header_text=header_text,
    )
    say(write_index(out))
    return 0
