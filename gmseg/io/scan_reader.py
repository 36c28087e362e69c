"""A scan, slice by slice: whole in memory if it is small, else read as it is needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.core.pipeline import BATCH
from gmseg.core.resampling import (
    Frame,
    WorkingGrid,
    frame_of,
    scanned_extent,
    to_working_grid,
    working_part,
)
from gmseg.io import image as gm_image
from gmseg.io.image_file import open_image, read_part, verify_compression
from gmseg.io.memory import check_memory

HELD_BYTES = 256 * 2**20
"""A scan of so much is kept in memory; a larger one is read again and again."""
_SLAB_BYTES = 16 * 2**20
_PART_BYTES = 16 * 2**20


@dataclass(frozen=True)
class ScanReader:
    """A checked scan whose slices are read when they are needed.

    Attributes
    ----------
    name : str or path-like
        What to call the scan in messages.
    like : nibabel.Nifti1Image or nibabel.Nifti2Image
        An image with the scan's geometry; its voxels are not to be looked at.
    shape : tuple of int
        3-D.
    read : callable
        From numbers first and last + 1 along the slice axis to voxels, float32, 3-D.
    in_memory : bool
        Whether the voxels are in memory.
    bad : int
        How many voxels are NaN or infinite, where it was looked.
    """

    name: object
    like: object
    shape: tuple[int, int, int]
    read: Callable[[int, int], np.ndarray]
    in_memory: bool
    bad: int = 0

    @property
    def affine(self) -> np.ndarray:
        """The scan's affine."""
        return self.like.affine

    @functools.cached_property
    def axis(self) -> int:
        """The slice axis."""
        return geometry.slice_axis(self.affine)

    @property
    def slices(self) -> int:
        """Their number."""
        return self.shape[self.axis]

    def slabs(self, window: int) -> list[tuple[int, int]]:
        """Return the scan in parts that fit in memory: first slices and last + 1, upwards.

        Parameters
        ----------
        window : int
            Rows and columns of the windows, in pixels.
        """
        one = 4 * (2 * math.prod(self.shape) // self.slices + 4 * window**2)
        check_memory(self.name, 6 * one + 2**29, "one slice at a time")
        count = max(1, _SLAB_BYTES // one // BATCH * BATCH)
        return [(k, min(k + count, self.slices)) for k in range(0, self.slices, count)]

    def parts(self) -> list[tuple[int, int]]:
        """Return the array in parts to read one after the other: first slices and last + 1."""
        count = max(1, _PART_BYTES // (4 * math.prod(self.shape) // self.slices))
        return [(k, min(k + count, self.slices)) for k in range(0, self.slices, count)]

    def native_part(self, first: int, last: int) -> tuple[int, int]:
        """Return where slices, counted from foot to head, are in the array: first, last + 1."""
        if geometry.runs_downwards(self.affine):
            return self.slices - last, self.slices - first
        return first, last

    def part_affine(self, start: int) -> np.ndarray:
        """Return the affine of a part whose first slice has this number in the array."""
        step = np.zeros(3)
        step[self.axis] = start
        return self.affine @ nib.affines.from_matvec(np.eye(3), step)

    def frame(self, spacing_mm: float) -> Frame:
        """Return where the scan lies on the working grid."""
        return frame_of(self.shape, self.affine, spacing_mm)

    def part_frame(self, first: int, last: int, spacing_mm: float) -> Frame:
        """Return the same for some of its slices, counted from foot to head."""
        start, stop = self.native_part(first, last)
        shape = list(self.shape)
        shape[self.axis] = stop - start
        return frame_of(tuple(shape), self.part_affine(start), spacing_mm)

    def working(self, first: int, last: int, spacing_mm: float) -> WorkingGrid:
        """Return slices, counted from foot to head, on the working grid."""
        start, stop = self.native_part(first, last)
        return to_working_grid(self.read(start, stop), self.part_affine(start), spacing_mm)

    def working_part(self, first: int, last: int, spacing_mm: float, corner, shape) -> np.ndarray:
        """Return a part of some slices on the working grid; see `gmseg.core.resampling.working_part`."""
        voxels = self.read(*self.native_part(first, last))
        frame = self.part_frame(first, last, spacing_mm)
        return working_part(voxels, frame, corner, shape)

    def scanned_extent(self, first: int, last: int, spacing_mm: float):
        """Return where slices are not all 0; see `gmseg.core.resampling.scanned_extent`."""
        voxels = self.read(*self.native_part(first, last))
        return scanned_extent(voxels, self.part_frame(first, last, spacing_mm))

    def thinned(self, count: int) -> tuple[ScanReader, np.ndarray]:
        """Return about so many slices, evenly spaced and held, and where they are from foot up."""
        one = 4 * math.prod(self.shape) // self.slices
        stride = -(-self.slices // max(3, min(count, HELD_BYTES // one)))
        start = (self.slices - 1) % stride // 2
        chosen = np.arange(start, self.slices, stride)
        data = np.concatenate([self.read(k, k + 1) for k in chosen], axis=self.axis)
        steps = np.ones(3)
        steps[self.axis] = stride
        affine = self.part_affine(start) @ np.diag([*steps, 1])
        thin = array_reader(self.name, data, affine, self.bad)
        upwards = self.slices - 1 - chosen[::-1] if geometry.runs_downwards(self.affine) else chosen
        return thin, upwards


def open_scan(
    scan, *, name=None, volume: int | None = None, mean: bool = False, check_voxels: bool = True
) -> ScanReader:
    """Open a scan and refuse what cannot be segmented, as `gmseg.io.image.read_scan` does.

    Parameters
    ----------
    scan : path-like or nibabel image
    name : str or path-like, optional
        What to call it in messages; by default its path.
    volume, mean : int, bool
        See `gmseg.io.image.read_scan`.
    check_voxels : bool
        Read all of it once, and refuse a scan that holds nothing.

    Returns
    -------
    ScanReader
    """
    given = isinstance(scan, nib.spatialimages.SpatialImage)
    name = name or (scan.get_filename() or "the scan" if given else scan)
    image = scan if given else open_image(Path(scan))
    shape = gm_image.check_header(image, name=name, volume=volume, mean=mean)
    if _streams(image, shape, mean):
        source = _streamed(image, shape, volume, name)
    else:
        read_bytes = math.prod(image.shape) * (4 + image.get_data_dtype().itemsize)
        check_memory(
            name,
            read_bytes + 9 * math.prod(shape) + 2**29,
            "whole: only NIfTI files whose slices lie along the last axis are read in parts",
        )
        data = gm_image.whole(image, shape, name=name, volume=volume, mean=mean)
        source = array_reader(name, data, image.affine, like=gm_image.like_scan(image, data))
    if check_voxels:
        source = replace(source, bad=_count_bad(source))
        if not source.in_memory:
            verify_compression(name, image)
    return source


def array_reader(
    name, data: np.ndarray, affine: np.ndarray, bad: int = 0, *, like=None
) -> ScanReader:
    """Return voxels in memory as a source."""
    data = np.asarray(data, np.float32)
    where = [slice(None)] * geometry.slice_axis(affine)

    def read(first, last):
        return data[(*where, slice(first, last))]

    return ScanReader(name, like or nib.Nifti1Image(data, affine), data.shape, read, True, bad)


def _streams(image, shape, mean: bool) -> bool:
    """Return whether a scan is read in parts: if it is large, and they lie in a row in its file."""
    return (
        4 * math.prod(shape) > HELD_BYTES
        and isinstance(image, nib.Nifti1Pair)
        and nib.is_proxy(image.dataobj)
        and geometry.slice_axis(image.affine) == 2
        and not mean
    )


def _streamed(image, shape, volume: int | None, name) -> ScanReader:
    # kept open, a compressed file is read on from where it stands
    again = type(image).from_filename(image.get_filename(), keep_file_open=True)
    rest = tuple(np.unravel_index(volume or 0, image.shape[3:])) if image.shape[3:] else ()

    @functools.lru_cache(1)  # what is asked for twice in a row need not be read again
    def read(first, last):
        return read_part(name, again, (..., slice(first, last), *(int(n) for n in rest)))

    tiny = np.zeros((1, 1, 1), np.float32)
    like = gm_image.like_scan(image, tiny)
    return ScanReader(name, like, shape, read, in_memory=False)


def _count_bad(source: ScanReader) -> int:
    """Return how many voxels are NaN or infinite, and refuse a scan that holds nothing."""
    low, high, bad = np.inf, -np.inf, 0
    for first, last in source.parts():
        part = source.read(first, last)
        finite = np.isfinite(part)
        usable = part if finite.all() else part[finite]
        bad += part.size - usable.size
        low, high = min(low, usable.min(initial=np.inf)), max(high, usable.max(initial=-np.inf))
    gm_image.check_range(source.name, low, high)
    return bad


def open_mask(mask, source: ScanReader, *, what: str) -> ScanReader:
    """Open a mask that belongs to a scan: values over 0.5 are in it.

    Parameters
    ----------
    mask : path-like or nibabel image
    source : ScanReader
        The scan.
    what : str
        What to call the mask in messages.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, or its grid is not the scan's.
    """
    given = isinstance(mask, nib.spatialimages.SpatialImage)
    name = (mask.get_filename() or f"the {what}") if given else Path(mask)
    image = mask if given else open_image(name)
    gm_image.check_grid(name, image, source.shape, source.affine, what=what)
    return open_scan(mask, name=name, volume=0, check_voxels=False)
