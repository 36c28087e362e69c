"""The training loop: steps, validations, checkpoints and logs."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import write_text
from gmseg.models.backend import import_keras
from gmseg.training import checkpoint
from gmseg.training.losses import poly_rate
from gmseg.training.protocol import Protocol
from gmseg.training.samples import TrainingSet, make_batch
from gmseg.training.validation import Case, mean_dice


@dataclass
class Run:
    """A training run: its networks, its state and what it validates on.

    Attributes
    ----------
    out : pathlib.Path
        Folder of the log and the checkpoint.
    protocol : Protocol
    seed : int
    network : keras.Model
        The compiled network up to the logits, which is trained.
    averaged : keras.Model
        The same network with the sigmoid, for the running average of the weights.
    state : checkpoint.State
    identity : str
        What another run must share to continue from this run's checkpoint.
    cases : list of Case
        Held-out scans.
    early_stop : int or None
        Validations without a better Dice before the run stops.
    """

    out: Path
    protocol: Protocol
    seed: int
    network: Any
    averaged: Any
    state: checkpoint.State
    identity: str
    cases: list[Case]
    early_stop: int | None

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.out / checkpoint.NAME, self.network, self.state, self.identity)

    @property
    def stopped_early(self) -> bool:
        """Whether enough validations have passed since the best."""
        if self.early_stop is None:
            return False
        return self.state.validations_since_best() >= self.early_stop


def run_steps(
    run: Run,
    training_set: TrainingSet,
    *,
    tensorboard: bool = False,
    progress: Callable[[dict], None] | None = None,
) -> None:
    """Train until the last step or an early stop.

    Parameters
    ----------
    run : Run
    training_set : TrainingSet
    tensorboard, progress
        See `gmseg.training.train.train`.

    Raises
    ------
    gmseg.errors.InputError
        If the loss is no longer finite.
    KeyboardInterrupt
        After Ctrl-C, SIGTERM or SIGHUP: the step is finished and a checkpoint written. The
        last two are then handled as they were before.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    optimiser, state = run.protocol.optimiser, run.state
    started, waited = time.perf_counter(), 0.0
    with (
        _stoppable() as stop,
        _batches(training_set, run.protocol, run.seed, state.step) as batches,
        _event_writer(run.out / "tensorboard" if tensorboard else None) as write_events,
    ):

        def validate() -> None:
            _validate(run)
            rate = poly_rate(state.step - 1, optimiser)
            write_events(state.step, loss=state.loss, dice=state.dice, rate=rate)

        if _is_due(run) and not _is_validated(run):  # the run ended during the validation
            validate()
        while state.step < optimiser.steps and not stop and not run.stopped_early:
            before = time.perf_counter()
            windows, masks = next(batches)
            waited += time.perf_counter() - before
            _train_step(run, windows, masks)
            due = _is_due(run)
            if state.step % checkpoint.AVERAGE_EVERY == 0 or due:
                state.update_average(run.network.get_weights(), optimiser.average)
            if due:
                run.save()  # a validation takes longer than some signals leave time for
                validate()
            if progress is not None:
                waiting = waited / (time.perf_counter() - started)
                numbers = {"loss": state.loss, "dice": state.dice, "waiting": waiting}
                progress({"step": state.step, "steps": optimiser.steps, **numbers})
        if stop:
            run.save()
    if stop:
        signal.raise_signal(stop[0])  # to the handler of the caller
        raise KeyboardInterrupt


def _is_due(run: Run) -> bool:
    """Return whether a validation follows the last step."""
    step, optimiser = run.state.step, run.protocol.optimiser
    return step > 0 and (step % optimiser.validate_every == 0 or step == optimiser.steps)


def _is_validated(run: Run) -> bool:
    """Return whether the last step was validated."""
    return bool(run.state.rows) and run.state.rows[-1][0] == run.state.step


def _train_step(run: Run, windows: np.ndarray, masks: np.ndarray) -> None:
    keras = import_keras()
    network, state = run.network, run.state
    network.optimizer.learning_rate = poly_rate(state.step, run.protocol.optimiser)
    if keras.backend.backend() == "torch":
        # its dropout draws from a global state that no checkpoint holds; on TensorFlow this
        # call would clear caches and take three times as long
        keras.utils.set_random_seed((run.seed * 1_000_003 + state.step) % 2**32)
    network.reset_metrics()  # older Keras would return the mean of all steps
    loss = float(network.train_on_batch(windows, masks))
    if not np.isfinite(loss):
        raise InputError(
            f"{run.out}: the loss is not a number at step {state.step}; "
            f"start again with a lower [optimiser] rate"
        )
    state.losses.append(loss)
    state.step += 1


def _validate(run: Run) -> None:
    """Score the averaged weights; write the checkpoint and the log."""
    run.averaged.set_weights(run.state.average)
    run.state.add_validation(mean_dice(run.averaged, run.cases))
    run.save()
    text = io.StringIO()
    rows = [["step", "loss", "validation_dice"], *run.state.rows]
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(run.out / "log.csv", text.getvalue())


@contextlib.contextmanager
def _batches(
    training_set: TrainingSet, protocol: Protocol, seed: int, first: int
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Yield the batches from step `first`, made ahead; they do not depend on the threads."""
    workers = max(1, (os.cpu_count() or 2) // 2)  # the network needs the others
    with ThreadPoolExecutor(workers) as pool:

        def batches():
            waiting: deque[Future] = deque()
            step = first
            while True:
                while len(waiting) <= workers and step < protocol.optimiser.steps:
                    waiting.append(pool.submit(make_batch, training_set, protocol, seed, step))
                    step += 1
                yield waiting.popleft().result()

        try:
            yield batches()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _event_writer(folder: Path | None) -> Iterator[Callable]:
    """Yield a function that writes numbers for TensorBoard, or does nothing without a folder."""
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


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Yield a list to which signals to end are added, so that the current step is finished."""
    stop: list[int] = []
    before = {}
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    try:
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                before[number] = signal.signal(number, lambda received, _: stop.append(received))
    except ValueError:  # only the main thread may handle signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
