"""The command ``gmseg segment``."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gmseg.cli.console import exclude, fail, moves, note, own_fault, warn
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option
from gmseg.errors import InputError, message_of

_SELDOM_S = 5.0  # between two writings of the summary


class Precision(StrEnum):
    """How exactly the network computes."""

    single = "single"
    bf16 = "bf16"


class Standardise(StrEnum):
    """Whose mean and standard deviation are taken."""

    volume = "volume"
    training = "training"


def segment(
    scans: Annotated[
        list[Path],
        Argument(metavar="SCAN...", help="Scans, NIfTI or any format that nibabel reads."),
    ],
    output: Annotated[
        Path | None,
        Option(
            "-o",
            "--output",
            metavar="OUT",
            help="The mask's file; for a single scan. [default: SCAN_gmseg.nii.gz beside the scan]",
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, Option(metavar="DIR", help="Folder for the results; created if missing.")
    ] = None,
    model: Annotated[
        str,
        Option(
            metavar="NAME|FILE",
            help="A known model (gmseg models list), a model's JSON or weights file, or the 2017 release's .hdf5.",
        ),
    ] = "default",
    threshold: Annotated[
        float | None,
        Option(
            metavar="T",
            help="A voxel is GM where the soft segmentation is larger, 0-1. [default: the model's, 0.5]",
        ),
    ] = None,
    standardise: Annotated[
        Standardise | None,
        Option(
            help="By mean and standard deviation of the scan's windows, or of the training set. [default: the model's]"
        ),
    ] = None,
    centre: Annotated[
        str,
        Option(
            metavar="auto|image|X,Y",
            help="Where the 50 mm window lies: on the cord, which is looked for (auto); at the image's centre, as in the paper (image); at a place in mm in the scan's world space.",
        ),
    ] = "auto",
    cord: Annotated[
        Path | None,
        Option(
            metavar="MASK",
            help="A mask of the cord on the scan's grid: the window follows it. For a single scan.",
        ),
    ] = None,
    within_cord: Annotated[
        bool, Option("--within-cord", help="Nothing outside the mask of --cord is GM.")
    ] = False,
    clean: Annotated[
        str,
        Option(
            metavar="WAY,...",
            help="Clean every slice: largest keeps its largest piece, small drops pieces below 2 mm^2, holes fills them. [default: nothing]",
        ),
    ] = "",
    volume: Annotated[
        int | None, Option(metavar="K", help="Take volume K of a 4-D scan, counted from 0.")
    ] = None,
    mean: Annotated[bool, Option("--mean", help="Average the volumes of a 4-D scan.")] = False,
    soft: Annotated[
        bool, Option("--soft", help="Write the soft segmentation, too (SCAN_gmsoft.nii.gz).")
    ] = False,
    tta: Annotated[
        int,
        Option(
            "--tta",
            metavar="N",
            min=0,
            max=1000,
            help="Average over N copies of the scan, flipped, turned, scaled: takes N times as long. Writes where they disagree, too (SCAN_gmspread.nii.gz). [default: none]",
        ),
    ] = 0,
    seed: Annotated[int, Option(metavar="S", min=0, max=2**32 - 1, help="Of --tta.")] = 0,
    precision: Annotated[
        Precision,
        Option(
            help="Of the network's arithmetic. bf16 is faster on processors that have it, and its masks differ a little (docs/performance.md); needs OpenVINO."
        ),
    ] = Precision.single,
    summary: Annotated[
        Path | None, Option(metavar="FILE.json", help="Write what was done and measured.")
    ] = None,
    report: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Add the scans to a page in DIR that shows outlines, areas and flags: open DIR/index.html.",
        ),
    ] = None,
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
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Leave out the scans whose results are there, made from them by the same model and choices.",
        ),
    ] = False,
    strict: Annotated[
        bool, Option("--strict", help="Exit with 3 if anything looked suspicious.")
    ] = False,
) -> int:
    """Segment the gray matter of one scan or many.

    Writes a mask (1 is GM) on each scan's own grid: t2s.nii.gz becomes t2s_gmseg.nii.gz.
    """
    from gmseg.batch import jobs as cohort
    from gmseg.inference.postprocessing import check_ways
    from gmseg.io import files
    from gmseg.models.registry import card_of, load_model

    chosen = load_model(model)
    where = _parse_centre(centre)
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold {threshold:g}: is not between 0 and 1")
    exclude(
        ("--volume", "--mean", volume is not None and mean),
        ("-o", "--out-dir", output and out_dir),
        ("--cord", "--centre", cord and centre != "auto"),
        ("--overwrite", "--resume", overwrite and resume),
        ("--workers", "--scheduler", workers > 1 and scheduler),
    )
    if resume and strict and not summary:
        raise InputError(
            "--resume --strict: flags of scans that are done stand in the summary; give --summary"
        )
    if len(scans) > 1 and (output or cord):
        raise InputError(f"{'-o' if output else '--cord'} is for a single scan; use --out-dir")
    if output and not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{output}: name the mask .nii.gz or .nii")
    if out_dir:
        files.check_folder(out_dir)
    if within_cord and not cord:
        raise InputError("--within-cord: give a cord mask with --cord")
    ways = tuple(filter(None, clean.split(",")))
    check_ways(ways)
    inputs = [*([cord] if cord else []), chosen.weights, card_of(chosen.weights)]
    given = {scan.resolve() for scan in scans}
    if summary and summary.resolve() in given:
        raise InputError(f"{summary}: is the input itself; choose another output")
    if summary and not (out_dir and summary.parent == out_dir and not out_dir.exists()):
        files.check_output(summary, inputs=inputs, overwrite=overwrite or resume)
    if report:
        from gmseg.report.qc_page import check_report

        check_report(report)
    choices = {
        "threshold": threshold,
        "standardise": standardise,
        "centre": where,
        "cord": cord,
        "within_cord": within_cord,
        "clean": ways,
        "volume": volume,
        "mean": mean,
        "tta": tta,
        "seed": seed,
    }
    if precision != Precision.single:
        choices["precision"] = precision.value
    asked = [
        cohort.Job(
            scan,
            _output_files(scan, output, out_dir, soft, tta),
            choices,
            report,
            ("gmseg", *sys.argv[1:]) if report else None,
            overwrite,
        )
        for scan in scans
    ]
    kept = _entries(summary) if resume and summary else {}
    taken = {summary.resolve(): "the summary"} if summary else {}
    jobs, done, failed = [], {}, {}
    for number, job in enumerate(asked):
        try:
            _check_job(
                job, taken, given, inputs=inputs, out_dir=out_dir, overwrite=overwrite or resume
            )
            if resume and _is_done(job, chosen, kept if summary else None):
                done[number] = kept.get(str(job.files["mask"]), {"flags": []})
                taken |= {file.resolve(): str(job.scan) for file in job.files.values()}
                print(f"{job.files['mask']}  is done")
                _warn_of(done[number], job.scan)
                continue
        except (InputError, OSError) as error:
            failed[number] = message_of(error, job.scan)
            fail(failed[number])
            continue
        taken |= {file.resolve(): str(job.scan) for file in job.files.values()}
        jobs.append((number, job))
    ours, entries = False, dict(kept)
    written = time.monotonic()
    try:
        for number, outcome in _outcomes(jobs, chosen, workers, scheduler):
            if outcome.fault:
                failed[number] = outcome.fault
                ours |= outcome.ours
                fail(outcome.fault)
            else:
                done[number] = outcome.summary
                _tell(outcome.summary)
                if summary and time.monotonic() > written + _SELDOM_S:  # a run may be killed
                    _write_summary(summary, entries, done)
                    written = time.monotonic()
    finally:  # what is done is told, even of a run that is interrupted
        if summary and done:
            _write_summary(summary, entries, done)
        if report and done:
            from gmseg.report.qc_page import write_index

            print(write_index(report))
    if failed and len(scans) > 1:
        note(f"{len(done)} of {len(scans)} scans segmented, {len(failed)} failed:")
        for number in sorted(failed):
            note(f"  {_without_name(failed[number], scans[number])}")
    if ours:
        return own_fault()
    if failed:
        return 2
    return 3 if strict and any(entry["flags"] for entry in done.values()) else 0


def _write_summary(summary: Path, entries: dict, done: dict) -> None:
    """Write what is known of scans, those of an earlier run included."""
    from gmseg.io import files

    mine = {done[number]["mask"]: done[number] for number in sorted(done)}
    text = json.dumps({"scans": list((entries | mine).values())}, indent=2)
    files.write_text(summary, text + "\n")


def _check_job(job, taken: dict, given: set, *, inputs, out_dir, overwrite: bool) -> None:
    """Refuse what cannot be read, or would be written where it must not."""
    from gmseg.io import files
    from gmseg.io.image_file import open_image

    files.check_input(job.scan)
    open_image(job.scan)  # what is no image must not keep its names from a good one
    for file in job.files.values():
        if file.resolve() in given:
            raise InputError(f"{file}: is the input itself; choose another output")
        if file.resolve() in taken:
            raise InputError(
                f"{job.scan}: would be written to {file}, as {taken[file.resolve()]} is; "
                f"give another name, or scans of one name in separate calls"
            )
        if not (out_dir and not out_dir.exists()):
            files.check_output(file, inputs=inputs, overwrite=overwrite)


def _is_done(job, model, kept: dict | None) -> bool:
    """Return whether nothing of what is wanted of a scan is missing."""
    from gmseg.batch.jobs import fingerprint, is_done

    if not is_done(job, model):
        return False
    mask = job.files["mask"]
    if job.report:
        from gmseg.report.qc_page import scan_folder

        facts = scan_folder(job.report, job.scan) / "facts.json"  # written after the mask
        if not facts.exists() or facts.stat().st_mtime_ns < mask.stat().st_mtime_ns:
            return False
    entry = {} if kept is None else kept.get(str(mask), {})
    return kept is None or entry.get("made_from") == fingerprint(job, model)


def _entries(summary: Path) -> dict[str, dict]:
    """Return what an earlier run wrote of its scans, by their masks."""
    if not summary.exists():
        return {}
    try:
        scans = json.loads(summary.read_text(encoding="utf-8"))["scans"]
        entries = {entry["mask"]: entry for entry in scans}
        sound = all(
            isinstance(mask, str)
            and isinstance(entry["scan"], str)
            and isinstance(entry["flags"], list)
            for mask, entry in entries.items()
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise InputError(f"{summary}: is no summary of gmseg's; give another name")
    return entries


def _outcomes(jobs, model, workers: int, scheduler: str | None):
    """Yield number and outcome of every job, with bars over scans and slices."""
    from tqdm import tqdm

    from gmseg.batch import jobs as cohort

    numbers = {id(job): number for number, job in jobs}
    alone = workers == 1 and scheduler is None
    hidden = True if len(jobs) == 1 else None
    shown = None
    with (
        tqdm(total=len(jobs), unit="scan", leave=False, disable=hidden) as every,
        tqdm(unit="slice", leave=False, disable=None if alone else True) as one,
    ):

        def progress(job, count: int, total: int) -> None:
            nonlocal shown
            if job is not shown:
                one.set_description(job.scan.name, refresh=False)
                one.reset()
                shown = job
            moves(one)(count, total)

        def tell(line: str) -> None:
            with tqdm.external_write_mode():
                note(line)

        for outcome in cohort.run(
            [job for _, job in jobs],
            model,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
            tell=tell,
        ):
            with tqdm.external_write_mode():
                yield numbers[id(outcome.job)], outcome
            every.update()


def _tell(entry: dict) -> None:
    """Print what became of a scan, and its flags."""
    areas = [area for area in entry["area_mm2"] if area > 0]
    moved = entry["window"] in ("moved to the cord", "found by a search")
    print(
        f"{entry['mask']}  GM in {len(areas)} of {len(entry['area_mm2'])} slices, "
        f"mean area {sum(areas) / max(len(areas), 1):.1f} mm^2, "
        f"{entry['seconds']:.1f} s{', window ' + entry['window'] if moved else ''}"
    )
    _warn_of(entry, entry["scan"])


def _warn_of(entry: dict, scan) -> None:
    """Print the flags of a scan."""
    for flag in entry["flags"]:
        warn(f"{scan}: {flag}")


def _parse_centre(text: str):
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


def _output_files(
    scan: Path, output: Path | None, out_dir: Path | None, soft: bool, tta: int
) -> dict[str, Path]:
    """Return where the mask is written, and what else is wanted."""
    name = output.name if output else scan.name
    stem = name.removesuffix(".gz")
    stem = stem[: -len(Path(stem).suffix)] if Path(stem).suffix else stem
    folder = output.parent if output else out_dir or scan.parent
    if output:
        stem = stem.removesuffix("_gmseg")
    files = {"mask": output or folder / f"{stem}_gmseg.nii.gz"}
    if soft:
        files["soft"] = folder / f"{stem}_gmsoft.nii.gz"
    if tta > 1:
        files["spread"] = folder / f"{stem}_gmspread.nii.gz"
    return files


def _without_name(fault: str, scan: Path) -> str:
    """Return a fault as a line of a table whose first column is the scan."""
    return f"{scan}  {fault.removeprefix(f'{scan}: ')}"
