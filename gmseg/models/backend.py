"""Import Keras on its backend, and decide on how many threads networks run."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil

from gmseg.errors import InputError

_shared = {"processes": 1}  # that share the cores of this machine


def share_cores(processes: int, number: int | None = None) -> None:
    """Share the cores of this machine among processes.

    Parameters
    ----------
    processes : int
        Number of processes.
    number : int, optional
        Number of this one, from 0: it is bound to cores of its own where the system can.
    """
    if number is not None and hasattr(os, "sched_setaffinity"):
        mine = _cores()[number % len(_cores()) :: processes]
        for thread in Path(
            "/proc/self/task"
        ).iterdir():  # threads that run already are bound as well
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread.name), mine)
    _shared["processes"] = processes


@functools.cache
def _cores() -> list[int]:
    """Return the cores that this process could use when it started."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # macOS, Windows


def threads() -> int:
    """Return the number of threads for a network: one per physical core that may be used."""
    try:  # two logical cores may share one
        where = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        real = len({Path(where.format(core)).read_text() for core in _cores()})
    except OSError:
        real = min(len(_cores()), psutil.cpu_count(logical=False) or len(_cores()))
    return max(1, real // _shared["processes"])


def import_keras() -> ModuleType:
    """Import Keras with the backend that ``KERAS_BACKEND`` names, TensorFlow by default.

    TensorFlow's output at the start is suppressed. Its oneDNN kernels, which take about 0.6 of
    the time, are enabled on all processors; TensorFlow enables them on some only.

    Raises
    ------
    gmseg.errors.InputError
        If Keras or the backend is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    try:
        with _silent_standard_error():
            keras = importlib.import_module("keras")
            keras.ops.zeros(1)  # TensorFlow prints again at its first operation
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; training, and models without an exported graph, need "
            f"it: pip install 'gmseg[train]'"
        ) from None
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new batch size
    return keras


@contextlib.contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Suppress what compiled code writes to standard error; exceptions still pass."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
