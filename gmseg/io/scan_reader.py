"""Read the slices of a scan: whole in memory if it is small, else as they are needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.core.pipeline import BATCH
from gmseg.core.resampling import GridGeometry, WorkingGrid, grid_geometry, to_working_grid
from gmseg.errors import InputError, NotAScanError
from gmseg.io import image as scan_image
from gmseg.io import mask_values
from gmseg.io.image_file import open_image, read_part, verify_compression
from gmseg.io.memory import check_memory

IN_MEMORY_BYTES = 256 * 2**20
"""Scans of at most this size are kept in memory; larger ones are read in parts."""
_SLAB_BYTES = 16 * 2**20
_MOST_MASK_VALUES = 10  # images of 0 and a few other whole numbers are masks


@dataclass(frozen=True)
class ScanReader:
    """A checked scan whose slices are read when they are needed.

    Attributes
    ----------
    name : str or path-like
        Name of the scan in messages.
    like : nibabel.Nifti1Image or nibabel.Nifti2Image
        Image with the scan's geometry and placeholder voxels.
    shape : tuple of int
        Shape of the scan, 3-D.
    read : callable
        From first slice and last + 1, as stored, to voxels, float32, 3-D.
    in_memory : bool
        Whether the voxels are held in memory.
    bad_voxels : int
        Number of voxels that are NaN or infinite, where they were counted.
    """

    name: object
    like: nib.spatialimages.SpatialImage
    shape: tuple[int, int, int]
    read: Callable[[int, int], np.ndarray]
    in_memory: bool
    bad_voxels: int = 0

    @property
    def affine(self) -> np.ndarray:
        """Affine of the scan."""
        return self.like.affine

    @functools.cached_property
    def axis(self) -> int:
        """Slice axis of the array."""
        return geometry.slice_axis(self.affine)

    @functools.cached_property
    def runs_downwards(self) -> bool:
        """Whether the slices are stored from superior to inferior."""
        return geometry.runs_downwards(self.affine)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.shape[self.axis]

    @property
    def slice_bytes(self) -> int:
        """Size of one slice in memory."""
        return 4 * math.prod(self.shape) // self.slices

    def slabs(self, slice_bytes: int) -> list[tuple[int, int]]:
        """Return first slices and last + 1 of slabs that fit in memory, from inferior to superior.

        Parameters
        ----------
        slice_bytes : int
            Memory that the work on one slice takes.
        """
        check_memory(self.name, 6 * slice_bytes + 2**29, "one slice at a time")
        count = max(1, _SLAB_BYTES // slice_bytes // BATCH * BATCH)
        return [(k, min(k + count, self.slices)) for k in range(0, self.slices, count)]

    def parts(self) -> list[tuple[int, int]]:
        """Return first slices and last + 1 of parts of the array, in the order of storage."""
        count = max(1, _SLAB_BYTES // self.slice_bytes)
        return [(k, min(k + count, self.slices)) for k in range(0, self.slices, count)]

    def stored_range(self, first: int, last: int) -> tuple[int, int]:
        """Return where slices, counted from inferior to superior, are stored: first, last + 1."""
        if self.runs_downwards:
            return self.slices - last, self.slices - first
        return first, last

    def part_affine(self, start: int) -> np.ndarray:
        """Return the affine of a part that begins at this stored slice."""
        step = np.zeros(3)
        step[self.axis] = start
        return self.affine @ nib.affines.from_matvec(np.eye(3), step)

    def part(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return slices, counted from inferior to superior, and their affine."""
        start, stop = self.stored_range(first, last)
        return self.read(start, stop), self.part_affine(start)

    def working_geometry(self, spacing_mm: float) -> GridGeometry:
        """Return where the scan lies on the working grid."""
        return grid_geometry(self.shape, self.affine, spacing_mm)

    def working_grid(self, first: int, last: int, spacing_mm: float) -> WorkingGrid:
        """Return slices, counted from inferior to superior, on the working grid."""
        return to_working_grid(*self.part(first, last), spacing_mm)

    def thinned(self, count: int) -> tuple[ScanReader, np.ndarray]:
        """Return about `count` evenly spaced slices, and their numbers counted from inferior."""
        stride = -(-self.slices // max(3, min(count, IN_MEMORY_BYTES // self.slice_bytes)))
        start = (self.slices - 1) % stride // 2
        chosen = np.arange(start, self.slices, stride)
        data = np.concatenate([self.read(int(k), int(k) + 1) for k in chosen], axis=self.axis)
        steps = np.ones(3)
        steps[self.axis] = stride
        affine = self.part_affine(start) @ np.diag([*steps, 1])
        thin = array_reader(self.name, data, affine, self.bad_voxels)
        return thin, self.slices - 1 - chosen[::-1] if self.runs_downwards else chosen


def open_scan(
    scan, *, name=None, volume: int | None = None, mean: bool = False, check_voxels: bool = True
) -> ScanReader:
    """Open a scan and refuse what cannot be segmented, see `gmseg.io.image.read_scan`.

    Parameters
    ----------
    scan : path-like, nibabel image or (numpy.ndarray, numpy.ndarray)
        The scan; an array needs its affine, (4, 4) in mm.
    name : str, optional
        Name in messages of a scan without a path.
    volume : int, optional
        Volume of a 4-D scan, counted from 0.
    mean : bool
        Average the volumes of a 4-D scan.
    check_voxels : bool
        Read all voxels once, and refuse a scan whose voxels are all the same, and masks.

    Examples
    --------
    >>> scan = nib.Nifti1Image(np.arange(24.0).reshape(2, 3, 4), np.diag([0.5, 0.5, 5, 1]))
    >>> reader = open_scan(scan)
    >>> reader.slices, reader.read(0, 2).shape
    (4, (2, 3, 2))
    """
    image, name = as_image(scan, name or "the scan")
    shape = scan_image.check_header(image, name=name, volume=volume, mean=mean)
    if _is_read_in_parts(image, shape, mean):
        reader = _part_reader(image, shape, volume, name)
    else:
        read_bytes = math.prod(image.shape) * (4 + image.get_data_dtype().itemsize)
        check_memory(
            name,
            read_bytes + 9 * math.prod(shape) + 2**29,
            "whole: only NIfTI files whose slices lie along the last axis are read in parts",
        )
        data = scan_image.read_voxels(image, shape, name=name, volume=volume, mean=mean)
        reader = array_reader(name, data, image.affine, like=scan_image.like_scan(image, data))
    if check_voxels:
        if scan_image.is_result(image):
            raise NotAScanError(f"{name}: is a result of gmseg and no scan; give the scan")
        reader = replace(reader, bad_voxels=_count_bad_voxels(reader))
        if not reader.in_memory:
            verify_compression(name, image)
    return reader


def as_image(given, name):
    """Return what a user gave as a nibabel image, and its name in messages.

    Parameters
    ----------
    given : path-like, nibabel image or (numpy.ndarray, numpy.ndarray)
        Array and affine, or an image.
    name : str
        Name of an image without a file.

    Examples
    --------
    >>> image, name = as_image((np.zeros((2, 3, 4)), np.eye(4)), "the scan")
    >>> image.shape, name
    ((2, 3, 4), 'the scan')
    """
    if isinstance(given, nib.spatialimages.SpatialImage):
        return given, given.get_filename() or name
    if isinstance(given, str | PathLike):
        return open_image(Path(given)), given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(
            f"{name}: is of type {type(given).__name__}; give a path, a nibabel image or the tuple "
            f"(array, affine)"
        )
    data, affine = (np.asarray(part) for part in given)
    if affine.shape != (4, 4) or affine.dtype.kind not in "iuf" or data.dtype.kind not in "iufb":
        raise InputError(
            f"{name}: has an array of {data.dtype} and shape {data.shape}, and an affine of shape "
            f"{affine.shape}; give numbers and an affine of shape (4, 4), in mm"
        )
    return nib.Nifti1Image(np.asarray(data, np.float32), np.asarray(affine, float)), name


def array_reader(
    name, data: np.ndarray, affine: np.ndarray, bad_voxels: int = 0, *, like=None
) -> ScanReader:
    """Return a reader of voxels in memory."""
    data = np.asarray(data, np.float32)
    axis = geometry.slice_axis(affine)

    def read(first, last):
        return data[(*[slice(None)] * axis, slice(first, last))]

    like = nib.Nifti1Image(data, affine) if like is None else like
    return ScanReader(name, like, data.shape, read, True, bad_voxels)


def _is_read_in_parts(image, shape, mean: bool) -> bool:
    """Return whether a scan is large and its slices lie one after the other in its file."""
    return (
        4 * math.prod(shape) > IN_MEMORY_BYTES
        and isinstance(image, nib.Nifti1Pair)
        and nib.is_proxy(image.dataobj)
        and geometry.slice_axis(image.affine) == 2
        and not mean
    )


def _part_reader(image, shape, volume: int | None, name) -> ScanReader:
    # kept open, so that a compressed file is read on from its present position
    opened = type(image).from_filename(image.get_filename(), keep_file_open=True)
    rest = tuple(np.unravel_index(volume or 0, image.shape[3:])) if image.shape[3:] else ()

    @functools.lru_cache(1)  # a compressed file is slow to rewind
    def read(first, last):
        return read_part(name, opened, (..., slice(first, last), *(int(n) for n in rest)))

    like = scan_image.like_scan(image, np.zeros((1, 1, 1), np.float32))
    return ScanReader(name, like, shape, read, in_memory=False)


def _count_bad_voxels(reader: ScanReader) -> int:
    """Return how many voxels are NaN or infinite; refuse a mask, and a scan without contrast."""
    low, high, bad_voxels = np.inf, -np.inf, 0
    few: set[float] | None = set()
    for first, last in reader.parts():
        part = reader.read(first, last)
        finite = part[np.isfinite(part)]
        bad_voxels += part.size - finite.size
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
        few = _with_values(few, finite)
    scan_image.check_range(reader.name, low, high)
    if few is not None and 0 in few and all(value == round(value) for value in few):
        listed = ", ".join(f"{value:g}" for value in sorted(few))
        raise NotAScanError(f"{reader.name}: contains only {listed}, as a mask does; give the scan")
    return bad_voxels


def _with_values(values: set[float] | None, part: np.ndarray) -> set[float] | None:
    """Return the different values so far and of a part, or None if there are many."""
    for some in (part[:: part.size // 1000 + 1], part):  # a sample of a scan has many
        if values is None:
            break
        values = values | set(np.unique(some).tolist())
        values = None if len(values) > _MOST_MASK_VALUES else values
    return values


def open_mask(
    mask, scan: ScanReader | None = None, *, what: str, label: int | None = None
) -> ScanReader:
    """Open a mask and check its values, see `gmseg.io.mask_values`.

    Parameters
    ----------
    mask : path-like, nibabel image or (numpy.ndarray, numpy.ndarray)
        The mask; it may be empty.
    scan : ScanReader, optional
        Scan that the mask belongs to. A mask in another orientation is reoriented onto its grid.
    what : str
        Kind of the mask, such as ``"cord mask"``, for the rule and for messages.
    label : int, optional
        Value of the voxels in a mask of several labels.

    Returns
    -------
    ScanReader
        Its voxels are 0 and 1, with fractions between in a cord mask or soft segmentation.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, its grid is not the scan's, or it contains other values.

    Examples
    --------
    >>> scan = open_scan((np.arange(24).reshape(2, 3, 4), np.diag([0.5, 0.5, 5, 1])))
    >>> mask = open_mask((np.eye(2, 3)[..., None] * np.ones(4), scan.affine), scan, what="mask")
    >>> mask.read(0, 1)[..., 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    reader = open_values(mask, scan, what=what)
    parts = (reader.read(*part) for part in reader.parts())
    value = mask_values.value_inside(reader.name, parts, what=what, label=label)
    return replace(reader, read=lambda *part: mask_values.as_mask(reader.read(*part), value))


def open_values(image, scan: ScanReader | None = None, *, what: str) -> ScanReader:
    """Open an image on a scan's grid as `open_mask` does, with any values.

    Parameters
    ----------
    image, scan, what
        See `open_mask`.
    """
    image, name = as_image(image, f"the {what}")
    if scan is None:
        scan_image.check_single(name, image)
        return open_scan(image, name=name, check_voxels=False)
    ornt = scan_image.check_grid(name, image, scan.like, scan.shape, what=what)
    reader = open_scan(image, name=name, volume=0, check_voxels=False)
    read = _reoriented(reader, ornt, scan.axis)
    return replace(reader, like=scan.like, shape=scan.shape, read=read)


def _reoriented(
    reader: ScanReader, ornt: np.ndarray, axis: int
) -> Callable[[int, int], np.ndarray]:
    """Return a function that reads slices of an image after its reorientation to a slice axis."""
    stored_axis = int(np.flatnonzero(ornt[:, 0] == axis)[0])
    if stored_axis != reader.axis:  # the affines are on both sides of a limit of `slice_axis`
        data = nib.orientations.apply_orientation(reader.read(0, reader.slices), ornt)
        return lambda first, last: data.take(range(first, last), axis)

    def read(first, last):
        if ornt[stored_axis, 1] < 0:
            first, last = reader.slices - last, reader.slices - first
        return nib.orientations.apply_orientation(reader.read(first, last), ornt)

    return read
