"""TODO."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gmseg.io.files import atomic_path, write_text
from gmseg.training.protocol import Protocol
from gmseg.training.samples import TrainingSet, make_batch


@contextlib.contextmanager
def _batches(source: TrainingSet, protocol: Protocol, seed: int, step: int) -> Iterator[Iterator]:
    """Make batches ahead of their use; which ones does not depend on how many at a time."""
    workers = max(1, (os.cpu_count() or 2) // 2)  # the engine needs the others
    with ThreadPoolExecutor(workers) as pool:

        def ahead():
            waiting, next_step = deque(), step
            while True:
                while len(waiting) <= workers and next_step < protocol.optimiser.steps:
                    waiting.append(pool.submit(make_batch, source, protocol, seed, next_step))
                    next_step += 1
                yield waiting.popleft().result()

        try:
            yield ahead()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _events(folder: Path | None) -> Iterator[Callable]:
    """Return what writes numbers for TensorBoard; nothing where no folder is given."""
    if folder is None:
        yield lambda *_, **__: None
        return
    from tensorboard.summary import Writer

    writer = Writer(str(folder))

    def write(step: int, **numbers) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


def _write_log(path: Path, rows: list) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["step", "loss", "validation_dice"], *rows])
    write_text(path, text.getvalue())


def _write_curves(path: Path, rows: list) -> None:
    from gmseg.training.curves import draw_curves

    with atomic_path(path) as temporary:
        draw_curves(rows).savefig(temporary, format="png", dpi=150)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within it, Ctrl-C sets an event, so that a step is finished instead of torn down."""
    asked = threading.Event()
    try:
        before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    except ValueError:  # not in the main thread: signals are somebody else's
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
