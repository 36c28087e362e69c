"""Check paths, write files atomically, compute checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gmseg.errors import InputError
from gmseg.io.dicom import contains_dicom, how_to_convert
from gmseg.io.temporary import temporary_file

_MOST_JSON = 4 << 20  # bytes; cards have a few thousand
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of filesystems without it


@contextlib.contextmanager
def atomic_paths(paths: Iterable, *, overwrite: bool = True) -> Iterator[list[Path]]:
    """Yield temporary paths on the same disk; move them to `paths` when all are written.

    The files are on the disk before they get their names, so that a crash leaves no incomplete
    file under them. A file that is replaced hands on its permissions.

    Parameters
    ----------
    paths : iterable of path-like
        Files to write.
    overwrite : bool
        Whether files that exist by then may be replaced. Empty ones always may.

    Raises
    ------
    gmseg.errors.InputError
        If one exists and `overwrite` is false; none is moved then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_paths([Path(folder, "a.txt")], overwrite=False) as (temporary,):
    ...         _ = temporary.write_text("complete")
    ...     os.listdir(folder)
    ['a.txt']
    """
    paths = [Path(path) for path in paths]
    with contextlib.ExitStack() as stack:
        temporaries = [stack.enter_context(temporary_file(path)) for path in paths]
        yield temporaries
        pairs = list(zip(temporaries, paths, strict=True))
        for temporary, path in pairs:
            flush_file(temporary)
            _copy_permissions(path, temporary)
        _move(pairs[::-1], overwrite)  # the main file is the first: it appears last
        for folder in {path.parent for path in paths}:
            flush_folder(folder)


@contextlib.contextmanager
def atomic_path(path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path on the same disk; move it to `path` on success.

    See `atomic_paths`.
    """
    with atomic_paths([path], overwrite=overwrite) as (temporary,):
        yield temporary


def _is_regular(path: Path) -> bool:
    """Return whether a path is a file and no link."""
    return path.is_file() and not path.is_symlink()


def _copy_permissions(path: Path, temporary: Path) -> None:
    """Give a temporary file the permissions and the group of the file that it replaces."""
    if not _is_regular(path):
        return
    old = path.stat()
    if hasattr(os, "chown") and old.st_gid != temporary.stat().st_gid:
        with contextlib.suppress(OSError):  # only members of a group may hand files to it
            os.chown(temporary, -1, old.st_gid)
    temporary.chmod(old.st_mode & 0o777)


def _move(pairs: list[tuple[Path, Path]], overwrite: bool) -> None:
    """Move files to their final paths, all or none if nothing may be replaced."""
    moved: list[Path] = []
    try:
        for temporary, path in pairs:
            if overwrite or is_empty_file(path):
                temporary.replace(path)
            else:
                _move_to_new(temporary, path)
                moved.append(path)
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise


def _move_to_new(temporary: Path, path: Path) -> None:
    """Give a file its final name, which must not exist."""
    exists = f"{path}: exists, and was written in the meantime; use `overwrite=True` to replace it"
    try:
        path.hardlink_to(temporary)  # unlike a rename, this never replaces a file
    except FileExistsError:
        raise InputError(exists) from None
    except OSError:  # some filesystems have no hard links
        if os.path.lexists(path):
            raise InputError(exists) from None
        temporary.replace(path)


def flush_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path, text: str, *, overwrite: bool = True) -> None:
    """Write a text file atomically, in UTF-8; see `atomic_paths`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_empty_file(path: Path) -> bool:
    """Return whether a path is a file of 0 bytes, with which nothing is lost."""
    return _is_regular(path) and path.stat().st_size == 0


def check_link(path: Path) -> None:
    """Refuse an output that is a link to a missing file, such as dropped content of a dataset.

    Raises
    ------
    gmseg.errors.InputError
        If it is one.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path}: is a link to a file that is missing; get its content (datalad get), or set "
            f"`overwrite=True` to replace the link"
        )


@contextlib.contextmanager
def new_folders(paths) -> Iterator[None]:
    """Create the folders of files, and remove them again if the files are not written."""
    created: list[Path] = []
    try:  # from here: a signal may end the process as soon as a folder exists
        for folder in {parent: None for path in paths for parent in path.absolute().parents[::-1]}:
            if not folder.is_dir():
                created.append(folder)
                folder.mkdir(exist_ok=True)
        yield
    except BaseException:
        for folder in reversed(created):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


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
        if contains_dicom(path):
            raise InputError(
                f"{path}: is a folder of DICOM files; convert them first: {how_to_convert(path)}"
            )
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
        exists, is not empty and `overwrite` is false.
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
    if not overwrite:
        check_link(path)
        if path.exists() and not is_empty_file(path):
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
