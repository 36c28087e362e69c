"""The two levels of the BIDS App: segment the scans of a dataset, and collect their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gmseg.batch import bids_derivatives, bids_group
from gmseg.batch.bids_query import Scan
from gmseg.batch.jobs import Job, faulty, is_done, run
from gmseg.batch.multi_echo import combine_echoes
from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import check_link, write_text
from gmseg.io.image import description_of
from gmseg.io.tables import write_table
from gmseg.morphometry.areas import COLUMNS, measure_mask


@dataclass(frozen=True)
class ScanResult:
    """Result of one scan at the participant level.

    Attributes
    ----------
    scan : Scan
        The scan.
    sidecar : dict
        Sidecar of its mask; empty if the scan failed.
    fault : str or None
        Why the scan failed, in one line.
    internal : bool
        Whether the fault lies with gmseg or the machine, not with the scan.
    segmented : bool
        Whether this run segmented the scan; False if it was done before.
    """

    scan: Scan
    sidecar: dict = field(default_factory=dict)
    fault: str | None = None
    internal: bool = False
    segmented: bool = True


@dataclass(frozen=True)
class _Settings:
    """What is the same for all scans of a run."""

    bids_dir: Path
    out_dir: Path
    model: Model
    volume_choice: dict  # `volume` or `mean` of `gmseg.segment`
    tta_choice: dict  # `tta` and `seed` of `gmseg.segment`
    overwrite: bool
    command: tuple[str, ...] | None


def participant_level(
    bids_dir,
    out_dir,
    scans: Sequence[Scan],
    model: Model,
    *,
    volume: int | None = None,
    mean: bool = False,
    tta: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    **run_options,
) -> Iterator[ScanResult]:
    """Segment scans of a BIDS dataset and write their derivatives; skip scans that are done.

    Parameters
    ----------
    bids_dir, out_dir : path-like
        Folders of the raw dataset and of the derivatives; the latter is created.
    scans : sequence of Scan
        Scans to segment, see `gmseg.batch.bids_query.query_scans`.
    model : Model
        Model to use.
    volume, mean, tta, seed : int, bool, int, int
        See `gmseg.segment`.
    overwrite : bool
        Whether to segment all scans again, and replace files made with another model or options.
    command : sequence of str, optional
        Command line to show on the QC page.
    **run_options
        Options of `gmseg.batch.jobs.run`: workers, scheduler, tell.

    Yields
    ------
    ScanResult
        One per scan, as soon as it is done. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If `out_dir` is not allowed for these derivatives.
    """
    bids_dir, out_dir = Path(bids_dir), Path(out_dir)
    bids_derivatives.check_out_dir(bids_dir, out_dir)
    bids_derivatives.write_dataset_files(bids_dir, out_dir)
    volume_choice = {"mean": True} if mean else {} if volume is None else {"volume": volume}
    tta_choice = {"tta": tta, "seed": seed} if tta > 1 else {}
    shown = tuple(command) if command else None
    settings = _Settings(bids_dir, out_dir, model, volume_choice, tta_choice, overwrite, shown)
    pending: dict[Path, tuple[Scan, Job]] = {}
    try:
        yield from _plan(settings, scans, pending)
        yield from _run(settings, pending, run_options)
    finally:  # an interrupted run shows what is done, too
        _write_page(out_dir)


def group_level(out_dir, scans: Sequence[Scan]) -> list[dict]:
    """Write the table of all scans and the QC page from what the participant level wrote.

    Parameters
    ----------
    out_dir : path-like
        Folder of the derivatives.
    scans : sequence of Scan
        Scans of the table; those without a mask have a row, too.

    Returns
    -------
    list of dict
        The rows, see `gmseg.batch.bids_group.GROUP_COLUMNS`.

    Raises
    ------
    gmseg.errors.InputError
        If none of the scans has a mask.
    """
    out_dir = Path(out_dir)
    rows = [bids_group.group_row(out_dir, scan) for scan in scans]
    if all(row["problem"] for row in rows):
        raise InputError(f"{out_dir}: has no mask of these scans; run the participant level first")
    write_table(out_dir / bids_derivatives.GROUP_TABLE, rows, bids_group.GROUP_COLUMNS)
    _write_page(out_dir)
    return rows


def _write_page(out_dir: Path) -> None:
    """Write the index of the QC page if the page has a folder."""
    from gmseg.report.qc_page import write_index

    if (folder := out_dir / bids_derivatives.PAGE).is_dir():
        write_index(folder)


def _plan(
    settings: _Settings, scans: Sequence[Scan], pending: dict[Path, tuple[Scan, Job]]
) -> Iterator[ScanResult]:
    """Put the jobs to run into `pending`, by mask; yield the scans that fail or are done."""
    masks: dict[Path, Path] = {}
    for scan in scans:
        source = scan.files[0]
        try:
            mask = bids_derivatives.outputs(scan)["mask"]
            if mask in masks:
                raise InputError(
                    f"{source}: has the same output {mask} as {masks[mask]}; "
                    f"rename or remove one of the two"
                )
            masks[mask] = source
            job = _prepare_job(settings, scan)
            sidecar = None if settings.overwrite else _sidecar_if_done(settings, scan, job)
        except Exception as error:
            yield _failure(settings, scan, *faulty(error, source))
            continue
        if sidecar is None:
            pending[job.files["mask"]] = scan, job
        else:
            yield _success(settings, scan, sidecar, segmented=False)


def _run(
    settings: _Settings, pending: dict[Path, tuple[Scan, Job]], run_options: dict
) -> Iterator[ScanResult]:
    """Run the jobs, and yield the result of each scan."""
    if not pending:  # start no cluster
        return
    (settings.out_dir / bids_derivatives.PAGE).mkdir(exist_ok=True)
    _write_page(settings.out_dir)  # once, before several workers add to the page
    for outcome in run([job for _, job in pending.values()], settings.model, **run_options):
        scan, _ = pending[outcome.job.files["mask"]]
        if outcome.summary is None:
            yield _failure(settings, scan, str(outcome.fault), outcome.internal)
            continue
        try:
            sidecar = _write_results(settings, scan, outcome.job, outcome.summary)
        except Exception as error:
            yield _failure(settings, scan, *faulty(error, scan.files[0]))
        else:
            yield _success(settings, scan, sidecar)


def _prepare_job(settings: _Settings, scan: Scan) -> Job:
    """Return the job of a scan; combine its echoes first."""
    out_dir, choices, overwrite = settings.out_dir, settings.volume_choice, settings.overwrite
    files = bids_derivatives.outputs(scan, cord=settings.model.has_cord)
    if not overwrite:
        for file in files.values():
            check_link(out_dir / file)
            check_link(bids_derivatives.sidecar_path(out_dir / file))
    image = scan.files[0]
    if len(scan.files) > 1:
        image = out_dir / bids_derivatives.combined_echoes(scan)
        combine_echoes(scan.files, image, **choices, overwrite=overwrite)
        if overwrite or not bids_derivatives.read_sidecar(image):
            bids_derivatives.write_sidecar(image, bids_derivatives.echoes_sidecar(scan, choices))
        choices = {}
    return Job(
        scan=image,
        files={kind: out_dir / file for kind, file in files.items() if kind != "table"},
        choices=choices | settings.tta_choice,
        report=out_dir / bids_derivatives.PAGE,
        command=settings.command,
        overwrite=overwrite,
        resume=not overwrite,
    )


def _sidecar_if_done(settings: _Settings, scan: Scan, job: Job) -> dict | None:
    """Return the sidecar of a scan's mask if all files of the scan are complete and up to date."""
    if not is_done(job, settings.model):
        return None
    sidecar = bids_derivatives.read_mask_sidecar(settings.out_dir, scan)
    if not bids_derivatives.is_complete(settings.out_dir, scan, cord=settings.model.has_cord):
        return None
    # an interrupted run may have replaced the mask but not its sidecar
    current = sidecar is not None and sidecar.get("MadeFrom") == description_of(job.files["mask"])
    return sidecar if current else None


def _write_results(settings: _Settings, scan: Scan, job: Job, summary: dict) -> dict:
    """Write the table and the sidecars of a segmented scan; return the sidecar of the mask."""
    mask = job.files["mask"]
    rows = measure_mask(mask, soft=job.files["soft"], cord=job.files.get("cord"))
    write_table(settings.out_dir / bids_derivatives.outputs(scan)["table"], rows, COLUMNS)
    sidecars = bids_derivatives.segmentation_sidecars(
        scan, summary, description_of(mask), settings.volume_choice
    )
    for kind in reversed(sidecars):  # the mask's is the last: a scan with this file is done
        bids_derivatives.write_sidecar(job.files[kind], sidecars[kind])
    if settings.overwrite:
        _remove_outdated(settings, scan, job)
    return sidecars["mask"]


def _remove_outdated(settings: _Settings, scan: Scan, job: Job) -> None:
    """Remove white matter and cord that an earlier model wrote and that this one does not segment.

    Files that gmseg did not write stay.
    """
    for kind, name in bids_derivatives.outputs(scan, cord=True).items():
        file = settings.out_dir / name
        outdated = kind not in {*job.files, "table"} and file.exists()
        if outdated and description_of(file).startswith("gmseg "):
            file.unlink()
            bids_derivatives.sidecar_path(file).unlink(missing_ok=True)


def _success(
    settings: _Settings, scan: Scan, sidecar: dict, *, segmented: bool = True
) -> ScanResult:
    """Return the result of a scan that has a mask, and delete the log of an earlier failure."""
    (settings.out_dir / bids_derivatives.log_path(scan)).unlink(missing_ok=True)
    return ScanResult(scan, sidecar, segmented=segmented)


def _failure(settings: _Settings, scan: Scan, fault: str, internal: bool = False) -> ScanResult:
    """Return the result of a scan that failed, and write its log with relative paths."""
    log = settings.out_dir / bids_derivatives.log_path(scan)
    log.parent.mkdir(exist_ok=True)
    text = fault
    for folder in (settings.out_dir, settings.bids_dir):
        if folder != Path():
            text = text.replace(f"{folder}/", "")
    write_text(log, text + "\n")
    return ScanResult(scan, fault=fault, internal=internal)
