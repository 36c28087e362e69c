"""Download files whose content is known in advance."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gmseg.errors import InputError
from gmseg.io.files import check_folder
from gmseg.io.quiet import quiet_logger


class RemoteFile(NamedTuple):
    """A file on a server.

    Attributes
    ----------
    address : str
        Address below a base address, such as ``COMMIT/models/model.hdf5``.
    sha256 : str
        Checksum in hexadecimal.
    size : int
        Number of bytes.
    """

    address: str
    sha256: str
    size: int


def cache_folder(name: str) -> Path:
    """Return a folder in the user's cache, which need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("gmseg")) / name


def fetch(
    files: Mapping[str, RemoteFile],
    folder: Path,
    *,
    base_url: str,
    without_network: str,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Download files into a folder, unless it has them, and return their paths.

    Parameters
    ----------
    files : mapping of str to RemoteFile
        The files by their names in the folder.
    folder : pathlib.Path
        Folder of the files; created if missing.
    base_url : str
        Start of all addresses.
    without_network : str
        What the user can do without a network; it ends the sentence of the error.
    progress : callable, optional
        Function of the bytes done and all bytes; a bar on standard error by default.

    Raises
    ------
    gmseg.errors.InputError
        If the server cannot be reached, or a file is too large or has another checksum. Such a
        file is discarded.
    """
    import pooch
    from tqdm import tqdm

    check_folder(folder)
    total = sum(file.size for file in files.values())
    done = 0
    paths = []
    with tqdm(total=total, unit="B", unit_scale=True, disable=progress is not None) as bar:

        def advance(size: int) -> None:
            nonlocal done
            done += size
            bar.update(size)
            if progress is not None:
                progress(done, total)

        for name, (address, checksum, size) in files.items():

            def download(url: str, path: str, pooch_, size: int = size) -> None:
                with _LimitedFile(path, size, advance) as file:
                    pooch.HTTPDownloader(timeout=30)(url, file, pooch_)

            with (
                _readable_errors(base_url + address, size, without_network),
                quiet_logger(pooch.get_logger()),
            ):
                path = pooch.retrieve(
                    base_url + address, checksum, fname=name, path=folder, downloader=download
                )
            paths.append(Path(path))
    return paths


@contextmanager
def _readable_errors(url: str, size: int, without_network: str) -> Iterator[None]:
    """Turn the errors of a download into InputError."""
    import requests

    try:
        yield
    except requests.RequestException as error:
        code = f" {error.response.status_code}" if error.response is not None else ""
        raise InputError(
            f"{url}: cannot be downloaded ({type(error).__name__}{code}); check the network, or "
            f"{without_network}"
        ) from None
    except _TooLargeError:
        raise InputError(
            f"{url}: has more than the expected {size} bytes and was discarded; check the network "
            f"for a proxy or a login page"
        ) from None
    except ValueError:  # pooch's, of a wrong checksum
        raise InputError(
            f"{url}: the download does not have the pinned SHA-256 and was discarded; try again, "
            f"and do not trust the file if it happens again"
        ) from None


class _TooLargeError(Exception):
    """A download has more bytes than the file that is wanted."""


class _LimitedFile(io.FileIO):
    """A file of limited size that reports every write."""

    def __init__(self, path: str, size: int, advance: Callable[[int], None]):
        super().__init__(path, "wb")
        self.room = size
        self.advance = advance

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise _TooLargeError
        self.advance(len(data))
        return super().write(data)
