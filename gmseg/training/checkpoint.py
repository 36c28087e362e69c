"""The state of a training run: written whole or not at all, and read back exactly."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import atomic_path

AVERAGE_EVERY = 10  # steps, and before validations: enough for averages over hundreds


@dataclass
class State:
    """How far a run has come.

    Attributes
    ----------
    step, followed : int
        Steps done, and how many of them the average knows.
    rows : list of [step, loss, validation Dice]
        One per validation.
    average : list of numpy.ndarray
        Running average of the network's weights.
    best : list of numpy.ndarray
        The average where validation was best.
    losses : list of float
        Since the last validation.
    """

    average: list
    best: list
    step: int = 0
    followed: int = 0
    rows: list = field(default_factory=list)
    losses: list = field(default_factory=list)

    @property
    def dice(self) -> float:
        return self.rows[-1][2] if self.rows else float("nan")

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses)) if self.losses else self.rows[-1][1]

    def follow(self, weights: list, decay: float) -> None:
        """Take the weights of this step into the average, in which early ones soon fade.

        Polyak & Juditsky, SIAM J. Control Optim. 30:838 (1992), with forgetting.
        """
        passed = self.step - self.followed
        if passed == 0:
            return
        share = min(decay, self.step / (self.step + 100)) ** passed if decay > 0 else 0.0
        self.followed = self.step
        self.average = [
            share * old + (1 - share) * new for old, new in zip(self.average, weights, strict=True)
        ]

    def validated(self, dice: float) -> None:
        """Note a validation, and whether it was the best."""
        if not dice <= max([row[2] for row in self.rows], default=-1.0):
            self.best = self.average
        self.rows.append([self.step, float(np.mean(self.losses)), dice])
        self.losses = []

    def validations_since_best(self) -> int:
        """Return how many validations there were after the first best one."""
        scores = [row[2] for row in self.rows]
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0


def save(path: Path, network, state: State, identity: str) -> None:
    """Write a run's state: network, optimiser, averages, log."""
    values = {f"variable_{i}": np.asarray(v) for i, v in enumerate(_variables(network))}
    for name in ("average", "best"):
        values |= {f"{name}_{i}": value for i, value in enumerate(getattr(state, name))}
    kept = ("step", "followed", "rows", "losses")
    log = json.dumps({name: getattr(state, name) for name in kept})
    with atomic_path(path) as temporary:
        np.savez(temporary, identity=identity, log=log, **values)


def load(path: Path, network, identity: str) -> State:
    """Read a run's state back; `network` gets its variables.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read or is another run's.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            same = str(saved["identity"]) == identity
            if same:
                for i, variable in enumerate(_variables(network)):
                    variable.assign(saved[f"variable_{i}"])
                count = len(network.get_weights())
                average, best = (
                    [saved[f"{name}_{i}"] for i in range(count)] for name in ("average", "best")
                )
                return State(average, best, **json.loads(str(saved["log"])))
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is no checkpoint that can be read ({type(error).__name__}); "
            f"remove it or choose another --out"
        ) from None
    raise InputError(
        f"{path}: is of a run with another protocol, seed or data; choose another --out"
    )


def _variables(network) -> list:
    return [*network.variables, *network.optimizer.variables]
