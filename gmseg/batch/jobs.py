"""Segment many scans: one after the other, or in parallel with the same results."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gmseg.batch.outputs import check_job, check_summary
from gmseg.batch.resume import SummaryFile, check_fingerprints, fingerprint, is_done, is_on_page
from gmseg.core.model import Model
from gmseg.errors import InputError, is_out_of_memory, message_of
from gmseg.io.files import is_empty_file, new_folders
from gmseg.io.temporary import temporary_folder

_log = logging.getLogger(__name__)
_WRITE_INTERVAL_S = 5.0  # between two updates of the summary during a run


@dataclass(frozen=True)
class Job:
    """A scan to segment.

    Attributes
    ----------
    scan : pathlib.Path
        The scan, as the user named it.
    files : dict of pathlib.Path
        Files to write by kind: ``"mask"`` and optionally others, see
        `gmseg.inference.segmentation.TYPES`.
    choices : dict
        Keyword arguments of `gmseg.segment`: threshold, centre, tta, ...
    report : pathlib.Path or None
        Folder of the QC page that the scan is added to.
    command : tuple of str or None
        Command line that the page shows.
    overwrite : bool
        Whether files made from another scan, model or choice may be replaced.
    resume : bool
        Whether files of the same scan, model and choices are kept, or replaced if incomplete.
    """

    scan: Path
    files: dict[str, Path]
    choices: dict = field(default_factory=dict)
    report: Path | None = None
    command: tuple[str, ...] | None = None
    overwrite: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """Result of a job.

    Attributes
    ----------
    job : Job
        The job.
    summary : dict or None
        `gmseg.inference.summary.Summary` as a dict, with the file of the ``"mask"``; None if the
        job failed.
    fault : str or None
        Why the job failed, in one line.
    internal : bool
        Whether the fault is a bug of gmseg, not one of the scan or the machine.
    resumed : bool
        Whether an earlier run has done the job.
    """

    job: Job
    summary: dict | None = None
    fault: str | None = None
    internal: bool = False
    resumed: bool = False


def segment_scans(
    jobs: Sequence[Job],
    model: Model,
    *,
    summary: Path | None = None,
    out_dir: Path | None = None,
    **run_options,
) -> Generator[Outcome, None, None]:
    """Check jobs, skip those that are done, run the others, and write the summary.

    Parameters
    ----------
    jobs : sequence of Job
        Scans to segment, with the same `overwrite`, `resume` and `report`.
    model : Model
        Model to use.
    summary : pathlib.Path, optional
        JSON file of what was done and measured; it is up to date even if the run is interrupted.
    out_dir : pathlib.Path, optional
        Folder that is created if missing.
    **run_options
        Options of `run`.

    Yields
    ------
    Outcome
        One per job. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If the summary cannot be written, or the jobs cannot be run.
    """
    checks = _checks(jobs, model, out_dir)
    resume = any(job.resume for job in jobs)
    if summary:
        check_summary(summary, **checks)
    summary_file = SummaryFile(summary, resume=resume) if summary else None
    numbers = {id(job): number for number, job in enumerate(jobs)}
    entries: dict[int, dict] = {}  # by the number of the job
    pending: list[Job] = []
    try:
        for outcome in _plan(jobs, model, pending, checks, summary_file):
            if outcome.summary is not None:
                entries[numbers[id(outcome.job)]] = outcome.summary
            yield outcome
        written = time.monotonic()
        for outcome in run(pending, model, **run_options):
            if outcome.summary is not None:
                entries[numbers[id(outcome.job)]] = outcome.summary
                if summary_file and time.monotonic() > written + _WRITE_INTERVAL_S:
                    summary_file.write(_in_order(entries))
                    written = time.monotonic()
            yield outcome
    finally:
        if entries:
            _finish(jobs[0].report, summary_file, _in_order(entries))


def run(
    jobs: Sequence[Job],
    model: Model,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Outcome]:
    """Segment scans, and yield the outcome of each as soon as it is done.

    Parameters
    ----------
    jobs : sequence of Job
        Scans to segment.
    model : Model
        Model to use.
    workers : int
        Number of processes on this machine; 1 for this process only.
    scheduler : str, optional
        Address of a `dask.distributed` scheduler, such as ``tcp://node:8786``, whose workers have
        gmseg and access to the same files; replaces `workers`. Whoever can connect to it can
        run code on its workers.
    progress : callable, optional
        Function of a job, the slices done and all slices; called in this process only.
    tell : callable, optional
        Function of a line that describes the workers of the scheduler.

    Yields
    ------
    Outcome
        One per job; with one process in their order. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If the scheduler does not answer, or Dask is not installed.
    """
    if jobs and scheduler:
        from gmseg.batch.cluster import run_on_cluster

        yield from run_on_cluster(jobs, model, scheduler, tell)
        return
    if workers > 1 and len(jobs) > 1:
        from gmseg.batch.processes import run_in_processes

        yield from run_in_processes(jobs, model, workers)
        return
    for job in jobs:
        try:
            yield work(job, model, None if progress is None else partial(progress, job))
        except Exception as error:
            yield Outcome(job, None, *faulty(error, job.scan))


def work(job: Job, model: Model, progress: Callable | None = None) -> Outcome:
    """Segment one scan and write its files; return the outcome, also of a bad scan."""
    from gmseg.inference.segment import segment_files

    try:
        made_from = fingerprint(job, model)
        overwrite = job.overwrite or _may_replace(job, made_from)
        with _files_to_write(job, model) as files:
            summary = segment_files(
                job.scan,
                files,
                model,
                description=made_from,
                overwrite=overwrite,
                progress=progress,
                **job.choices,
            )
            entry = summary.to_dict() | {"mask": str(job.files["mask"]), "made_from": made_from}
            _log.info(
                "%s: model %s, standardised by %s, window %s, threshold %s, %.1f s",
                *(job.scan, entry["model"], entry["standardise"], entry["window"]),
                *(entry["threshold"], entry["seconds"]),
            )
            if job.report:
                _add_to_page(job.report, job, files, entry)
    except InputError as error:
        return Outcome(job, fault=message_of(error, job.scan))
    return Outcome(job, entry)


def _may_replace(job: Job, made_from: str) -> bool:
    """Return whether there are files that a resumed run replaces; refuse all others."""
    check_fingerprints(job, made_from)
    existing = [file for file in job.files.values() if file.exists() and not is_empty_file(file)]
    if existing and not job.resume:
        raise InputError(f"{existing[0]}: exists; use `overwrite=True` to replace it")
    return bool(existing)


def faulty(error: BaseException, scan: Path) -> tuple[str, bool]:
    """Return the message of an error that stopped one scan, and whether it is a bug of gmseg.

    Examples
    --------
    >>> faulty(MemoryError(), "t2s.nii")
    ('t2s.nii: too large for the free memory; use a machine with more memory', False)
    """
    if isinstance(error, InputError | OSError) or is_out_of_memory(error):
        return message_of(error, scan), False
    if type(error).__name__ == "KilledWorker":  # of Dask
        return worker_died(scan), False
    fault = " ".join(f"{scan}: {type(error).__name__}: {error}".split())
    _log.error("%s", fault, exc_info=error)
    return fault, True


def worker_died(scan: Path) -> str:
    """Return the message for a scan whose processes died.

    Examples
    --------
    >>> worker_died("t2s.nii").split(";")[0]
    't2s.nii: its workers died, probably because the memory was full'
    """
    fault = "its workers died, probably because the memory was full"
    return f"{scan}: {fault}; segment it alone, or with fewer workers"


def _checks(jobs: Sequence[Job], model: Model, out_dir: Path | None) -> dict:
    """Return the keyword arguments of `check_job` that all jobs share."""
    from gmseg.models.registry import card_of

    cords = {job.choices["cord"] for job in jobs if job.choices.get("cord")}
    return {
        "scans": {job.scan.resolve() for job in jobs},
        "inputs": [*cords, model.weights, card_of(model.weights)],
        "out_dir": out_dir,
        "overwrite": any(job.resume or job.overwrite for job in jobs),
    }


def _plan(
    jobs: Sequence[Job], model: Model, pending: list[Job], checks: dict, summary: SummaryFile | None
) -> Iterator[Outcome]:
    """Add the jobs to run to `pending`; yield the outcomes of those that fail or are done."""
    taken = {summary.path.resolve(): "the summary"} if summary else {}
    earlier = summary.earlier if summary else {}
    for job in jobs:
        entry = earlier.get(str(job.files["mask"]), {"flags": []})
        try:
            check_job(job, taken=taken, **checks)
            done = job.resume and is_done(job, model) and is_on_page(job)
            if done and summary:
                done = entry.get("made_from") == fingerprint(job, model)
        except (InputError, OSError) as error:
            yield Outcome(job, fault=message_of(error, job.scan))
            continue
        taken |= {file.resolve(): str(job.scan) for file in job.files.values()}
        if done:
            yield Outcome(job, entry, resumed=True)
        else:
            pending.append(job)


def _finish(report: Path | None, summary: SummaryFile | None, entries: list[dict]) -> None:
    """Write the summary and the index of the QC page."""
    if summary:
        summary.write(entries)
    if report:
        from gmseg.report.qc_page import write_index

        write_index(report)


def _in_order(entries: dict[int, dict]) -> list[dict]:
    return [entries[number] for number in sorted(entries)]


@contextlib.contextmanager
def _files_to_write(job: Job, model: Model) -> Iterator[dict[str, Path]]:
    """Yield the files of a job; those that only the QC page needs are deleted at the end."""
    if job.report is None:
        yield job.files
        return
    mask = job.files["mask"]
    with new_folders([mask]), temporary_folder(mask) as folder:
        kinds = ["soft", *(["spread"] if job.choices.get("tta", 0) > 1 else [])]
        kinds += ["cord"] if model.has_cord else []
        yield {kind: folder / f"{kind}.nii" for kind in kinds} | job.files


def _add_to_page(report: Path, job: Job, files: dict[str, Path], entry: dict) -> None:
    from gmseg.report.qc_page import add_scan

    add_scan(
        report,
        job.scan,
        files["mask"],
        soft=files.get("soft"),
        spread=files.get("spread"),
        cord=files.get("cord"),
        summary=entry,
        volume=job.choices.get("volume"),
        mean=job.choices.get("mean", False),
        command=job.command,
    )
