"""Run jobs in several processes of this machine, which talk by pipes and open no port."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from gmseg.batch import jobs as batch_jobs
from gmseg.batch.jobs import Job, Outcome
from gmseg.core.model import Model

RETRIES = 2
"""How often a scan is tried again after its process died."""


class _Task(NamedTuple):
    job: Job
    attempts: int = 0


@dataclass
class _Worker:
    """A process with cores of its own, which is started again if it dies."""

    number: int
    workers: int
    _pool: ProcessPoolExecutor = field(init=False)
    _processes: list[BaseProcess] = field(init=False)

    def __post_init__(self):
        self.start()

    def start(self) -> None:
        """Start the process; it is not a fork, because threads of this process may hold locks."""
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self.workers, self.number),
        )
        before = multiprocessing.active_children()
        self._pool.submit(os.getpid)  # starts it
        self._processes = [
            process for process in multiprocessing.active_children() if process not in before
        ]

    def submit(self, task: _Task, model: Model) -> Future:
        """Hand a job to the process; a job that is tried again may find files of its own."""
        job = replace(task.job, resume=True) if task.attempts else task.job
        try:
            return self._pool.submit(_work, job, model)
        except BrokenProcessPool:  # it died after its last job
            self.restart()
            return self._pool.submit(_work, job, model)

    def restart(self) -> None:
        """Start the process again."""
        self.end()
        self.wait()
        self.start()

    def end(self) -> None:
        """Ask the process to end; a job that it works on deletes its temporary files."""
        for process in self._processes:
            process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._pool.shutdown(cancel_futures=True)


def run_in_processes(jobs: Sequence[Job], model: Model, workers: int) -> Iterator[Outcome]:
    """Yield the outcome of every job as soon as it is done; see `gmseg.batch.jobs.run`."""
    waiting = deque(_Task(job) for job in jobs)
    workers = min(workers, len(jobs))
    pool = [_Worker(number, workers) for number in range(workers)]
    idle = list(pool)
    running: dict[Future, tuple[_Worker, _Task]] = {}
    try:
        while waiting or running:
            while idle and waiting:
                worker, task = idle.pop(0), waiting.popleft()
                running[worker.submit(task, model)] = worker, task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                worker, task = running.pop(future)
                idle.append(worker)
                outcome = _outcome_of(future, task.job)
                if outcome is None:
                    worker.restart()
                    if task.attempts < RETRIES:
                        waiting.append(task._replace(attempts=task.attempts + 1))
                        continue
                    outcome = Outcome(task.job, fault=batch_jobs.worker_died(task.job.scan))
                yield outcome
    finally:
        for worker in pool:
            worker.end()
        for worker in pool:
            worker.wait()


def _outcome_of(future: Future, job: Job) -> Outcome | None:
    """Return the outcome of a job, or None if its process died or was asked to end."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool) or (error and not isinstance(error, Exception)):
        return None
    if error:
        return Outcome(job, None, *batch_jobs.faulty(error, job.scan))
    return replace(future.result(), job=job)


# ------------------------------------------------------------------------------ in the processes


_ending = threading.Event()  # set when the process is asked to end


def _begin(workers: int, number: int) -> None:
    """Bind the process to its cores, and end it with the process that started it."""
    from gmseg.models.backend import share_cores

    share_cores(workers, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one decides
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end(number: int, _frame) -> None:
    """Leave the job, so that its temporary files are deleted."""
    _ending.set()
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _work(job: Job, model: Model) -> Outcome:
    """Run a job; return the outcome, also of a bug."""
    try:
        return batch_jobs.work(job, model)
    except Exception as error:
        if _ending.is_set():  # an import that is interrupted raises other errors
            raise SystemExit(1) from None
        return Outcome(job, None, *batch_jobs.faulty(error, job.scan))
    finally:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # nothing else would end this process
            os._exit(1)
