"""Combine the echoes of one scan into the image that is segmented.

Scanners combine the echoes of MEDIC and MERGE by the root of the sum of squares, and the network
was trained on such scans. The root mean square differs from it by a constant factor only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import check_input, check_link, sha256
from gmseg.io.grids import same_place
from gmseg.io.image import description_of
from gmseg.io.image_file import is_intact
from gmseg.io.scan_reader import open_scan
from gmseg.io.scan_writer import part_writers


def combine_echoes(
    echoes: Sequence[Path],
    file: Path,
    *,
    volume: int | None = None,
    mean: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the root mean square of echoes; keep a complete file that contains it.

    Parameters
    ----------
    echoes : sequence of pathlib.Path
        Images of the echoes, all on one grid.
    file : pathlib.Path
        Image to write (float32); its folder is created.
    volume, mean : int, bool
        Volume of 4-D echoes to use, or whether to average the volumes; see `gmseg.segment`.
    overwrite : bool
        Whether to replace a file that was made from other echoes.

    Raises
    ------
    gmseg.errors.InputError
        If an echo cannot be read or lies on another grid, or if `file` exists and was made from
        other echoes.

    Examples
    --------
    >>> import tempfile
    >>> import nibabel as nib
    >>> data = np.arange(128.0, dtype=np.float32).reshape(8, 8, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     echoes = [Path(folder, "echo-1.nii"), Path(folder, "echo-2.nii")]
    ...     nib.save(nib.Nifti1Image(data, np.eye(4)), echoes[0])
    ...     nib.save(nib.Nifti1Image(7 * data, np.eye(4)), echoes[1])
    ...     combine_echoes(echoes, Path(folder, "rms.nii"))
    ...     print(nib.load(Path(folder, "rms.nii")).get_fdata()[0, 1])
    [10. 15.]
    """
    mark = _mark(echoes, volume, mean)
    if not overwrite:
        check_link(file)
    intact = file.exists() and is_intact(file)
    if intact and description_of(file) == mark:
        return
    if intact and not overwrite:
        raise InputError(
            f"{file}: exists and was made from other echoes; set `overwrite=True` to replace it"
        )
    readers = [open_scan(echo, volume=volume, mean=mean) for echo in echoes]
    first = readers[0]
    for reader in readers:
        same = reader.shape == first.shape
        if not same or not same_place(reader.affine, first.affine, first.shape):
            raise InputError(
                f"{reader.name}: is not on the grid of {first.name}; export both again"
            )
    replace = overwrite or file.exists()  # a damaged file
    with part_writers({file: np.float32}, first, mark, overwrite=replace) as (write,):
        for k in range(first.slices):
            squares = sum(reader.read(k, k + 1) ** 2 for reader in readers)
            write(k, k + 1, np.sqrt(squares / len(readers)))


def _mark(echoes: Sequence[Path], volume: int | None, mean: bool) -> str:
    """Return the description in the header, which depends on the content of the echoes."""
    inputs = [*(sha256(check_input(echo)) for echo in echoes), str(volume), str(mean)]
    return f"gmseg rms {hashlib.sha256(' '.join(inputs).encode()).hexdigest()[:16]}"
