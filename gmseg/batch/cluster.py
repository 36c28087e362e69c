"""Run jobs on the workers of a Dask scheduler."""

from __future__ import annotations

import contextlib
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


def run_on_cluster(
    jobs: Sequence[Job], model: Model, scheduler: str, tell: Callable[[str], None] | None = None
) -> Iterator[Outcome]:
    """Yield the outcome of every job as soon as it is done; see `gmseg.batch.jobs.run`."""
    with _connect(scheduler) as client:
        if tell is not None:
            count = len(client.ncores())
            waiting = "" if count else " yet, waiting for some to join"
            tell(f"{count} workers{waiting}, dashboard at {client.dashboard_link}")
        yield from _distribute(client, jobs, model)


@contextlib.contextmanager
def _connect(scheduler: str):
    """Yield a client of the scheduler; the configuration of Dask says whether it uses TLS."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError("`scheduler` needs Dask; pip install 'gmseg[cluster]'") from None
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, TypeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"`scheduler={scheduler!r}`: does not answer ({error}); give the address that "
            f"dask scheduler prints, such as tcp://127.0.0.1:8786 or, with TLS, tls://node:8786"
        ) from None
    with client:
        yield client


def _distribute(client, jobs: Sequence[Job], model: Model) -> Iterator[Outcome]:
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


def _work_on_worker(job: Job, model: Model, threads: dict[str, int]) -> Outcome:
    """Run a job on one of several workers, which share the cores of their machine."""
    from distributed import get_worker

    from gmseg.models.backend import share_cores

    share_cores(threads.get(_host(get_worker().address), 1))
    return batch_jobs.work(job, model)


def _host(address: str) -> str:
    """Return the machine of a worker's address, such as tcp://10.0.0.7:40123."""
    return address.split("//")[-1].rsplit(":", 1)[0]


def _with_absolute_paths(job: Job) -> Job:
    """Return a job that means the same in another working folder, and after a first attempt."""
    choices = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in job.choices.items()
    }
    files = {kind: file.absolute() for kind, file in job.files.items()}
    report = job.report and job.report.absolute()
    # a worker may die when the files are written and the page is not
    return replace(
        job, scan=job.scan.absolute(), files=files, choices=choices, report=report, resume=True
    )


def _with_paths_of(job: Job, outcome: Outcome) -> Outcome:
    """Return the outcome of a worker with the paths as the user gave them."""
    if outcome.fault is not None or outcome.summary is None:
        fault = str(outcome.fault).replace(str(job.scan.absolute()), str(job.scan))
        return replace(outcome, job=job, fault=fault)
    paths = {"scan": str(job.scan), "mask": str(job.files["mask"])}
    return replace(outcome, job=job, summary=outcome.summary | paths)
