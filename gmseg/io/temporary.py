"""Temporary files next to an output, locked while they are in use, and locks of outputs.

The system releases the lock of a process that is killed, so the temporary files that it leaves can
be distinguished from those in use. They are removed when the same output is written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such locks; there, nothing is removed
    fcntl = None

_LOCK = ".lock"  # not the output: HDF5 locks the files that it writes


@contextlib.contextmanager
def temporary_file(output: Path) -> Iterator[Path]:
    """Yield a new, empty file of the name of an output in a `temporary_folder`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, temporary_file(Path(folder, "a.nii")) as file:
    ...     file.exists(), file.name
    (True, 'a.nii')
    """
    with temporary_folder(output) as folder:
        file = folder / output.name
        file.touch()
        yield file


@contextlib.contextmanager
def temporary_folder(output: Path, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new private folder for the work on an output, and delete it at the end.

    Parameters
    ----------
    output : pathlib.Path
        The output.
    parent : pathlib.Path, optional
        Existing folder in which it is created; that of the output by default.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     with temporary_folder(Path(name, "mask.nii")) as folder:
    ...         (folder / "soft.nii").touch()
    ...     os.listdir(name)
    []
    """
    parent = parent or output.parent
    remove_leftovers(output, parent)
    while True:
        path = parent / f"{_prefix(output)}{secrets.token_hex(6)}"
        path.mkdir(mode=0o700)
        try:
            handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # another process has taken it for a leftover
            continue
        try:
            _lock(handle, wait=True)
            if path.exists():
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        if fcntl is None:  # Windows does not delete files that are open
            os.close(handle)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if fcntl is not None:
            os.close(handle)


def remove_leftovers(output: Path, folder: Path | None = None) -> None:
    """Delete the temporary files and folders of an output that no process uses any more.

    Parameters
    ----------
    output : pathlib.Path
        The output.
    folder : pathlib.Path, optional
        Folder in which they are; that of the output by default.
    """
    for path in (folder or output.parent).glob(f"{_prefix(output)}*"):
        with contextlib.suppress(OSError):  # it may be gone, or belong to another user
            _remove_unused(path)


@contextlib.contextmanager
def locked(output: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes that lock the same output out; without effect where locks do not work.

    Parameters
    ----------
    output : pathlib.Path
        File or folder whose parent exists; it need not exist.
    wait : bool
        Whether to wait for a process that has the lock.

    Raises
    ------
    BlockingIOError
        If another process has the lock and `wait` is false.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder, "summary.json")):
    ...     len(os.listdir(folder))
    1
    """
    path = output.parent / f"{_prefix(output)}lock"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, wait=wait)
        except BaseException:
            os.close(handle)
            raise
        if _is_open_at(path, handle):
            break
        os.close(handle)  # its previous owner has deleted it
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _prefix(output: Path) -> str:
    """Return the beginning of the temporary names of an output."""
    return f".gmseg-{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:8]}-"


def _remove_unused(path: Path) -> None:
    """Delete a temporary file or folder unless a process has locked it."""
    if path.is_symlink() or fcntl is None:
        return
    is_folder = path.is_dir()
    flags = os.O_RDWR | (os.O_CREAT if is_folder else 0)
    handle = os.open(path / _LOCK if is_folder else path, flags, 0o600)
    try:
        if _lock(handle, wait=False):
            if is_folder:
                shutil.rmtree(path)
            else:
                path.unlink()
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file; return False where locks do not work.

    Raises BlockingIOError if another process has the lock and `wait` is false.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # some network filesystems
        return False
    return True


def _is_open_at(path: Path, handle: int) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
