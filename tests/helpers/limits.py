"""Limits on what a call may take, so that a test fails where a file makes it hang or swell."""

import contextlib
import re
import signal
from pathlib import Path


class TookTooLong(BaseException):
    """No `Exception`, so that nothing under test can swallow it."""


@contextlib.contextmanager
def limits(seconds: float, megabytes: float | None = None):
    """Fail if the block takes longer, or (on Linux) the process more memory at a time."""

    def ring(*args):
        raise TookTooLong(f"took more than {seconds} s")

    can_ring = hasattr(signal, "setitimer")
    if can_ring:
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        start = _peak_mb(anew=True)
        yield
        taken = _peak_mb() - start
        assert megabytes is None or taken <= megabytes, f"took {taken:.0f} MB"
    finally:
        if can_ring:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _peak_mb(*, anew: bool = False) -> float:
    """Return the most memory that the process has held, since it was last asked `anew`."""
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024
