"""The process of the command: its standard streams, and what its libraries leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_streams() -> None:
    """Open standard streams that the caller has closed, such as by ``>&-``, to nowhere.

    Otherwise the next file that is opened takes the stream's number, and Python has no stream to
    print to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # os.open returns the lowest free number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        # a file name may contain characters that the terminal's encoding lacks
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@contextmanager
def temporary_settings() -> Iterator[None]:
    """Give matplotlib and Keras a folder that is deleted at the end, instead of the user's home.

    They create the folder when they are imported: matplotlib for a list of fonts, Keras for its
    default settings. Folders that the user has chosen are used as they are.
    """
    import tempfile

    folder = None
    with suppress(OSError):  # there is no temporary folder
        folder = Path(tempfile.gettempdir(), f"gmseg-{os.urandom(8).hex()}")
        os.environ.setdefault("MPLCONFIGDIR", str(folder))
        if not Path("~/.keras/keras.json").expanduser().exists():
            os.environ.setdefault("KERAS_HOME", str(folder))
    try:
        yield
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def end_like_a_broken_pipe() -> None:
    """End without a message, as Unix tools do when the reader of their output has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # what is still buffered goes nowhere
        os.dup2(nowhere, number)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
    sys.exit(1)
