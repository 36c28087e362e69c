"""Return how much memory is free, and refuse early what needs more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from gmseg.errors import InputError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
# of a control group: limit, memory in use, and the entry of memory.stat for the pages of files
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


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
    """Yield what every control group that contains this process leaves free, of v2 and v1."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (_CGROUPS / "memory", _V1) if controllers else (_CGROUPS, _V2)
        group = root / path.lstrip("/")
        while group.is_relative_to(root):  # the limit of any ancestor counts
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                yield _group_bytes(group, *names)
            group = group.parent


def _group_bytes(group: Path, limit: str, usage: str, cache: str) -> int:
    """Return what a control group leaves free."""
    free = int((group / limit).read_text()) - int((group / usage).read_text())
    # pages of files are given up when memory is needed
    pages = re.search(rf"^{cache} (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
    return max(0, free + (int(pages[1]) if pages else 0))
