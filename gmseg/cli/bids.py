"""The command ``gmseg bids``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gmseg.cli.console import exclude, fail, note, own_fault, warn
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option


class Level(StrEnum):
    """Of a BIDS App."""

    participant = "participant"
    group = "group"


def bids(
    bids_dir: Annotated[Path, Argument(metavar="BIDS_DIR", help="The dataset; only read.")],
    out_dir: Annotated[
        Path,
        Argument(
            metavar="OUT_DIR",
            help="The derivatives' folder, such as BIDS_DIR/derivatives/gmseg; created if missing.",
        ),
    ],
    level: Annotated[
        Level,
        Argument(
            metavar="participant|group",
            help="Segment the scans; or make a table and a page of all that are segmented.",
        ),
    ],
    participants: Annotated[
        list[str] | None,
        Option(
            "--participant-label",
            "--participant_label",
            metavar="LABEL...",
            help="These participants alone: 01 02, or sub-01 sub-02.",
        ),
    ] = None,
    sessions: Annotated[
        list[str] | None, Option("--session", metavar="LABEL...", help="These sessions alone.")
    ] = None,
    acquisitions: Annotated[
        list[str] | None,
        Option("--acquisition", metavar="LABEL...", help="These acquisitions alone: MEDIC, MERGE."),
    ] = None,
    filter_file: Annotated[
        Path | None,
        Option(
            "--bids-filter-file",
            metavar="FILE.json",
            help='Which scans, by pybids\' entities, as fMRIPrep has it: {"t2starw": {"run": 1}, "megre": {..}}.',
        ),
    ] = None,
    model: Annotated[str, Option(metavar="NAME|FILE", help="See gmseg segment.")] = "default",
    volume: Annotated[
        int | None, Option(metavar="K", help="Take volume K of 4-D scans, counted from 0.")
    ] = None,
    mean: Annotated[bool, Option("--mean", help="Average the volumes of 4-D scans.")] = False,
    tta: Annotated[
        int,
        Option(
            "--tta",
            metavar="N",
            min=0,
            max=1000,
            help="Average over N copies of each scan: see gmseg segment. [default: none]",
        ),
    ] = 0,
    seed: Annotated[int, Option(metavar="S", min=0, max=2**32 - 1, help="Of --tta.")] = 0,
    workers: Annotated[
        int,
        Option(
            "--workers",
            metavar="N",
            min=1,
            max=256,
            help="Segment N scans at a time, each by a process of its own (Dask).",
        ),
    ] = 1,
    scheduler: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="Send the scans to the workers of a Dask scheduler, such as tcp://node:8786, which see the same files.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool, Option("--strict", help="Exit with 3 if anything looked suspicious.")
    ] = False,
) -> int:
    """Segment the T2starw and MEGRE scans of a BIDS dataset, as a BIDS App.

    The participant level writes masks, probabilities, areas and a QC page, and leaves out the
    scans that are done; the group level writes a table of all, and the page anew.
    """
    from gmseg.batch import bids_query

    filters = bids_query.read_filters(filter_file) if filter_file else None
    exclude(
        ("--volume", "--mean", volume is not None and mean),
        ("--workers", "--scheduler", workers > 1 and scheduler),
    )
    scans, left_out = bids_query.query_scans(
        bids_dir,
        participants=participants or (),
        sessions=sessions or (),
        acquisitions=acquisitions or (),
        filters=filters,
    )
    for line in left_out:
        warn(line)
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
    bids_dir: Path, out_dir: Path, scans, model: str, *, strict: bool, **choices
) -> int:
    """Segment, with a line per scan and a table at the end; return the exit status."""
    from tqdm import tqdm

    from gmseg.batch.bids_app import participant_level
    from gmseg.batch.bids_derivatives import PAGE, group_row
    from gmseg.models.registry import load_model

    done = []
    command = ("gmseg", *sys.argv[1:])
    with tqdm(total=len(scans), unit="scan", leave=False, disable=None) as bar:
        for result in participant_level(
            bids_dir, out_dir, scans, load_model(model), command=command, tell=note, **choices
        ):
            done.append(result)
            with tqdm.external_write_mode():
                _tell(result, f"[{len(done)}/{len(scans)}]", out_dir)
            bar.update()
    order = {scan.name: number for number, scan in enumerate(scans)}
    done.sort(key=lambda result: order[result.scan.name])
    print(_table([(result, group_row(out_dir, result.scan)) for result in done]))
    if (page := out_dir / PAGE / "index.html").exists():
        print(page)
    if any(result.internal for result in done):
        return own_fault()
    if any(result.fault for result in done):
        return 2
    return 3 if strict and any(result.sidecar["Flags"] for result in done) else 0


def _tell(result, number: str, out_dir: Path) -> None:
    """Print what became of a scan, and its flags."""
    from gmseg.batch.bids_derivatives import outputs

    if result.fault:
        fail(result.fault)
        return
    mask = out_dir / outputs(result.scan)["mask"]
    print(f"{number} {mask}{'' if result.segmented else '  is done'}", flush=True)
    for flag in result.sidecar["Flags"]:
        warn(f"{result.scan.name}: {flag['Text']}")


def _table(results) -> str:
    """Return what became of the scans, a line each."""
    wide = max(len(result.scan.name) for result, _ in results)
    lines = [f"{'scan':<{wide}}  slices   mm^2  expected Dice  flags"]
    for result, row in results:
        if result.fault:
            lines.append(f"{result.scan.name:<{wide}}  failed")
            continue
        area, dice = (
            "-" if row[name] in (None, "n/a") else f"{float(row[name]):.{digits}f}"
            for name, digits in (("gm_area_mm2", 1), ("expected_dice", 2))
        )
        lines.append(
            f"{result.scan.name:<{wide}}  {row['slices']:>6}  {area:>5}  {dice:>13}  {row['flags']}"
        )
    counts = {
        "segmented": sum(result.segmented and not result.fault for result, _ in results),
        "done before": sum(not result.segmented for result, _ in results),
        "failed": sum(bool(result.fault) for result, _ in results),
    }
    return "\n".join([*lines, ", ".join(f"{n} {what}" for what, n in counts.items() if n)])


def _group(bids_dir: Path, out_dir: Path, scans, strict: bool) -> int:
    """Make the table and the page of the group; return the exit status."""
    from gmseg.batch.bids_app import group_level
    from gmseg.batch.bids_derivatives import GROUP_TABLE, PAGE, check_out_dir

    check_out_dir(bids_dir, out_dir)
    rows = group_level(out_dir, scans)
    for row in rows:
        if row["problem"]:
            warn(f"{row['source']}: {row['problem']}")
    masks = [row for row in rows if not row["problem"]]
    made_by = {(row["model"], row["gmseg_version"]) for row in masks}
    if len(made_by) > 1:
        told = ", ".join(f"{model} (gmseg {version})" for model, version in sorted(made_by))
        warn(f"{out_dir}: the masks were made by several models or versions: {told}")
    print(f"{out_dir / GROUP_TABLE}  {len(masks)} of {len(rows)} scans have masks")
    print(out_dir / PAGE / "index.html")
    return 3 if strict and any(row["flags"] != "none" for row in masks) else 0
