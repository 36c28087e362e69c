"""Write images on a scan's grid part by part, so that they never need be in memory whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import nibabel as nib
import numpy as np

from gmseg.io.files import atomic_path
from gmseg.io.image import like_scan, write_images
from gmseg.io.scan_reader import ScanReader


@contextlib.contextmanager
def slab_writers(types: dict, source: ScanReader, mark: str = "") -> Iterator[list[Callable]]:
    """Write images part by part; none is put in place before all are written.

    Parameters
    ----------
    types : dict
        File to the type of its voxels.
    source : gmseg.io.scan_reader.ScanReader
        The scan, whose geometry they take.
    mark : str
        Stands in their descriptions; up to 79 letters of ASCII.

    Yields
    ------
    list of callable
        One per file: from first, last + 1 along the slice axis and voxels, to nothing. Parts
        come in the array's order.
    """
    if source.in_memory:
        arrays = [np.zeros(source.shape, kind) for kind in types.values()]
        yield [partial(_put, array, source.axis) for array in arrays]
        images = [like_scan(source.like, array) for array in arrays]
        for image in images:
            image.header["descrip"] = mark
        with _folders_of(types):
            write_images(dict(zip(types, images, strict=True)))
        return
    with _folders_of(types), contextlib.ExitStack() as places:
        temporaries = [places.enter_context(atomic_path(path)) for path in types]
        with contextlib.ExitStack() as open_ones:
            writers = []
            for temporary, kind in zip(temporaries, types.values(), strict=True):
                file = open_ones.enter_context(nib.openers.ImageOpener(temporary, "wb"))
                _header_of(source, kind, mark).write_to(file)
                writers.append(partial(_append, file, kind))
            yield writers


@contextlib.contextmanager
def _folders_of(paths) -> Iterator[None]:
    """Make the folders of files, and take them away again where the files are not written."""
    made = []
    for path in paths:
        made += [place for place in path.absolute().parents if not place.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _put(array, axis, first, last, part) -> None:
    array[(*[slice(None)] * axis, slice(first, last))] = part


def _append(file, kind, first, last, part) -> None:  # noqa: ARG001
    file.write(np.asarray(part, kind).tobytes(order="F"))


def _header_of(source, kind, mark):
    """Return the header of an image on the scan's grid, its voxels to follow."""
    header = like_scan(source.like, np.zeros((1, 1, 1), kind)).header
    header.set_data_shape(source.shape)
    header.set_slope_inter(1, 0)
    header["descrip"] = mark
    return header
