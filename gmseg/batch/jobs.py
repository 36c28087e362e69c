"""Segment many scans: one after the other, or in parallel with the same results."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gmseg.batch.outputs import check_job, check_summary
from gmseg.batch.resume import (
    check_fingerprints,
    fingerprint,
    is_done,
    is_on_page,
    read_entries,
    write_summary,
)
from gmseg.core.model import Model
from gmseg.errors import InputError, is_out_of_memory, message_of, print_traceback

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
        `gmseg.inference.segment.TYPES`.
    choices : dict
        Keyword arguments of `gmseg.segment`: threshold, centre, tta, ...
    report : pathlib.Path or None
        Folder of the QC page that the scan is added to.
    command : tuple of str or None
        Command line that the page shows.
    overwrite : bool
        Whether files made from another scan, model or choice may be replaced.
    """

    scan: Path
    files: dict[str, Path]
    choices: dict = field(default_factory=dict)
    report: Path | None = None
    command: tuple[str, ...] | None = None
    overwrite: bool = False


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
    resume: bool = False,
    **run_options,
) -> Generator[Outcome, None, None]:
    """Check jobs, skip those that are done, run the others, and write the summary.

    Parameters
    ----------
    jobs : sequence of Job
        Scans to segment, with the same `overwrite` and `report`.
    model : Model
        Model to use.
    summary : pathlib.Path, optional
        JSON file of what was done and measured; it is up to date even if the run is interrupted.
    out_dir : pathlib.Path, optional
        Folder that is created if missing.
    resume : bool
        Whether to skip scans with results of the same model and choices.
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
    checks = _checks(jobs, model, out_dir, resume)
    if summary:
        check_summary(summary, **checks)
    earlier = read_entries(summary) if summary and resume else {}
    numbers = {id(job): number for number, job in enumerate(jobs)}
    entries: dict[int, dict] = {}  # by the number of the job
    pending: list[Job] = []
    try:
        for outcome in _plan(jobs, model, pending, checks, summary, earlier, resume):
            if outcome.summary is not None:
                entries[numbers[id(outcome.job)]] = outcome.summary
            yield outcome
        written = time.monotonic()
        for outcome in run(pending, model, **run_options):
            if outcome.summary is not None:
                entries[numbers[id(outcome.job)]] = outcome.summary
                if summary and time.monotonic() > written + _WRITE_INTERVAL_S:
                    write_summary(summary, earlier, _in_order(entries))
                    written = time.monotonic()
            yield outcome
    finally:
        if entries:
            _finish(jobs[0].report, summary, earlier, _in_order(entries))


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
        gmseg and access to the same files; replaces `workers`.
    progress : callable, optional
        Function of a job, the slices done and all slices; called in this process only.
    tell : callable, optional
        Function of a line that describes the workers.

    Yields
    ------
    Outcome
        One per job; with one process in their order. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If the scheduler does not answer, or Dask is not installed.
    """
    if jobs and (scheduler or (workers > 1 and len(jobs) > 1)):
        from gmseg.batch.parallel import run_parallel

        yield from run_parallel(jobs, model, workers=workers, scheduler=scheduler, tell=tell)
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
        if not job.overwrite:
            check_fingerprints(job, made_from)
        with _files_to_write(job, model) as files:
            summary = segment_files(
                job.scan, files, model, description=made_from, progress=progress, **job.choices
            )
            entry = summary.to_dict() | {"mask": str(job.files["mask"]), "made_from": made_from}
            if job.report:
                _add_to_page(job.report, job, files, entry)
    except InputError as error:
        return Outcome(job, fault=message_of(error, job.scan))
    return Outcome(job, entry)


def faulty(error: BaseException, scan: Path) -> tuple[str, bool]:
    """Return the message of an error that stopped one scan, and whether it is a bug of gmseg.

    Examples
    --------
    >>> faulty(MemoryError(), "t2s.nii")
    ('t2s.nii: too large for the free memory; use a machine with more memory', False)
    """
    if isinstance(error, InputError | OSError) or is_out_of_memory(error):
        return message_of(error, scan), False
    if type(error).__name__ == "KilledWorker":
        fault = "its workers died, probably because the memory was full"
        return f"{scan}: {fault}; segment it alone, or with fewer workers", False
    print_traceback(error)
    return " ".join(f"{scan}: {type(error).__name__}: {error}".split()), True


def _checks(jobs: Sequence[Job], model: Model, out_dir: Path | None, resume: bool) -> dict:
    """Return the keyword arguments of `check_job` that all jobs share."""
    from gmseg.models.registry import card_of

    cords = {job.choices["cord"] for job in jobs if job.choices.get("cord")}
    return {
        "scans": {job.scan.resolve() for job in jobs},
        "inputs": [*cords, model.weights, card_of(model.weights)],
        "out_dir": out_dir,
        "overwrite": resume or any(job.overwrite for job in jobs),
    }


def _plan(
    jobs: Sequence[Job],
    model: Model,
    pending: list[Job],
    checks: dict,
    summary: Path | None,
    earlier: dict[str, dict],
    resume: bool,
) -> Iterator[Outcome]:
    """Add the jobs to run to `pending`; yield the outcomes of those that fail or are done."""
    taken = {summary.resolve(): "the summary"} if summary else {}
    for job in jobs:
        entry = earlier.get(str(job.files["mask"]), {"flags": []})
        try:
            check_job(job, taken=taken, **checks)
            done = resume and is_done(job, model) and is_on_page(job)
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


def _finish(
    report: Path | None, summary: Path | None, earlier: dict[str, dict], entries: list[dict]
) -> None:
    """Write the summary and the index of the QC page."""
    if summary:
        write_summary(summary, earlier, entries)
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
    with tempfile.TemporaryDirectory(prefix="gmseg-") as folder:
        kinds = ["soft", *(["spread"] if job.choices.get("tta", 0) > 1 else [])]
        kinds += ["cord"] if model.has_cord else []
        yield {kind: Path(folder) / f"{kind}.nii" for kind in kinds} | job.files


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
