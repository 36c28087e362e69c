"""Check HDF5 files (weights, MINC 2) before any array is read."""

from __future__ import annotations

import math
from pathlib import Path

from gmseg.errors import InputError

_MOST_OBJECTS = 10_000
_MOST_ATTRIBUTE = 1 << 20  # bytes
_MOST_EXPANSION = 1032  # of one byte: the limit of deflate
_FILTERS = (1, 2, 3)  # deflate, shuffle, checksum; others may be plug-ins


class _RefusedError(Exception):
    """The reason why a file is refused."""


def check_hdf5(path: Path, *, kinds: str | None = None, most_bytes: int | None = None) -> None:
    """Refuse an HDF5 file that is more than a tree of plain arrays.

    A link may lead into another file, an array may lie in other files, and a few bytes may
    declare terabytes.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    kinds : str, optional
        NumPy's letters for the types that arrays may have, ``"f"`` for floats.
    most_bytes : int, optional
        Size that all arrays may declare together.

    Raises
    ------
    gmseg.errors.InputError
        Also if it is damaged, as far as can be seen without reading its arrays.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            total = sum(_declared(one, kinds) for one in _arrays(file))
        if most_bytes is not None and total > most_bytes:
            raise _RefusedError(f"it declares {total} bytes, more than the {most_bytes} expected")
    except _RefusedError as fault:
        raise InputError(f"{path}: is refused, {fault}; get it again from its authors") from None
    except Exception as error:  # of many kinds: the file is damaged
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path}: is no HDF5 file that can be read ({reason}); get it again"
        ) from None


def _arrays(file):
    """Yield every array of a file, following plain links only."""
    import h5py

    seen, waiting = set(), [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise _RefusedError(f"{name!r} is an external or soft link")
            one = group[name]
            place = h5py.h5o.get_info(one.id).addr
            if place in seen:  # a group may contain itself
                continue
            seen.add(place)
            if len(seen) > _MOST_OBJECTS:
                raise _RefusedError("it contains too many objects")
            for i in range(h5py.h5a.get_num_attrs(one.id)):
                if h5py.h5a.get_info(one.id, index=i).data_size > _MOST_ATTRIBUTE:
                    raise _RefusedError(f"{name!r} has an attribute that is too large")
            if isinstance(one, h5py.Group):
                waiting.append(one)
            elif isinstance(one, h5py.Dataset):
                yield one


def _declared(array, kinds: str | None) -> int:
    """Return how many bytes an array declares, or refuse it."""
    name = array.name.rsplit("/", 1)[-1]
    if array.is_virtual or array.external:
        raise _RefusedError(f"{name!r} lies in another file")
    if kinds is not None and array.dtype.kind not in kinds:
        raise _RefusedError(f"{name!r} contains {array.dtype}, no weights")
    settings = array.id.get_create_plist()
    if any(settings.get_filter(i)[0] not in _FILTERS for i in range(settings.get_nfilters())):
        raise _RefusedError(f"{name!r} has an unknown compression filter")
    declared = math.prod(array.shape or ()) * array.dtype.itemsize
    # whole chunks are read, and they may be larger than the array
    chunk = math.prod(array.chunks or ()) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    if array.shape and max(declared, chunk) > stored * (_MOST_EXPANSION if array.chunks else 1):
        raise _RefusedError(f"{name!r} declares {max(declared, chunk)} bytes and contains {stored}")
    return max(declared, chunk)
