"""How much memory is free, and refusing early what needs more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from gmseg.errors import InputError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_bytes() -> int:
    """Return how much memory this process may still take, limits of a container included."""
    return min([psutil.virtual_memory().available, *_cgroup_bytes()])


def check_memory(name, need: int, how: str) -> None:
    """Refuse what needs more memory than there is.

    Parameters
    ----------
    name : str or path-like
        Name of the scan in the message.
    need : int
        Bytes that are needed.
    how : str
        How the scan is read, for the message.

    Raises
    ------
    gmseg.errors.InputError
        With the memory that is needed and what is free.

    Examples
    --------
    >>> check_memory("t2s.nii", 1, "whole")
    """
    free = available_bytes()
    if need > free:
        raise InputError(
            f"{name}: needs {need / 2**30:.1f} GiB of memory, read {how}, and "
            f"{free / 2**30:.1f} GiB are free; crop it, or use a larger machine"
        )


def _cgroup_bytes() -> Iterator[int]:
    """Yield what every control group that holds this process leaves free, of v2 and v1."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cache = (_CGROUPS, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, limit, usage, cache = (
                _CGROUPS / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        group = root / path.lstrip("/")
        while group.is_relative_to(root):  # the limit of any ancestor counts
            try:
                most = int((group / limit).read_text())
                used = int((group / usage).read_text())
                stat = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                # pages of files are given up when memory is needed
                yield max(0, most - used + int(stat.get(cache, 0)))
            except (OSError, ValueError):  # "max" is no limit
                pass
            group = group.parent
