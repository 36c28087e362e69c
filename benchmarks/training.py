"""Time training: ``python benchmarks/training.py``.

On made-up scans, by ``gmseg train``'s own function: seconds per slice that is trained on, what
share of the time the network takes, and its arithmetic (three times that of a look: forward, and
backward to the values and to the weights) against the machine's product of matrices. The engine is
the one that ``KERAS_BACKEND`` names. Writes a table into docs/performance.md.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

from arithmetic import rate

from gmseg.datasets.phantom import write_challenge
from gmseg.io.files import write_between
from gmseg.models.backend import import_keras
from gmseg.models.factory import build, multiply_adds, network_sizes
from gmseg.training.protocol import load_protocol
from gmseg.training.train import train

PAGE = Path(__file__).parents[1] / "docs/performance.md"
BEGIN, END = "<!-- training: python benchmarks/training.py -->", "<!-- end of training -->"
WARM = 8  # steps that compile and warm up, untimed


def main():
    """Train for some steps on windows of every size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--windows", type=int, nargs="+", default=[80, 200])
    choices = parser.parse_args()
    keras = import_keras()
    product = rate()
    columns = [
        "window",
        "batch",
        "ms per slice",
        "in the network",
        "G multiply-adds per slice",
        "of the matrix product",
    ]
    lines = [f"| {' | '.join(columns)} |", "|--:" * len(columns) + "|"]
    for size in choices.windows:
        taken, share, work = timed(keras, size, choices)
        lines.append(
            f"| {size} x {size} | {choices.batch} | {1000 * taken:.0f} | {share:.1%} | "
            f"{work / 1e9:.2f} | {work / taken / product:.0%} |"
        )
        print(lines[-1], flush=True)
    about = (
        f"Keras on {keras.backend.backend()}; the matrix product does "
        f"{product / 1e9:.0f} G multiply-adds a second."
    )
    write_between(PAGE, BEGIN, END, "\n".join([about, "", *lines]))


def timed(keras, size: int, choices) -> tuple[float, float, int]:
    """Return seconds per slice, the network's share of them, and its multiply-adds."""
    usual = load_protocol()
    protocol = dataclasses.replace(
        usual,
        windows=dataclasses.replace(usual.windows, size=size, batch=choices.batch),
        loss=dataclasses.replace(usual.loss, calibrate=False),
        optimiser=dataclasses.replace(
            usual.optimiser, steps=choices.steps + WARM, validate_every=choices.steps + WARM
        ),
    )
    begins, ends = [], []
    plain = keras.Model.train_on_batch

    def train_on_batch(self, *batch, **more):
        begins.append(time.perf_counter())
        loss = plain(self, *batch, **more)
        ends.append(time.perf_counter())
        return loss

    keras.Model.train_on_batch = train_on_batch
    try:
        with tempfile.TemporaryDirectory() as name:
            write_challenge(Path(name) / "data", subjects=2, seed=1)
            train(Path(name) / "data", Path(name) / "out", protocol=protocol, split="all")
    finally:
        keras.Model.train_on_batch = plain
    steps = [
        after - before for before, after in zip(begins[WARM:-1], begins[WARM + 1 :], strict=True)
    ]
    within = [end - begin for begin, end in zip(begins[WARM:-1], ends[WARM:-1], strict=True)]
    taken = statistics.median(steps) / choices.batch
    work = 3 * multiply_adds(build(network_sizes(protocol.network)), size, size)
    return taken, sum(within) / sum(steps), work


if __name__ == "__main__":
    main()
