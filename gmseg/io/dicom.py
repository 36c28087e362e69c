"""Recognise DICOM files, which gmseg does not read."""

from __future__ import annotations

import os
import shlex
from itertools import islice
from pathlib import Path

_MOST_FILES = 200  # a folder of DICOM has hardly anything else


def is_dicom(path: Path, start: bytes) -> bool:
    """Return whether a file is DICOM, by its first 132 bytes or its name.

    Examples
    --------
    >>> is_dicom(Path("IM0001"), bytes(128) + b"DICM")
    True
    """
    return start[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".ima")


def contains_dicom(folder: Path) -> bool:
    """Return whether a folder or one of its sub-folders contains DICOM; 200 files are tried."""
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    for file in islice(files, _MOST_FILES):
        try:
            if not file.is_file():  # opening a pipe would wait
                continue
            with file.open("rb") as opened:
                if is_dicom(file, opened.read(132)):
                    return True
        except OSError:
            continue
    return False


def how_to_convert(folder: Path) -> str:
    """Return the command that converts a folder of DICOM to NIfTI.

    Examples
    --------
    >>> how_to_convert(Path("my scans"))
    "dcm2niix -z y -o . 'my scans'"
    """
    return f"dcm2niix -z y -o . {shlex.quote(str(folder))}"
