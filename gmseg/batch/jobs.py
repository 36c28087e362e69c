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

from gmseg import errors
from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import check_input, sha256
from gmseg.io.image import mark_of
from gmseg.io.image_file import open_image

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
    overwrite : bool
        Whether files may be replaced that were made otherwise.
    """

    scan: Path
    files: dict[str, Path]
    choices: dict = field(default_factory=dict)
    report: Path | None = None
    command: tuple[str, ...] | None = None
    overwrite: bool = False


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
    if (scheduler is None and (workers == 1 or len(jobs) == 1)) or not jobs:
        for job in jobs:
            try:
                yield work(job, model, None if progress is None else partial(progress, job))
            except Exception as error:
                yield Outcome(job, None, *faulty(error, job.scan))
        return
    with _client(scheduler, workers) as client:
        if tell is not None:
            count = len(client.ncores())
            tell(
                f"{count} workers{'' if count else ' yet, waiting for some to join'}, dashboard "
                f"at {client.dashboard_link}"
            )
        yield from _spread(client, jobs, model, bound=scheduler is None)


def work(job: Job, model: Model, progress: Callable | None = None) -> Outcome:
    """Segment one scan and write what is wanted of it; a fault of the scan's is returned."""
    from gmseg.inference.segment import segment_files

    try:
        mark = fingerprint(job, model)
        if not job.overwrite:
            _check_marks(job, mark)
        with _with_soft(job) as files:
            summary = segment_files(
                job.scan, files, model, mark=mark, progress=progress, **job.choices
            )
            entry = summary.to_dict() | {"mask": str(job.files["mask"]), "made_from": mark}
            if job.report:
                from gmseg.report.qc_page import add_scan

                others = {kind: file for kind, file in files.items() if kind != "mask"}
                add_scan(
                    job.report,
                    job.scan,
                    files["mask"],
                    **others,
                    summary=entry,
                    volume=job.choices.get("volume"),
                    mean=job.choices.get("mean", False),
                    command=job.command,
                )
    except InputError as error:
        return Outcome(job, fault=" ".join(str(error).split()))
    return Outcome(job, entry)


def faulty(error: BaseException, scan: Path) -> tuple[str, bool]:
    """Return what to say of an error that stopped one scan, and whether it is a fault of ours."""
    if isinstance(error, InputError | OSError):
        return " ".join(errors.message_of(error, scan).split()), False
    if isinstance(error, MemoryError):
        fault = "too large for the memory that is free; segment it on a larger machine"
        return f"{scan}: {fault}", False
    if type(error).__name__ == "KilledWorker":
        fault = "every worker that had it died, of too little memory most likely"
        return f"{scan}: {fault}; segment it alone, or with fewer workers", False
    traceback.print_exception(error)
    return " ".join(f"{scan}: {type(error).__name__}: {error}".split()), True


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
    usual = {"threshold": model.threshold, "standardise": model.standardise}
    told = {name: value for name, value in job.choices.items() if value is not None}
    choices = usual | told
    if choices.get("tta", 0) < 2:  # no copies: their seed does not matter
        choices = {name: value for name, value in choices.items() if name not in ("tta", "seed")}
    made_from = {
        "gmseg": metadata.version("gmseg"),
        "weights": model.weights_sha256,
        "model": [model.mean, model.std, model.window, model.voxel_size_mm],
        "scan": _hash(job.scan),
        "choices": {
            name: _hash(value) if name == "cord" and value else value
            for name, value in sorted(choices.items())
        },
    }
    text = json.dumps(made_from, sort_keys=True, default=list)
    return f"gmseg {made_from['gmseg']} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_done(job: Job, model: Model) -> bool:
    """Return whether a job's files are there already and are what it would write.

    Raises
    ------
    gmseg.errors.InputError
        If one of them is there and was made otherwise.
    """
    there = [file for file in job.files.values() if file.exists()]
    if there:
        _check_marks(job, fingerprint(job, model))
    return len(there) == len(job.files)


def _check_marks(job: Job, mark: str) -> None:
    """Refuse to replace files that are there and were made otherwise."""
    for file in job.files.values():
        if not file.exists() or (made := mark_of(file)) == mark:
            continue
        version, ours = made.split(" ")[:2], mark.split(" ")[:2]
        if version[0] == "gmseg" and version != ours:
            why = f"was made by {' '.join(version)}, and this is {ours[1]}"
        else:
            why = "was not made from this scan by this model and these choices"
        raise InputError(f"{file}: exists, and {why}; use --overwrite to replace it")


def _hash(path) -> list[str]:
    """Return the checksums of an image's files; some formats have two."""
    check_input(path)
    held = open_image(Path(path)).file_map.values()
    return [
        sha256(name)
        for name in sorted({str(one.filename) for one in held if one.filename})
        if Path(name).is_file()
    ]


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
                memory_limit=0,  # else a worker with a large scan is stopped without a word
                dashboard_address="127.0.0.1:0",  # file names are nobody else's business
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


def _spread(client, jobs: Sequence[Job], model: Model, *, bound: bool) -> Iterator[Outcome]:
    """Send jobs to a cluster's workers; those of a worker that dies go to another."""
    from distributed import as_completed

    model = replace(model, weights=model.weights.absolute())
    beside: dict[str, int] = {}  # how many work at a time, machine by machine
    for address, count in client.nthreads().items():
        beside[_host(address)] = beside.get(_host(address), 0) + count
    futures = {}
    for number, job in enumerate(jobs):
        name = f"{job.scan.name}-{number}"  # on the dashboard
        sent = client.submit(
            _work_beside,
            _anywhere(job),
            model,
            beside,
            bound,
            retries=RETRIES,
            pure=False,
            key=name,
        )
        futures[sent] = job
    try:
        for future in as_completed(futures):
            job = futures[future]
            if future.cancelled():
                fault = f"{job.scan}: the scheduler was lost before it was done; run it again"
                yield Outcome(job, fault=fault)
            elif error := future.exception():
                yield Outcome(job, None, *faulty(error, job.scan))
            else:
                yield _as_named(future.result(), job)
    finally:
        client.cancel(list(futures))


def _work_beside(job: Job, model: Model, beside: dict[str, int], bound: bool) -> Outcome:
    """Do as `work` on one of several workers, which share their machine's cores."""
    from distributed import get_worker

    from gmseg.models.backend import share_cores

    worker = get_worker()
    share_cores(beside.get(_host(worker.address), 1), int(worker.name) if bound else None)
    return work(job, model)


def _host(address: str) -> str:
    """Return the machine of a worker's address, such as tcp://10.0.0.7:40123."""
    return address.split("//")[-1].rsplit(":", 1)[0]


def _anywhere(job: Job) -> Job:
    """Return a job that means the same in another working folder."""
    choices = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in job.choices.items()
    }
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
