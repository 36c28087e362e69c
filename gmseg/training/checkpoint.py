"""The state of a training run, written atomically and read back exactly."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import atomic_path

AVERAGE_EVERY = 10  # steps, and before validations: enough for averages over hundreds
NAME = "checkpoint.npz"
_LOG = ("step", "followed", "rows", "losses")  # keys of the file


@dataclass
class State:
    """Progress of a training run.

    Attributes
    ----------
    average : list of numpy.ndarray
        Running average of the network's weights.
    best : list of numpy.ndarray
        The average at the best validation.
    step : int
        Steps done.
    followed : int
        Step at which the average was last updated.
    rows : list of [step, loss, validation Dice]
        One per validation.
    losses : list of float
        Losses since the last validation.
    """

    average: list[np.ndarray]
    best: list[np.ndarray]
    step: int = 0
    followed: int = 0
    rows: list = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def dice(self) -> float:
        """Dice of the last validation."""
        return self.rows[-1][2] if self.rows else float("nan")

    @property
    def loss(self) -> float:
        """Mean loss since the last validation."""
        return float(np.mean(self.losses)) if self.losses else self.rows[-1][1]

    def update_average(self, weights: list[np.ndarray], decay: float) -> None:
        """Add the weights of this step to the average, in which early ones soon lose weight.

        Polyak & Juditsky, SIAM J. Control Optim. 30:838 (1992), with exponential decay.
        """
        passed = self.step - self.followed
        if passed == 0:
            return
        share = min(decay, self.step / (self.step + 100)) ** passed if decay > 0 else 0.0
        self.followed = self.step
        self.average = [
            share * old + (1 - share) * new for old, new in zip(self.average, weights, strict=True)
        ]

    def add_validation(self, dice: float) -> None:
        """Add a validation to the rows, and keep the average if it is the best."""
        if not dice <= max([row[2] for row in self.rows], default=-1.0):
            self.best = self.average
        self.rows.append([self.step, float(np.mean(self.losses)), dice])
        self.losses = []

    def validations_since_best(self) -> int:
        """Return the number of validations after the first best one."""
        scores = [row[2] for row in self.rows]
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0


def save(path: Path, network, state: State, identity: str) -> None:
    """Write a run's state: network, optimiser, averages, log."""
    log = json.dumps({name: getattr(state, name) for name in _LOG})
    values: dict[str, Any] = {"identity": identity, "log": log}
    values |= {f"variable_{i}": np.asarray(v) for i, v in enumerate(_variables(network))}
    for name in ("average", "best"):
        values |= {f"{name}_{i}": value for i, value in enumerate(getattr(state, name))}
    with atomic_path(path) as temporary:
        np.savez(temporary, **values)


def load(path: Path, network, identity: str) -> State:
    """Read a run's state; the variables of `network` are replaced.

    Raises
    ------
    gmseg.errors.InputError
        If the file cannot be read or belongs to another run.
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
            f"{path}: is not a checkpoint that can be read ({type(error).__name__}); "
            f"remove it or choose another `out`"
        ) from None
    raise InputError(
        f"{path}: belongs to a run with another precision, protocol, seed or data; "
        f"choose another `out`"
    )


def _variables(network) -> list:
    return [*network.variables, *network.optimizer.variables]
