"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from typer import Option

INPUT = "Input"
METHOD = "Method"
OUTPUT = "Output"
QUALITY = "Quality control"
MANY = "Many scans"
GENERAL = "General"
GROUPS = (INPUT, METHOD, OUTPUT, QUALITY, MANY, GENERAL)
"""Groups of options in the help of a command, in this order."""

Model = Annotated[
    str,
    Option(
        metavar="NAME|FILE",
        help="A known model (gmseg models list), a model's JSON or weights file, or the .hdf5 "
        "file of the 2017 release.",
        rich_help_panel=METHOD,
    ),
]
Volume = Annotated[
    int | None,
    Option(metavar="K", help="Take volume K of a 4-D scan, counted from 0.", rich_help_panel=INPUT),
]
Mean = Annotated[
    bool, Option("--mean", help="Average the volumes of a 4-D scan.", rich_help_panel=INPUT)
]
Tta = Annotated[
    int,
    Option(
        metavar="N",
        min=0,
        max=1000,
        show_default="none",
        help="Test-time augmentation: average over N flipped, rotated and scaled copies of the "
        "scan, which takes N times as long. gmseg segment also writes their standard deviation, a "
        "measure of uncertainty (SCAN_gmspread.nii.gz).",
        rich_help_panel=METHOD,
    ),
]
Seed = Annotated[
    int,
    Option(
        metavar="S",
        min=0,
        max=2**32 - 1,
        help="Seed of the random numbers.",
        rich_help_panel=METHOD,
    ),
]
Workers = Annotated[
    int,
    Option(
        metavar="N",
        min=1,
        max=256,
        help="Segment N scans at a time, in N processes.",
        rich_help_panel=MANY,
    ),
]
Scheduler = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="Send the scans to the workers of a Dask scheduler, such as tls://node:8786, which "
        "have access to the same files. Dask's configuration sets up TLS; without it, whoever "
        "reaches the scheduler can run code as you (needs the extra cluster).",
        rich_help_panel=MANY,
    ),
]
Protocol = Annotated[
    str,
    Option(
        metavar="NAME|FILE.toml",
        help="Settings of the training: default, short, for fine-tuning (gmseg train --from); "
        "variety, from scratch with few labelled scans; paper2018, as in the paper on the GM "
        "Challenge 2016 (32,000 steps, days on a CPU); exvivo, as in the paper at 0.1 mm; or a "
        "file of your own.",
        rich_help_panel=METHOD,
    ),
]
Label = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Value of GM in the mask; needed unless the mask contains only 0 and 1.",
        rich_help_panel=INPUT,
    ),
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace files that exist.", rich_help_panel=OUTPUT)
]
Strict = Annotated[
    bool,
    Option("--strict", help="Exit with status 3 if a QC flag is raised.", rich_help_panel=QUALITY),
]
