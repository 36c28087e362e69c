"""Limits of time and memory, so that a test fails where a file makes a call hang or grow."""

import contextlib
import re
import signal
from pathlib import Path


class TookTooLong(BaseException):
    """Not an `Exception`, so that the code under test cannot catch it."""


@contextlib.contextmanager
def limits(seconds: float, megabytes: float | None = None):
    """Fail if the block takes more seconds or, on Linux, more memory at its peak."""

    def raise_alarm(*args):
        raise TookTooLong(f"took more than {seconds} s")

    has_timer = hasattr(signal, "setitimer")
    if has_timer:
        before = signal.signal(signal.SIGALRM, raise_alarm)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        start = _peak_mb(reset=True)
        yield
        taken = _peak_mb() - start
        assert megabytes is None or taken <= megabytes, f"took {taken:.0f} MB"
    finally:
        if has_timer:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _peak_mb(*, reset: bool = False) -> float:
    """Return the peak memory of the process since the last call with `reset`."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024
