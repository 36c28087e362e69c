"""The command ``gmseg segment``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from gmseg.cli.console import exclude, fail, fail_internally, note, progress_bar, say, warn
from gmseg.cli.options import (
    MANY,
    METHOD,
    OUTPUT,
    QUALITY,
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
from gmseg.errors import InputError, printable

if TYPE_CHECKING:
    from gmseg.batch.jobs import Job, Outcome


_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
"""Format of the bar, which counts scans in fractions."""


class Standardise(StrEnum):
    """Source of the mean and the standard deviation."""

    volume = "volume"
    training = "training"


_Scans = Annotated[
    list[Path],
    Argument(
        metavar="SCAN|FOLDER...",
        help="Scans, as NIfTI or another format that nibabel reads; or folders, whose scans are "
        "segmented, but not their masks.",
    ),
]
_Output = Annotated[
    Path | None,
    Option(
        "-o",
        "--output",
        metavar="OUT",
        show_default="SCAN_gmseg.nii.gz next to the scan",
        help="File of the mask, for a single scan.",
        rich_help_panel=OUTPUT,
    ),
]
_OutDir = Annotated[
    Path | None,
    Option(
        metavar="DIR", help="Folder of the results; created if missing.", rich_help_panel=OUTPUT
    ),
]
_Threshold = Annotated[
    float | None,
    Option(
        metavar="T",
        min=0,
        max=1,
        show_default="the model's, 0.5",
        help="A voxel is GM where the soft segmentation is larger.",
        rich_help_panel=METHOD,
    ),
]
_Standardise = Annotated[
    Standardise | None,
    Option(
        metavar="volume|training",
        show_default="the model's",
        help="Standardise by mean and standard deviation of the scan's windows, or of the "
        "training set.",
        rich_help_panel=METHOD,
    ),
]
_Centre = Annotated[
    str,
    Option(
        metavar="auto|image|X,Y",
        help="Centre of the window: on the cord, which gmseg localises (auto); at the centre of "
        "the image, as in the paper (image); or at X,Y in mm in world space.",
        rich_help_panel=METHOD,
    ),
]
_Cord = Annotated[
    Path | None,
    Option(
        metavar="MASK",
        help="Cord mask on the scan's grid, on which the windows are centred; for a single scan.",
        rich_help_panel=METHOD,
    ),
]
_WithinCord = Annotated[
    bool,
    Option("--within-cord", help="Remove GM outside the mask of --cord.", rich_help_panel=METHOD),
]
_Clean = Annotated[
    str,
    Option(
        metavar="STEP,...",
        show_default="none",
        help="Clean the mask of every slice: largest keeps the largest connected component, small "
        "removes components below 2 mm^2, holes fills holes.",
        rich_help_panel=METHOD,
    ),
]
_Soft = Annotated[
    bool,
    Option(
        "--soft",
        help="Also write the soft segmentation (SCAN_gmsoft.nii.gz).",
        rich_help_panel=OUTPUT,
    ),
]
_Tissues = Annotated[
    str,
    Option(
        metavar="gm,wm,cord",
        help="Tissues to write: wm adds a white-matter mask (SCAN_wmseg.nii.gz), cord a cord mask "
        "(SCAN_seg.nii.gz). The GM mask is always written.",
        rich_help_panel=OUTPUT,
    ),
]
_Summary = Annotated[
    Path | None,
    Option(
        metavar="FILE.json",
        help="Write settings, areas and QC flags as JSON.",
        rich_help_panel=QUALITY,
    ),
]
_Report = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Add the scans to a QC page in DIR with outlines, areas and flags: open "
        "DIR/index.html.",
        rich_help_panel=QUALITY,
    ),
]
_Resume = Annotated[
    bool,
    Option(
        "--resume",
        help="Skip scans that have results of the same model and options.",
        rich_help_panel=MANY,
    ),
]


def segment(
    scans: _Scans,
    output: _Output = None,
    out_dir: _OutDir = None,
    model: Model = "default",
    threshold: _Threshold = None,
    standardise: _Standardise = None,
    centre: _Centre = "auto",
    cord: _Cord = None,
    within_cord: _WithinCord = False,
    clean: _Clean = "",
    volume: Volume = None,
    mean: Mean = False,
    soft: _Soft = False,
    tissues: _Tissues = "gm",
    tta: Tta = 0,
    seed: Seed = 0,
    summary: _Summary = None,
    report: _Report = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    resume: _Resume = False,
    strict: Strict = False,
) -> int:
    """Segment the gray matter of one or more scans.

    Writes a mask (1 is GM) on the grid of each scan: t2s.nii.gz becomes t2s_gmseg.nii.gz. With
    --tissues also masks of the white matter and of the cord.

        gmseg segment t2s.nii.gz --soft --summary t2s.json
        gmseg segment scans --out-dir masks --report qc
    """
    from gmseg.batch.folders import expand_folders
    from gmseg.batch.jobs import Job
    from gmseg.batch.outputs import output_files, split_results
    from gmseg.inference.options import SegmentOptions
    from gmseg.io.files import check_folder
    from gmseg.models.registry import load_model

    exclude(
        ("--volume", "--mean", volume is not None and mean),
        ("-o", "--out-dir", output and out_dir),
        ("--cord", "--centre", cord and centre != "auto"),
        ("--overwrite", "--resume", overwrite and resume),
        ("--workers", "--scheduler", workers > 1 and scheduler),
    )
    if resume and strict and not summary:
        raise InputError(
            "--resume --strict: flags of finished scans are read from the summary; give --summary"
        )
    scans, results = split_results(expand_folders(scans, note))
    for result in results:
        note(f"{result}: is skipped; it is a result of gmseg and no scan")
    if not scans:
        raise InputError(f"{results[0]}: is a result of gmseg and no scan; give the scan")
    if len(scans) > 1 and (output or cord):
        raise InputError(f"{'-o' if output else '--cord'} is for a single scan; use --out-dir")
    if out_dir:
        check_folder(out_dir)
    if report:
        from gmseg.report.qc_page import check_report

        check_report(report)
    options = SegmentOptions(
        threshold=threshold,
        standardise=standardise,
        centre=_parse_centre(centre),
        cord=cord,
        within_cord=within_cord,
        clean=tuple(filter(None, clean.split(","))),
        tta=tta,
        seed=seed,
    )
    options.check()
    choices = vars(options) | {"volume": volume, "mean": mean}
    command = ("gmseg", *sys.argv[1:]) if report else None
    wanted = tuple(filter(None, tissues.split(",")))
    jobs = []
    for scan in scans:
        files = output_files(scan, output, out_dir, soft=soft, spread=tta > 1, tissues=wanted)
        jobs.append(Job(scan, files, choices, report, command, overwrite, resume))
    run_options = {"workers": workers, "scheduler": scheduler}
    outcomes = _run(jobs, load_model(model), summary=summary, out_dir=out_dir, **run_options)
    return _conclude(outcomes, report, strict=strict)


def _parse_centre(text: str) -> str | tuple[float, float]:
    """Return the value of ``--centre``, with a position as two numbers in mm."""
    if text in ("auto", "image"):
        return text
    try:
        x_mm, y_mm = (float(part) for part in text.split(","))
        if not (abs(x_mm) < 1e6 and abs(y_mm) < 1e6):  # nor NaN
            raise ValueError
    except ValueError:
        raise InputError(
            f"--centre {text}: give auto, image, or X,Y in mm such as --centre 2.5,-31"
        ) from None
    return x_mm, y_mm


def _run(jobs: Sequence[Job], model, **options) -> list[Outcome]:
    """Segment with one bar, print every outcome, and return all in order."""
    from gmseg.batch.jobs import segment_scans

    outcomes: list[Outcome] = []
    steps: dict[int, int] = {}
    with progress_bar(total=len(jobs), bar_format=_BAR) as bar:

        def progress(job: Job, done: int, total: int) -> None:
            copies = max(1, job.choices["tta"])
            share = min(1, done / steps.setdefault(id(job), total * copies))
            number = f"{len(outcomes) + 1}/{len(jobs)} " if len(jobs) > 1 else ""
            bar.set_description(f"{number}{printable(job.scan.name)}", refresh=False)
            # windows that are moved to the cord are segmented a second time
            bar.update(max(0, len(outcomes) + share - bar.n))

        results = segment_scans(jobs, model, progress=progress, tell=note, **options)
        with closing(results):
            for outcome in results:
                _print_outcome(outcome)
                outcomes.append(outcome)
                bar.update(len(outcomes) - bar.n)
    order = {id(job): number for number, job in enumerate(jobs)}
    return sorted(outcomes, key=lambda outcome: order[id(outcome.job)])


def _print_outcome(outcome: Outcome) -> None:
    """Print the mask and the areas of a scan, and its flags; or its fault."""
    entry = outcome.summary
    if entry is None:
        fail(outcome.fault)
        return
    if outcome.resumed:
        say(f"{outcome.job.files['mask']}  is done")
    else:
        moved = entry["window"] in ("moved to the cord", "found by a search")
        say(
            f"{entry['mask']}  {_measurements(entry)}, "
            f"{entry['seconds']:.1f} s{', window ' + entry['window'] if moved else ''}"
        )
    for flag in entry["flags"]:
        warn(f"{outcome.job.scan}: {flag}")


def _measurements(entry: dict) -> str:
    """Return areas and expected Dice of a summary in words, the slice with the lowest named."""
    from numpy import mean, median

    areas = [area for area in entry["area_mm2"] if area > 0]
    both = zip(entry["area_mm2"], entry.get("cord_area_mm2") or [], strict=False)
    cord_areas = [cord for area, cord in both if area > 0 and cord > 0]  # as on the QC page
    dice = [value for value in entry["expected_dice"] if value is not None]
    parts = [
        f"GM in {len(areas)} of {len(entry['area_mm2'])} slices",
        f"mean area {mean(areas or [0]):.1f} mm^2",
    ]
    if cord_areas:
        parts.append(f"cord {mean(cord_areas):.0f} mm^2")
    if dice:
        lowest = entry["expected_dice"].index(min(dice))
        parts.append(f"expected Dice {median(dice):.2f} ({min(dice):.2f} in slice {lowest})")
    return ", ".join(parts)


def _conclude(outcomes: Sequence[Outcome], report: Path | None, *, strict: bool) -> int:
    """Print how to view a mask, the QC page and the scans that failed; return the exit code."""
    failed = [outcome for outcome in outcomes if outcome.summary is None]
    if len(failed) < len(outcomes):
        job = next(outcome.job for outcome in outcomes if outcome.summary is not None)
        viewer = shlex.join(["fsleyes", str(job.scan), str(job.files["mask"]), "-cm", "red"])
        note(f"view {'a mask' if len(outcomes) > 1 else 'the mask'}: {viewer}")
    if report and len(failed) < len(outcomes):
        say(report / "index.html")
    if failed and len(outcomes) > 1:
        done = len(outcomes) - len(failed)
        note(f"{done} of {len(outcomes)} scans segmented, {len(failed)} failed:")
        for outcome in failed:
            scan = outcome.job.scan
            note(f"  {scan}  {str(outcome.fault).removeprefix(f'{scan}: ')}")
    if any(outcome.internal for outcome in failed):
        return fail_internally()
    if failed:
        return 2
    flagged = any(outcome.summary and outcome.summary["flags"] for outcome in outcomes)
    return 3 if strict and flagged else 0
