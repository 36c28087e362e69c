"""Run jobs on several processes of this machine or on a cluster, by Dask."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gmseg.batch import jobs as batch_jobs
from gmseg.batch.jobs import Job, Outcome
from gmseg.core.model import Model
from gmseg.errors import InputError

RETRIES = 2
"""How often a scan is tried again after its worker died or broke down."""


def run_parallel(
    jobs: Sequence[Job],
    model: Model,
    *,
    workers: int,
    scheduler: str | None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Outcome]:
    """Yield the outcome of every job as soon as it is done; see `gmseg.batch.jobs.run`."""
    with _connect(scheduler, workers) as client:
        if tell is not None:
            count = len(client.ncores())
            waiting = "" if count else " yet, waiting for some to join"
            tell(f"{count} workers{waiting}, dashboard at {client.dashboard_link}")
        yield from _distribute(client, jobs, model, bind_cores=scheduler is None)


@contextlib.contextmanager
def _connect(scheduler: str | None, workers: int):
    """Yield a client of the scheduler, or of a cluster that is started on this machine."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("several workers need Dask; pip install 'gmseg[cohort]'") from None
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # otherwise Dask kills a worker with a large scan silently
                dashboard_address="127.0.0.1:0",  # file names stay on this machine
                silence_logs=logging.CRITICAL,
            )
            scheduler = stack.enter_context(cluster).scheduler_address
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"`scheduler={scheduler!r}`: does not answer ({error}); give the address that "
                f"dask scheduler prints, such as tcp://127.0.0.1:8786"
            ) from None
        yield stack.enter_context(client)


def _distribute(
    client, jobs: Sequence[Job], model: Model, *, bind_cores: bool
) -> Iterator[Outcome]:
    """Send jobs to the workers of a cluster; those of a worker that dies go to another."""
    from distributed import as_completed

    model = replace(model, weights=model.weights.absolute())
    threads: Counter[str] = Counter()  # of the workers on every machine
    for address, count in client.nthreads().items():
        threads[_host(address)] += count
    futures = {}
    for number, job in enumerate(jobs):
        future = client.submit(
            _work_on_worker,
            _with_absolute_paths(job),
            model,
            dict(threads),
            bind_cores,
            retries=RETRIES,
            pure=False,
            key=f"{job.scan.name}-{number}",  # shown on the dashboard
        )
        futures[future] = job
    try:
        for future in as_completed(futures):
            job = futures[future]
            if future.cancelled():
                fault = f"{job.scan}: the connection to the scheduler was lost; run it again"
                yield Outcome(job, fault=fault)
            elif error := future.exception():
                yield Outcome(job, None, *batch_jobs.faulty(error, job.scan))
            else:
                yield _with_paths_of(job, future.result())
    finally:
        client.cancel(list(futures))


def _work_on_worker(job: Job, model: Model, threads: dict[str, int], bind_cores: bool) -> Outcome:
    """Run a job on one of several workers, which share the cores of their machine."""
    from distributed import get_worker

    from gmseg.models.backend import share_cores

    worker = get_worker()
    share_cores(threads.get(_host(worker.address), 1), int(worker.name) if bind_cores else None)
    return batch_jobs.work(job, model)


def _host(address: str) -> str:
    """Return the machine of a worker's address, such as tcp://10.0.0.7:40123."""
    return address.split("//")[-1].rsplit(":", 1)[0]


def _with_absolute_paths(job: Job) -> Job:
    """Return a job that means the same in another working folder."""
    choices = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in job.choices.items()
    }
    files = {kind: file.absolute() for kind, file in job.files.items()}
    report = job.report and job.report.absolute()
    return replace(job, scan=job.scan.absolute(), files=files, choices=choices, report=report)


def _with_paths_of(job: Job, outcome: Outcome) -> Outcome:
    """Return the outcome of a worker with the paths as the user gave them."""
    if outcome.fault is not None or outcome.summary is None:
        fault = str(outcome.fault).replace(str(job.scan.absolute()), str(job.scan))
        return replace(outcome, job=job, fault=fault)
    paths = {"scan": str(job.scan), "mask": str(job.files["mask"])}
    return replace(outcome, job=job, summary=outcome.summary | paths)
