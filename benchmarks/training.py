"""Time training on synthetic phantoms: ``python benchmarks/training.py``.

Measures seconds per slice, the share of the time that the network takes, and its arithmetic
compared with a matrix product. Training takes three times the multiply-adds of prediction: one
pass forward, one back to the values, one back to the weights. ``KERAS_BACKEND`` names the backend.
Writes a table to docs/performance.md.
"""

import argparse
import math
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from gmseg.datasets.phantom import write_challenge
from gmseg.io.files import write_between
from gmseg.models.backend import import_keras
from gmseg.models.factory import build, multiply_adds, network_sizes
from gmseg.training.protocol import load_protocol
from gmseg.training.train import train

PAGE = Path(__file__).parents[1] / "docs/performance.md"
BEGIN, END = "<!-- training: python benchmarks/training.py -->", "<!-- end of training -->"
WARM_UP = 8  # steps that compile, not timed
MATRIX_SIZE, PRODUCTS = 2048, 5
HEAD = (
    "window",
    "batch",
    "ms per slice",
    "share in the network",
    "G MAC per slice",
    "share of the matrix product's speed",
)


def main():
    """Train for a few steps on windows of every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--windows", type=int, nargs="+", default=[80, 200])
    choices = parser.parse_args()
    keras = import_keras()
    rate = matrix_rate()
    lines = [f"| {' | '.join(HEAD)} |", "|--:" * len(HEAD) + "|"]
    for size in choices.windows:
        seconds, share, work = time_training(keras, size, choices.batch, choices.steps)
        lines.append(
            f"| {size} x {size} | {choices.batch} | {1000 * seconds:.0f} | {share:.1%} | "
            f"{work / 1e9:.2f} | {work / seconds / rate:.0%} |"
        )
        print(lines[-1], flush=True)
    about = (
        f"Keras runs on {keras.backend.backend()}; MAC are multiply-adds. The matrix product does "
        f"{rate / 1e9:.0f} G MAC per second."
    )
    write_between(PAGE, BEGIN, END, "\n".join([about, "", *lines]))


def matrix_rate() -> float:
    """Return multiply-adds per second of a single-precision matrix product, best of several."""
    rng = np.random.default_rng(0)
    first, second = (rng.random((MATRIX_SIZE, MATRIX_SIZE), np.float32) for _ in range(2))
    first @ second  # starts the threads
    best = math.inf
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        first @ second
        best = min(best, time.perf_counter() - start)
    return MATRIX_SIZE**3 / best


def time_training(keras, size: int, batch: int, steps: int) -> tuple[float, float, int]:
    """Return seconds per slice, the share of the network, and its multiply-adds per slice."""
    default = load_protocol()
    count = steps + WARM_UP
    protocol = replace(
        default,
        windows=replace(default.windows, size=size, batch=batch),
        loss=replace(default.loss, calibrate=False),
        optimiser=replace(default.optimiser, steps=count, validate_every=count),
    )
    with timed_steps(keras) as times, tempfile.TemporaryDirectory() as name:
        write_challenge(Path(name) / "data", subjects=2, seed=1)
        train(Path(name) / "data", Path(name) / "out", protocol=protocol, split="all")
    starts, ends = zip(*times[WARM_UP:], strict=True)
    wholes = [after - before for before, after in pairwise(starts)]
    in_network = [end - start for start, end in zip(starts, ends, strict=True)][:-1]
    work = 3 * multiply_adds(build(network_sizes(protocol.network)), size, size)
    return statistics.median(wholes) / batch, sum(in_network) / sum(wholes), work


@contextmanager
def timed_steps(keras):
    """Collect the start and the end of every training step of Keras."""
    times = []
    original = keras.Model.train_on_batch

    def train_on_batch(self, *args, **kwargs):
        start = time.perf_counter()
        loss = original(self, *args, **kwargs)
        times.append((start, time.perf_counter()))
        return loss

    keras.Model.train_on_batch = train_on_batch
    try:
        yield times
    finally:
        keras.Model.train_on_batch = original


if __name__ == "__main__":
    main()
