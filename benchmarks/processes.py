"""Run whole processes, let several take turns, and compare their measurements."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = [sys.executable]
_PROGRAM = Path(sys.executable).with_name("gmseg")
GMSEG = [str(_PROGRAM)] if _PROGRAM.exists() else [*PYTHON, "-m", "gmseg"]


def measure(command: list, cores: list[int] | None = None) -> dict:
    """Run a command and return its ``seconds``, ``cpu_seconds`` and ``peak_bytes``.

    Parameters
    ----------
    command : list
        Path of a program, and its arguments.
    cores : list of int, optional
        Cores that the process is bound to; all by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        bound = "all" if cores is None else ",".join(map(str, cores))
        launcher = [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(result), bound]
        done = subprocess.run(
            [*launcher, *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        measured = json.loads(result.read_text("utf-8")) if result.exists() else {"exit": None}
    if measured.pop("exit") != 0:
        shown = " ".join(Path(part).name for part in map(str, command[:3]))
        raise SystemExit(f"{shown} ... failed:\n{done.stderr[-2000:]}")
    return measured


def take_turns(
    alternatives: dict[str, Callable[[], dict]], rounds: int, title: str
) -> dict[str, list[dict]]:
    """Run alternatives interleaved, A B C A B C, so that other load affects all of them equally.

    Returns
    -------
    dict of str to list of dict
        Measurements of every alternative, one per round.
    """
    measured: dict[str, list[dict]] = {name: [] for name in alternatives}
    for turn, name in itertools.product(range(rounds), alternatives):
        measured[name].append(alternatives[name]())
        seconds = measured[name][-1].get("seconds")
        shown = "" if seconds is None else f"  {seconds:.2f} s"
        print(f"{title}, round {turn + 1} of {rounds}: {name}{shown}", file=sys.stderr, flush=True)
    return measured


def column(runs: list[dict], key: str) -> list[float]:
    """Return one value of every round."""
    return [run[key] for run in runs]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def ratios(values: list[float], baseline: list[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum of the ratios of two values of one round."""
    return spread([value / other for value, other in zip(values, baseline, strict=True)])


def available_cores() -> list[int]:
    """Return the numbers of the cores that this process may use; empty where unknown."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
