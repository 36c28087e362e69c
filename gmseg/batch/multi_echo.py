"""The echoes of one scan as one image, which the network knows how to read.

The echoes' root mean square is, but for a factor, the root of the sum of squares by which scanners
make one image of the echoes of MEDIC and MERGE, the scans that the network was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import check_input, sha256
from gmseg.io.image import GRID_MM, affine_difference_mm, mark_of
from gmseg.io.scan_reader import open_scan
from gmseg.io.scan_writer import slab_writers


def combine_echoes(
    echoes: Sequence[Path],
    file: Path,
    *,
    volume: int | None = None,
    mean: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the root mean square of echoes, unless that is there already.

    Parameters
    ----------
    echoes : sequence of pathlib.Path
        All on one grid.
    file : pathlib.Path
        Its folder is made.
    volume, mean : int, bool
        What to take of 4-D echoes, see `gmseg.segment`.
    overwrite : bool
        Replace a file that was made of something else.

    Raises
    ------
    gmseg.errors.InputError
        If an echo cannot be read, lies on another grid, or the file is there and was made of
        something else.
    """
    made_from = [*(sha256(check_input(echo)) for echo in echoes), str(volume), str(mean)]
    mark = f"gmseg rms {hashlib.sha256(' '.join(made_from).encode()).hexdigest()[:16]}"
    if file.exists():
        if mark_of(file) == mark:
            return
        if not overwrite:
            raise InputError(
                f"{file}: exists, and was not made of these echoes; use --overwrite to replace it"
            )
    sources = [open_scan(echo, volume=volume, mean=mean) for echo in echoes]
    first = sources[0]
    for source in sources:
        if source.shape != first.shape or not (
            affine_difference_mm(source.affine, first.affine) <= GRID_MM
        ):
            raise InputError(f"{source.name}: lies on another grid than {first.name}; export again")
    with slab_writers({file: np.float32}, first, mark) as (put,):
        for k in range(first.slices):
            squares = sum(source.read(k, k + 1) ** 2 for source in sources)
            put(k, k + 1, np.sqrt(squares / len(sources)))
