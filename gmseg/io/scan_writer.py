"""Write images on a scan's grid part by part, without holding them in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import nibabel as nib
import numpy as np

from gmseg.io.files import atomic_paths, new_folders
from gmseg.io.image import like_scan, write_images
from gmseg.io.scan_reader import ScanReader


@contextlib.contextmanager
def part_writers(
    types: dict, scan: ScanReader, description: str = "", *, overwrite: bool = True
) -> Iterator[Sequence[Callable[[int, int, np.ndarray], None]]]:
    """Write images part by part; none is moved to its final path before all are written.

    Parameters
    ----------
    types : dict
        Files to the types of their voxels.
    scan : gmseg.io.scan_reader.ScanReader
        The scan, whose geometry the images get.
    description : str
        Text for their description field, up to 79 ASCII characters.
    overwrite : bool
        Whether files that exist when all are written may be replaced.

    Yields
    ------
    list of callable
        One per file: takes first stored slice, last + 1 and voxels. Parts must come in the
        order of storage.
    """
    with new_folders(types):
        if scan.in_memory:
            arrays = [np.zeros(scan.shape, kind) for kind in types.values()]
            yield [partial(_put, array, scan.axis) for array in arrays]
            images = [like_scan(scan.like, array) for array in arrays]
            for image in images:
                image.header["descrip"] = description
            with new_folders(types):  # another process may have removed a folder that was empty
                write_images(dict(zip(types, images, strict=True)), overwrite=overwrite)
            return
        with (
            atomic_paths(types, overwrite=overwrite) as temporaries,
            contextlib.ExitStack() as open_files,
        ):
            writers = []
            for temporary, kind in zip(temporaries, types.values(), strict=True):
                file = open_files.enter_context(nib.openers.ImageOpener(str(temporary), "wb"))
                _header(scan, kind, description).write_to(file)
                writers.append(partial(_append, file, kind))
            yield writers


def _put(array, axis, first, last, part) -> None:
    array[(*[slice(None)] * axis, slice(first, last))] = part


def _append(file, kind, first, last, part) -> None:  # noqa: ARG001
    file.write(np.asarray(part, kind).tobytes(order="F"))


def _header(scan: ScanReader, kind, description: str):
    """Return the header of an image on the scan's grid."""
    header = like_scan(scan.like, np.zeros((1, 1, 1), kind)).header
    header.set_data_shape(scan.shape)
    header.set_slope_inter(1, 0)
    header["descrip"] = description
    return header
