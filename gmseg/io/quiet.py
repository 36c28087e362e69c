"""Silence a library for a moment, in one thread, and leave nothing changed in the process."""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()
_users: Counter[logging.Logger] = Counter()  # of the filter below, by logger
_thread = threading.local()


def _passes(_record: logging.LogRecord) -> bool:
    """Return whether a record comes from a thread that is not silenced."""
    return not getattr(_thread, "depth", 0)


@contextmanager
def quiet_logger(logger: logging.Logger) -> Iterator[None]:
    """Drop the records of a logger that come from this thread; its level stays as it is.

    Examples
    --------
    >>> logger = logging.getLogger("some.library")
    >>> with quiet_logger(logger):
    ...     logger.error("is dropped")
    >>> logger.filters
    []
    """
    with _lock:
        _users[logger] += 1
        logger.addFilter(_passes)
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1
        with _lock:
            _users[logger] -= 1
            if not _users[logger]:
                logger.removeFilter(_passes)


@contextmanager
def warnings_as(action, category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings (``"ignore"``) or raise them (``"error"``), in one thread at a time.

    Python's filters belong to the process: two threads that change them at the same time would
    restore each other's.

    Examples
    --------
    >>> with warnings_as("ignore"):
    ...     warnings.warn("is ignored")
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield
