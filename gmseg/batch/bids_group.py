"""The group table of the BIDS App: one row per scan, from what the participant level wrote."""

from __future__ import annotations

import statistics
from pathlib import Path

from gmseg.batch import bids_derivatives
from gmseg.batch.bids_query import Scan
from gmseg.io.image_file import is_intact
from gmseg.morphometry.areas import COLUMNS, Column

_SCAN_COLUMNS = {
    "participant_id": Column("participant, as in participants.tsv"),
    "session_id": Column("session"),
    "acquisition": Column("label of the acquisition in the file name"),
    "run": Column("number of the run in the file name"),
    "source": Column("scan in the raw dataset; the first echo if there are several"),
}
MEASURE_COLUMNS = {
    name: column
    for name, column in COLUMNS.items()
    if (name.startswith(("slices", "gm_")) and "ratio" not in name)
    or name in ("cord_area_mm2", "wm_area_mm2", "gm_cord_ratio", "turn_deg", "obliqueness_deg")
}
"""Columns of the group table that are copied from the table of each scan."""

_RESULT_COLUMNS = {
    "expected_dice": Column("median of the expected Dice of the slices", "1"),
    "lowest_expected_dice": Column("lowest expected Dice of the slices", "1"),
    "flags": Column("names of the QC flags, or none; details are in the sidecar of the mask"),
    "model": Column("model that made the mask"),
    "gmseg_version": Column("version of gmseg that made the mask"),
    "problem": Column("reason why there is no mask"),
}
GROUP_COLUMNS = _SCAN_COLUMNS | MEASURE_COLUMNS | _RESULT_COLUMNS
"""Columns of the group table; areas are means over the slices with gray matter."""


def group_row(out_dir: Path, scan: Scan) -> dict:
    """Return a scan's row of the group table; unknown values are None.

    Raises
    ------
    gmseg.errors.InputError
        If the scan's table was not written by gmseg.

    Examples
    --------
    >>> scan = Scan(Path("raw"), (Path("raw/sub-01/anat/a.nii"),), {"sub": "01"}, "T2starw")
    >>> row = group_row(Path("no-such-folder"), scan)
    >>> row["participant_id"], row["problem"]
    ('sub-01', 'not segmented yet')
    """
    ids = {key: f"{key}-{scan.entities[key]}" for key in ("sub", "ses") if key in scan.entities}
    row = dict.fromkeys(GROUP_COLUMNS) | {
        "participant_id": ids["sub"],
        "session_id": ids.get("ses"),
        "acquisition": scan.entities.get("acq"),
        "run": scan.entities.get("run"),
        "source": scan.files[0].relative_to(scan.root).as_posix(),
    }
    sidecar = bids_derivatives.read_mask_sidecar(out_dir, scan)
    if sidecar is None:
        log = out_dir / bids_derivatives.log_path(scan)
        problem = log.read_text(encoding="utf-8") if log.exists() else "not segmented yet"
        return row | {"problem": problem.removeprefix(f"{row['source']}: ")}
    files = {kind: out_dir / file for kind, file in bids_derivatives.outputs(scan).items()}
    measures = bids_derivatives.last_row(files["table"])
    if measures is None or not is_intact(files["mask"]):
        return row | {"problem": "its files are incomplete; run the participant level again"}
    expected_dice = [dice for dice in sidecar.get("ExpectedDice", []) if dice is not None]
    return (
        row
        | {name: measures.get(name) for name in MEASURE_COLUMNS}
        | {
            "expected_dice": statistics.median(expected_dice) if expected_dice else None,
            "lowest_expected_dice": min(expected_dice, default=None),
            "flags": ",".join(flag["Name"] for flag in sidecar.get("Flags", [])) or "none",
            "model": sidecar.get("Model"),
            "gmseg_version": sidecar.get("GmsegVersion"),
        }
    )
