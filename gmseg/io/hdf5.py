"""HDF5 files (weights, MINC 2): refuse those that reach outside themselves or declare too much."""

from __future__ import annotations

import math
from pathlib import Path

from gmseg.errors import InputError

_MOST_OBJECTS = 10_000
_MOST_ATTRIBUTE = 1 << 20  # bytes
_MOST_PACKED = 1032  # to one byte: deflate's limit
_FILTERS = (1, 2, 3)  # deflate, shuffle, checksum: any other may be a plug-in


class _RefusedError(Exception):
    """What is wrong with a file."""


def check_hdf5(path: Path, *, kinds: str | None = None, most_bytes: int | None = None) -> None:
    """Refuse an HDF5 file that is more than a tree of plain arrays, before any is read.

    A link may lead into another file or nowhere, an array may lie in another file or be put
    together from several, and a few bytes may declare terabytes.

    Parameters
    ----------
    path : pathlib.Path
    kinds : str, optional
        NumPy's letters for what the arrays may hold, ``"f"`` for floats.
    most_bytes : int, optional
        That all arrays may declare together.

    Raises
    ------
    gmseg.errors.InputError
        If it is damaged, too, as far as can be seen without reading its arrays.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            total = sum(_declared(one, kinds) for one in _arrays(file))
        if most_bytes is not None and total > most_bytes:
            raise _RefusedError(f"it declares {total} bytes, where {most_bytes} would be many")
    except _RefusedError as fault:
        raise InputError(f"{path}: is refused, {fault}; get it again from its authors") from None
    except Exception as error:  # of many kinds: a damaged file is none of our faults
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path}: is no HDF5 file that can be read ({reason}); get it again"
        ) from None


def _arrays(file):
    """Yield every array of a file, and follow nothing but plain links."""
    import h5py

    seen, waiting = set(), [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise _RefusedError(f"{name!r} is a link to somewhere else")
            one = group[name]
            place = h5py.h5o.get_info(one.id).addr
            if place in seen:  # a group may hold itself
                continue
            seen.add(place)
            if len(seen) > _MOST_OBJECTS:
                raise _RefusedError("it holds too many objects")
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
        raise _RefusedError(f"{name!r} holds {array.dtype}, no weights")
    settings = array.id.get_create_plist()
    if any(settings.get_filter(i)[0] not in _FILTERS for i in range(settings.get_nfilters())):
        raise _RefusedError(f"{name!r} is packed in an unknown way")
    declared = math.prod(array.shape or ()) * array.dtype.itemsize
    # what is read is read by whole chunks, and these may be larger than the array
    chunk = math.prod(array.chunks or ()) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    if array.shape and max(declared, chunk) > stored * (_MOST_PACKED if array.chunks else 1):
        raise _RefusedError(f"{name!r} declares {max(declared, chunk)} bytes and holds {stored}")
    return max(declared, chunk)
