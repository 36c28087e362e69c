"""The command ``gmseg bids``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import exclude, fail, fail_internally, note, progress_bar, say, warn
from gmseg.cli.options import (
    INPUT,
    Mean,
    Model,
    Overwrite,
    Scheduler,
    Seed,
    Strict,
    Tta,
    Volume,
    Workers,
)


class Level(StrEnum):
    """Level of a BIDS App."""

    participant = "participant"
    group = "group"


_BidsDir = Annotated[Path, Argument(metavar="BIDS_DIR", help="The dataset, which is only read.")]
_OutDir = Annotated[
    Path,
    Argument(
        metavar="OUT_DIR",
        help="Folder of the derivatives, such as BIDS_DIR/derivatives/gmseg; created if missing.",
    ),
]
_Level = Annotated[
    Level,
    Argument(
        metavar="participant|group",
        help="Segment the scans; or write a table and a QC page of all that are segmented.",
    ),
]
_Participants = Annotated[
    list[str] | None,
    Option(
        "--participant-label",
        "--participant_label",
        metavar="LABEL...",
        help="Only these participants: 01 02, or sub-01 sub-02.",
        rich_help_panel=INPUT,
    ),
]
_Sessions = Annotated[
    list[str] | None,
    Option("--session", metavar="LABEL...", help="Only these sessions.", rich_help_panel=INPUT),
]
_Acquisitions = Annotated[
    list[str] | None,
    Option(
        "--acquisition",
        metavar="LABEL...",
        help="Only these acquisitions: MEDIC, MERGE.",
        rich_help_panel=INPUT,
    ),
]
_FilterFile = Annotated[
    Path | None,
    Option(
        "--bids-filter-file",
        metavar="FILE.json",
        help="Select scans by pybids' entities, as fMRIPrep does: "
        '{"t2starw": {"run": 1}, "megre": {..}}.',
        rich_help_panel=INPUT,
    ),
]


def bids(
    bids_dir: _BidsDir,
    out_dir: _OutDir,
    level: _Level,
    participants: _Participants = None,
    sessions: _Sessions = None,
    acquisitions: _Acquisitions = None,
    filter_file: _FilterFile = None,
    model: Model = "default",
    volume: Volume = None,
    mean: Mean = False,
    tta: Tta = 0,
    seed: Seed = 0,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> int:
    """Segment a BIDS dataset, as a BIDS App.

    The participant level segments T2starw and MEGRE scans, and writes masks, soft segmentations,
    areas and a QC page; it skips scans that are done. The group level writes a table of all scans
    and the page.

        gmseg bids BIDS_DIR BIDS_DIR/derivatives/gmseg participant
        gmseg bids BIDS_DIR OUT_DIR participant --participant-label 01 02
        gmseg bids BIDS_DIR OUT_DIR group
    """
    from gmseg.batch import bids_query

    exclude(
        ("--volume", "--mean", volume is not None and mean),
        ("--workers", "--scheduler", workers > 1 and scheduler),
    )
    filters = bids_query.read_filters(filter_file) if filter_file else None
    scans, left_out = bids_query.query_scans(
        bids_dir,
        participants=participants or (),
        sessions=sessions or (),
        acquisitions=acquisitions or (),
        filters=filters,
    )
    for message in left_out:
        warn(message)
    if level == Level.group:
        return _group(bids_dir, out_dir, scans, strict)
    return _participant(
        bids_dir,
        out_dir,
        scans,
        model,
        strict=strict,
        volume=volume,
        mean=mean,
        tta=tta,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
    )


def _participant(
    bids_dir: Path, out_dir: Path, scans, model: str, *, strict: bool, **options
) -> int:
    """Segment with a line per scan and a table at the end; return the exit code."""
    from gmseg.batch.bids_app import participant_level
    from gmseg.batch.bids_derivatives import PAGE
    from gmseg.batch.bids_group import group_row
    from gmseg.models.registry import load_model

    results = []
    command = ("gmseg", *sys.argv[1:])
    with progress_bar(total=len(scans), unit="scan") as bar:
        for result in participant_level(
            bids_dir, out_dir, scans, load_model(model), command=command, tell=note, **options
        ):
            results.append(result)
            _print_result(result, f"[{len(results)}/{len(scans)}]", out_dir)
            bar.update()
    order = {scan.name: number for number, scan in enumerate(scans)}
    results.sort(key=lambda result: order[result.scan.name])
    table = _as_table([(result, group_row(out_dir, result.scan)) for result in results])
    say(*table.split("\n"))
    if (page := out_dir / PAGE / "index.html").exists():
        say(page)
    if any(result.internal for result in results):
        return fail_internally()
    if any(result.fault for result in results):
        return 2
    flagged = any(result.sidecar["Flags"] for result in results)
    return 3 if strict and flagged else 0


def _print_result(result, number: str, out_dir: Path) -> None:
    """Print the mask of a scan and its flags, or its fault."""
    from gmseg.batch.bids_derivatives import outputs

    if result.fault:
        fail(result.fault)
        return
    mask = out_dir / outputs(result.scan)["mask"]
    say(f"{number} {mask}{'' if result.segmented else '  is done'}")
    for flag in result.sidecar["Flags"]:
        warn(f"{result.scan.name}: {flag['Text']}")


def _as_table(results) -> str:
    """Return a line per scan and the number of scans segmented, done before and failed."""
    width = max(len(result.scan.name) for result, _ in results)
    lines = [f"{'scan':<{width}}  slices   mm^2  expected Dice  flags"]
    for result, row in results:
        if result.fault:
            lines.append(f"{result.scan.name:<{width}}  failed")
            continue
        area, dice = (
            "-" if row[name] in (None, "n/a") else f"{float(row[name]):.{digits}f}"
            for name, digits in (("gm_area_mm2", 1), ("expected_dice", 2))
        )
        lines.append(
            f"{result.scan.name:<{width}}  {row['slices']:>6}  {area:>5}  {dice:>13}  "
            f"{row['flags']}"
        )
    counts = {
        "segmented": sum(result.segmented and not result.fault for result, _ in results),
        "done before": sum(not result.segmented for result, _ in results),
        "failed": sum(bool(result.fault) for result, _ in results),
    }
    totals = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*lines, totals])


def _group(bids_dir: Path, out_dir: Path, scans, strict: bool) -> int:
    """Write the table and the page of the group; return the exit code."""
    from gmseg.batch.bids_app import group_level
    from gmseg.batch.bids_derivatives import GROUP_TABLE, PAGE, check_out_dir

    check_out_dir(bids_dir, out_dir)
    rows = group_level(out_dir, scans)
    for row in rows:
        if row["problem"]:
            warn(f"{row['source']}: {row['problem']}")
    masks = [row for row in rows if not row["problem"]]
    versions = {(row["model"], row["gmseg_version"]) for row in masks}
    if len(versions) > 1:
        listed = ", ".join(f"{model} (gmseg {version})" for model, version in sorted(versions))
        warn(f"{out_dir}: the masks were made by several models or versions: {listed}")
    say(f"{out_dir / GROUP_TABLE}  {len(masks)} of {len(rows)} scans have masks")
    say(out_dir / PAGE / "index.html")
    return 3 if strict and any(row["flags"] != "none" for row in masks) else 0
