"""Images in a row, more than memory should hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import numpy as np

from gmseg.errors import InputError

HELD_BYTES = 32 * 2**20
"""So much of a scan's windows is kept in memory; what is more is kept on disk or made again."""


class Stack:
    """Float32 images of one shape: in memory or, if they are many, in a temporary file.

    The file has no name, so nothing is left of it whatever happens.

    Parameters
    ----------
    count : int
    shape : tuple of int
        Of one image.

    Raises
    ------
    gmseg.errors.InputError
        If the temporary folder has too little room.
    """

    def __init__(self, count: int, shape: tuple[int, ...]):
        self.shape = (count, *shape)
        self._bytes = 4 * int(np.prod(shape))
        need = count * self._bytes
        self._held = self._file = None
        if need <= HELD_BYTES:
            self._held = np.zeros(self.shape, np.float32)
            return
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if need > free:
            raise InputError(
                f"{folder}: {need / 2**30:.1f} GiB are needed for a while and {free / 2**30:.1f} "
                f"GiB are free; set TMPDIR to a folder with more room"
            )
        self._file = tempfile.TemporaryFile(prefix="gmseg-")  # noqa: SIM115

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.get(k, k + 1)[0] for k in range(len(self)))

    def put(self, first: int, images: np.ndarray) -> None:
        """Keep images, (n, *shape), from number `first` on."""
        if self._held is not None:
            self._held[first : first + len(images)] = images
            return
        self._file.seek(first * self._bytes)
        self._file.write(np.ascontiguousarray(images, np.float32).tobytes())

    def get(self, first: int, last: int) -> np.ndarray:
        """Return images `first` to `last` - 1, (n, *shape)."""
        if self._held is not None:
            return self._held[first:last]
        self._file.seek(first * self._bytes)
        content = self._file.read((last - first) * self._bytes)
        return np.frombuffer(content, np.float32).reshape(-1, *self.shape[1:])
