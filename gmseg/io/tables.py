"""Tables as in BIDS: tab-separated values, and a JSON sidecar that describes the columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmseg.errors import InputError, printable
from gmseg.io.files import atomic_paths

_DECIMALS = 4
_FORMULA = re.compile(
    r"(?![+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$)[\"=+@\-\uff1d\uff0b\uff0d\uff20].", re.IGNORECASE
)
"""A text that a spreadsheet would run as a formula, or unquote; but no number."""


class Column(NamedTuple):
    """Description of a column, and its unit."""

    description: str
    unit: str = ""


def as_tsv(rows: Sequence[Mapping[str, Any]], *, significant: int | None = None) -> str:
    r"""Return rows as tab-separated values, after a line with the names of the columns.

    Parameters
    ----------
    rows : sequence of dict
        At least one, all with the same keys, which are the names of the columns.
    significant : int, optional
        Significant digits of floats. By default they have at most four decimals.

    Returns
    -------
    str
        None, NaN, infinite values and empty text are ``n/a``. Trailing zeros are left out.
        Runs of spaces, tabs and line breaks in a text become one space, so nothing is quoted.
        Control characters become escapes. A text that a spreadsheet would run as a formula
        (a file called ``=1+1.nii``) gets an apostrophe in front.

    Examples
    --------
    >>> rows = [{"slice": 0, "area": 12.34567}, {"slice": 1, "area": float("nan")}]
    >>> as_tsv(rows)
    'slice\tarea\n0\t12.3457\n1\tn/a\n'
    >>> as_tsv(rows[:1], significant=3)
    'slice\tarea\n0\t12.3\n'
    """
    lines = [list(rows[0])]
    lines += [[cell(value, significant=significant) for value in row.values()] for row in rows]
    return "".join("\t".join(line) + "\n" for line in lines)


def cell(value, *, significant: int | None = None) -> str:
    """Return one value as `as_tsv` writes it.

    Examples
    --------
    >>> cell(0.50001), cell(4.0), cell(None), cell(1 / 3, significant=6)
    ('0.5', '4', 'n/a', '0.333333')
    >>> cell("=1+1.nii"), cell("-0.5")
    ("'=1+1.nii", '-0.5')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if not isinstance(value, float):
        text = printable(" ".join(str(value).split()))
        return f"'{text}" if _FORMULA.match(text) else text or "n/a"
    if significant is not None:
        return f"{value:.{significant}g}"
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def write_table(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Column],
    *,
    overwrite: bool = True,
) -> None:
    """Write a table and its sidecar, both completely or neither.

    Parameters
    ----------
    file : pathlib.Path
        Ends in ``.tsv``.
    rows : sequence of dict
        See `as_tsv`.
    columns : dict of str to Column
        All columns that `rows` may have.
    overwrite : bool
        Whether existing files may be replaced.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "areas.tsv")
    ...     write_table(file, [{"area_mm2": 12.5}], {"area_mm2": Column("area of GM", "mm^2")})
    ...     json.loads(sidecar_of(file).read_text())
    {'area_mm2': {'Description': 'area of GM', 'Units': 'mm^2'}}
    """
    sidecar = {}
    for name in rows[0]:
        sidecar[name] = {"Description": columns[name].description}
        if columns[name].unit:
            sidecar[name]["Units"] = columns[name].unit
    with atomic_paths([file, sidecar_of(file)], overwrite=overwrite) as (table, description):
        table.write_text(as_tsv(rows), encoding="utf-8")
        description.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def sidecar_of(file: Path) -> Path:
    """Return the path of the JSON file that describes a table's columns.

    Examples
    --------
    >>> sidecar_of(Path("t2s_gmseg.tsv")).name
    't2s_gmseg.json'
    """
    return file.with_suffix(".json")


def check_sidecar(file: Path, columns: Mapping[str, Column]) -> None:
    """Refuse a table whose sidecar would replace a JSON file of another kind, such as a scan's.

    Parameters are those of `write_table`.

    Raises
    ------
    gmseg.errors.InputError
        If the sidecar exists and describes anything but these columns.
    """
    sidecar = sidecar_of(file)
    try:
        existing = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        existing = None
    if not (isinstance(existing, dict) and existing and set(existing) <= set(columns)):
        raise InputError(
            f"{sidecar}: exists and does not describe a table; choose another name than {file.name}"
        )
