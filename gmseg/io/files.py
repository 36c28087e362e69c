"""Check paths, write files atomically, compute checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gmseg.errors import InputError

_MOST_JSON = 4 << 20  # bytes; cards have a few thousand


@contextlib.contextmanager
def atomic_path(path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` on success.

    The temporary name keeps the endings of the file: libraries choose the format by them.
    """
    path = Path(path)
    endings = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(prefix=".gmseg-", suffix=endings, dir=path.parent)
    temporary = Path(name)
    try:
        # mkstemp creates files for the owner alone: set the permissions that open() sets
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        os.close(handle)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_input(path) -> Path:
    """Return the path of a file after checking that it exists and is not empty."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        if "annex/objects" in target.as_posix():
            raise InputError(f"{path}: its content is not here; run datalad get {path}")
        raise InputError(f"{path}: is a broken link to {target}; give an existing file")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an image file such as t2s.nii.gz")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes); copy or export it again")
    return path


def check_folder(path) -> Path:
    """Return the path of a folder after checking that it exists or can be created."""
    path = Path(path)
    nearest = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise InputError(f"{path}: {nearest} is a file, not a folder; choose another place")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"{path}: the folder {nearest} may not be written to; choose another")
    return path


def check_output(path, *, inputs=(), overwrite: bool) -> Path:
    """Return an output path after checking that it can be written and replaces nothing.

    Raises
    ------
    gmseg.errors.InputError
        If the folder does not exist, the path is one of the inputs or a folder, or the file
        exists and `overwrite` is false.
    """
    path = Path(path)
    check_folder(path.parent)
    if not path.parent.is_dir():
        raise InputError(
            f"{path}: the folder {path.parent} does not exist; create it, or use `out_dir`"
        )
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file name, or use `out_dir`")
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise InputError(f"{path}: is the input itself; choose another output")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists; use `overwrite=True` to replace it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{path}: the folder {path.parent} may not be written to; choose another place"
        )
    return path


def sha256(path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict:
    """Return the object in a model's JSON file, or raise InputError."""
    if path.exists() and not path.is_file():  # opening a pipe would wait
        raise InputError(f"{path}: is not a file; get the model's files again")
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_JSON + 1)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); is it beside the weights?"
        ) from None
    if len(text) > _MOST_JSON:
        raise InputError(f"{path}: is too large for a model's card; get the model's files again")
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON; get the model's files again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: contains no JSON object; get the model's files again")
    return content


def write_between(page, begin: str, end: str, text: str) -> None:
    """Replace the text between two lines of a file, which must exist."""
    page = Path(page)
    before, found, rest = page.read_text(encoding="utf-8").partition(f"{begin}\n")
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise InputError(
            f"{page}: lacks the lines {begin} and {end}; add them where the text belongs"
        )
    write_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
