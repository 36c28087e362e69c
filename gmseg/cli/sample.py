"""The command ``gmseg sample``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from typer import Option

from gmseg.cli.console import advance, note, progress_bar, say
from gmseg.cli.options import OUTPUT, Overwrite

_OutDir = Annotated[
    Path, Option(metavar="DIR", help="Folder to write; created if missing.", rich_help_panel=OUTPUT)
]


def sample(out_dir: _OutDir = Path("gmseg-sample"), overwrite: Overwrite = False) -> int:
    """Download an open scan of a healthy subject, with its reference.

    The scan (1.5 MB, CC0) is from the 2018 GM imaging challenge. It is kept in the user's cache and
    copied to the folder. The default model was trained on it.

        gmseg sample
        gmseg sample --out-dir scans
    """
    from gmseg.datasets import fetch_sample
    from gmseg.io.files import atomic_path, check_folder, check_output, sha256

    check_folder(out_dir)
    with progress_bar(desc="download", unit="B", unit_scale=True) as bar:
        fetched = fetch_sample(progress=advance(bar))
    out_dir.mkdir(parents=True, exist_ok=True)
    copies = [out_dir / file.name for file in fetched]
    missing = [
        (file, copy)
        for file, copy in zip(fetched, copies, strict=True)
        if not copy.is_file() or sha256(copy) != sha256(file)
    ]
    for _, copy in missing:
        check_output(copy, overwrite=overwrite)
    for file, copy in missing:
        with atomic_path(copy) as temporary:
            shutil.copyfile(file, temporary)
    scan, reference = copies
    say(f"scan       {scan}", f"reference  {reference}")
    note(f"next: gmseg segment {scan}")
    return 0
