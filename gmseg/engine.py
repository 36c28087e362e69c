"""Start Keras and its engine: in single precision, fast, and without chatter."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType


def import_keras() -> ModuleType:
    """Import Keras on the engine that ``KERAS_BACKEND`` names, TensorFlow by default.

    What TensorFlow prints while it starts is dropped, and its oneDNN kernels are turned on,
    which it does by itself on some processors only: they take about 0.6 of the time.

    Raises
    ------
    ImportError
        If Keras or the engine is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _silent_standard_error():
        keras = importlib.import_module("keras")
        keras.ops.zeros(1)  # TensorFlow speaks again at its first operation
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new batch size
    return keras


@contextlib.contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Drop what compiled code writes to standard error; exceptions still pass."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
