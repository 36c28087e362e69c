"""Whole processes: run one, let several take turns, compare them."""

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


def measured(command: list, cores: list[int] | None = None) -> dict:
    """Run a command from start to end: its wall clock, its processor time, its peak memory.

    Parameters
    ----------
    command : list
        A program with its path, and its arguments.
    cores : list of int, optional
        Those that it is bound to.

    Returns
    -------
    dict
        ``seconds``, ``cpu_seconds``, ``peak_bytes``.
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
        told = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"exit": None}
    if told.pop("exit") != 0:
        shown = " ".join(Path(part).name for part in map(str, command[:3]))
        raise SystemExit(f"{shown} ... failed:\n{done.stderr[-2000:]}")
    return told


def in_turns(alternatives: dict[str, Callable[[], dict]], rounds: int, what: str) -> dict:
    """Let alternatives take turns, A B C A B C, so that what else happens hits all of them.

    Parameters
    ----------
    alternatives : dict of str to callable
    rounds : int
    what : str
        Told on standard error.

    Returns
    -------
    dict of str to list
        What each of them returned, one entry per round.
    """
    found = {name: [] for name in alternatives}
    for turn, name in itertools.product(range(rounds), alternatives):
        found[name].append(alternatives[name]())
        told = found[name][-1].get("seconds")
        told = "" if told is None else f"  {told:.2f} s"
        print(f"{what}, round {turn + 1} of {rounds}: {name}{told}", file=sys.stderr, flush=True)
    return found


def column(entries: list[dict], key: str) -> list[float]:
    """Return one value of every round."""
    return [entry[key] for entry in entries]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return median, lowest and highest."""
    return statistics.median(values), min(values), max(values)


def ratios(values: list[float], rivals: list[float]) -> tuple[float, float, float]:
    """Return median, lowest and highest of the ratios, each of two values of one round."""
    return spread([one / other for one, other in zip(values, rivals, strict=True)])


def cores_here() -> list[int]:
    """Return the numbers of the cores that this process may use; none where that is not known."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
