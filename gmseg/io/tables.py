"""Tables as BIDS has them: TSV with ``n/a``, and a JSON file beside it that tells the columns."""

from __future__ import annotations

import json
import math
from pathlib import Path

from gmseg.errors import InputError
from gmseg.io.files import write_text

DIGITS = 4


def sidecar_of(file: Path) -> Path:
    """Return the JSON file that tells a table's columns."""
    return file.with_suffix(".json")


def check_sidecar(file: Path, columns: dict) -> None:
    """Refuse a table whose sidecar's name something else has, as a scan's own does."""
    sidecar = sidecar_of(file)
    try:
        there = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        there = None
    if not (isinstance(there, dict) and there and set(there) <= set(columns)):
        raise InputError(
            f"{sidecar}: exists, and tells no columns of a table; name the table otherwise than "
            f"{file.name}"
        )


def write_table(file: Path, rows: list[dict], columns: dict) -> None:
    """Write a table and its sidecar, each whole or not at all.

    Parameters
    ----------
    file : pathlib.Path
        Ends in ``.tsv``.
    rows : list of dict
        All with the same keys.
    columns : dict
        Name to an object with ``description`` and ``unit``, of all columns that there may be.
    """
    write_text(sidecar_of(file), json.dumps(told(list(rows[0]), columns), indent=2) + "\n")
    write_text(file, as_tsv(rows))


def as_tsv(rows: list[dict]) -> str:
    """Return rows as text, a line each, after a line of the columns' names."""
    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def told(names: list[str], columns: dict) -> dict:
    """Return what a sidecar says of columns."""
    return {
        name: {"Description": columns[name].description}
        | ({"Units": columns[name].unit} if columns[name].unit else {})
        for name in names
    }


def cell(value) -> str:
    """Return a value as it stands in a table; what is not known is ``n/a``."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, float):
        return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
    return " ".join(str(value).split()) or "n/a"  # a tab or a line's end would break the table
