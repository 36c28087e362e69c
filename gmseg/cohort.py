"""Many scans: one after the other, on processes of this machine, or on a Dask cluster.

Wherever it runs, a scan is segmented by the same function, `work`, and gives the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from gmseg.errors import InputError
from gmseg.files import check_input, sha256
from gmseg.pretrained import Model

RETRIES = 2
"""So often a scan is tried again that failed for another reason than its own."""


@dataclass(frozen=True)
class Job:
    """A scan to segment.

    Attributes
    ----------
    scan : pathlib.Path
        As the user named it.
    files : dict
        ``"mask"`` and, if wanted, ``"soft"`` and ``"spread"`` to where they are written.
    choices : dict
        Of `gmseg.segment`: threshold, centre, tta and the like.
    report : pathlib.Path or None
        Folder of the QC page that the scan is added to.
    command : tuple of str or None
        How it was asked for, for the page.
    """

    scan: Path
    files: dict[str, Path]
    choices: dict = field(default_factory=dict)
    report: Path | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    job : Job
    summary : dict or None
        See `gmseg.Segmentation`, and the ``"mask"``'s file; None where it failed.
    fault : str or None
        Why it failed, in one line.
    ours : bool
        Whether the fault is the program's or the machine's, and not the scan's.
    """

    job: Job
    summary: dict | None = None
    fault: str | None = None
    ours: bool = False


def run(
    jobs: Sequence[Job],
    model: Model,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Outcome]:
    """Segment scans, and yield what became of each as soon as it is done.

    Parameters
    ----------
    jobs : sequence of Job
    model : Model
    workers : int
        Processes on this machine; 1: this process alone.
    scheduler : str, optional
        Address of a `dask.distributed` scheduler, such as ``tcp://node:8786``, whose workers have
        gmseg and see the same files. Then `workers` does not count.
    progress : callable, optional
        Called with a job, slices done and slices in all; by this process alone.
    tell : callable, optional
        Called with a line on where the work goes on.

    Yields
    ------
    Outcome
        One per job; with one process in their order. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If there is no such scheduler, or Dask is not installed.
    """
    if scheduler is None and (workers == 1 or len(jobs) == 1):
        for job in jobs:
            try:
                yield work(job, model, None if progress is None else partial(progress, job))
            except Exception as error:
                yield _failed(job, error)
        return
    with _client(scheduler, workers) as client:
        if tell is not None:
            tell(f"{len(client.scheduler_info()['workers'])} workers, dashboard at "
                 f"{client.dashboard_link}")  # fmt: skip
        yield from _spread(client, jobs, model)


def work(job: Job, model: Model, progress: Callable | None = None) -> Outcome:
    """Segment one scan and write what is wanted of it; a fault of the scan's is returned."""
    from gmseg.pipeline import segment_files

    try:
        with _with_soft(job) as files:
            summary = segment_files(
                job.scan, files, model, mark=fingerprint(job, model), progress=progress,
                **job.choices,
            )  # fmt: skip
            summary["mask"] = str(job.files["mask"])
            if job.report:
                from gmseg.report import add_scan

                others = {kind: file for kind, file in files.items() if kind != "mask"}
                add_scan(job.report, job.scan, files["mask"], **others, summary=summary,
                         volume=job.choices.get("volume"), mean=job.choices.get("mean", False),
                         command=job.command)  # fmt: skip
    except InputError as error:
        return Outcome(job, fault=" ".join(str(error).split()))
    return Outcome(job, summary)


def _failed(job: Job, error: BaseException) -> Outcome:
    """Return the outcome of a job that failed for a reason that is not the scan's."""
    if isinstance(error, MemoryError):
        fault = "too large for the memory that is free; segment it on a larger machine"
        return Outcome(job, fault=f"{job.scan}: {fault}")
    if isinstance(error, OSError):
        return Outcome(job, fault=f"{error.filename or job.scan}: {error.strerror or error}")
    traceback.print_exception(error)
    fault = " ".join(f"{job.scan}: {type(error).__name__}: {error}".split())
    return Outcome(job, fault=fault, ours=True)


@contextlib.contextmanager
def _with_soft(job: Job) -> Iterator[dict[str, Path]]:
    """Give the files to write; a page shows the soft segmentation, too, which is not kept."""
    if job.report is None:
        yield job.files
        return
    with tempfile.TemporaryDirectory(prefix="gmseg-") as folder:
        wanted = ["soft", *(["spread"] if job.choices.get("tta", 0) > 1 else [])]
        yield {kind: Path(folder) / f"{kind}.nii" for kind in wanted} | job.files


def fingerprint(job: Job, model: Model) -> str:
    """Return what a job's files depend on, in few letters; it stands in their headers."""
    made_from = {
        "gmseg": metadata.version("gmseg"),
        "weights": model.weights_sha256,
        "model": [model.threshold, model.standardise, model.window, model.voxel_size_mm],
        "scan": sha256(check_input(job.scan)),
        "choices": {name: sha256(check_input(value)) if name == "cord" and value else value
                    for name, value in sorted(job.choices.items())},
    }  # fmt: skip
    text = json.dumps(made_from, sort_keys=True, default=list)
    return f"gmseg {made_from['gmseg']} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_done(job: Job, model: Model) -> bool:
    """Return whether a job's files are there already and are what it would write.

    Raises
    ------
    gmseg.errors.InputError
        If one of them is there and was made otherwise.
    """
    from gmseg.image import mark_of

    there = [file for file in job.files.values() if file.exists()]
    mark = fingerprint(job, model) if there else ""
    for file in there:
        if mark_of(file) != mark:
            raise InputError(
                f"{file}: exists, and was not made from this scan by this model and these "
                f"choices; use --overwrite to replace it"
            )
    return len(there) == len(job.files)


# --------------------------------------------------------------------------------- with Dask


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int):
    """Give a client of a cluster, which is made here unless there is one."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("more than one worker needs Dask; pip install 'gmseg[cohort]'") from None
    with contextlib.ExitStack() as open_ones:
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            )
            scheduler = open_ones.enter_context(cluster).scheduler_address
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"--scheduler {scheduler}: does not answer ({error}); give the address that "
                f"dask scheduler prints, such as tcp://127.0.0.1:8786"
            ) from None
        yield open_ones.enter_context(client)


def _spread(client, jobs: Sequence[Job], model: Model) -> Iterator[Outcome]:
    """Send jobs to a cluster's workers; those of a worker that dies go to another."""
    from distributed import as_completed

    futures = {}
    for number, job in enumerate(jobs):
        name = f"{job.scan.name}-{number}"  # on the dashboard
        sent = client.submit(work, _anywhere(job), model, retries=RETRIES, pure=False, key=name)
        futures[sent] = job
    try:
        for future in as_completed(futures):
            job = futures[future]
            error = future.exception()
            yield _failed(job, error) if error else _as_named(future.result(), job)
    finally:
        client.cancel(list(futures))


def _anywhere(job: Job) -> Job:
    """Return a job that means the same in another working folder."""
    choices = {name: value.absolute() if isinstance(value, Path) else value
               for name, value in job.choices.items()}  # fmt: skip
    files = {kind: file.absolute() for kind, file in job.files.items()}
    report = job.report and job.report.absolute()
    return replace(job, scan=job.scan.absolute(), files=files, choices=choices, report=report)


def _as_named(outcome: Outcome, job: Job) -> Outcome:
    """Return an outcome of a worker's in the words of the user's job."""
    if outcome.fault:
        named = outcome.fault.replace(str(job.scan.absolute()), str(job.scan))
        return replace(outcome, job=job, fault=named)
    names = {"scan": str(job.scan), "mask": str(job.files["mask"])}
    return replace(outcome, job=job, summary=outcome.summary | names)
