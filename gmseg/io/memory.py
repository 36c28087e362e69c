"""How much memory there is, and refusing early what needs more."""

from __future__ import annotations

from pathlib import Path

from gmseg.errors import InputError


def available_bytes() -> int:
    """Return how much memory this process may still take."""
    found = [_system_bytes()]
    try:  # a container's own limit; what its files fill in memory is given up when needed
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
        found.append(max(0, limit - used))
    except (OSError, ValueError):
        pass
    return min(found)


def _system_bytes() -> int:
    """Return how much memory the system has to give."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    import psutil  # macOS, Windows: slow to import

    return psutil.virtual_memory().available


def check_memory(name, need: int, how: str) -> None:
    """Refuse what needs more memory than there is.

    Parameters
    ----------
    name : str or path-like
        What to call the scan in messages.
    need : int
        In bytes.
    how : str
        In what way the scan is read.

    Raises
    ------
    gmseg.errors.InputError
        With the number that is needed.
    """
    there = available_bytes()
    if need > there:
        raise InputError(
            f"{name}: needs {need / 2**30:.1f} GiB of memory, read {how}, and "
            f"{there / 2**30:.1f} GiB are free; crop it, or use a larger machine"
        )
