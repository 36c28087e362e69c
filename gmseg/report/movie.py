"""A run through the cord as a movie, for scans of any length: ``gmseg movie``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core import geometry
from gmseg.core.resampling import reoriented
from gmseg.errors import InputError
from gmseg.io import files
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.report import movie_file, movie_frame
from gmseg.report.display import follow, upright
from gmseg.report.overlays import gray_limits

FIELD_MM = 30.0
"""Side of the square that is shown of a slice."""

_SECONDS = 20  # a movie's length, where the rate allows
_RATES = (4, 60)  # frames per second: few slices are looked at one by one
_CORD_HALF_MM = 3.0  # within it, black and white are chosen
_STEADY_MM = 10.0  # along the cord: brightness must not flicker
_MOST_LINES = 1000  # of the side view as it is gathered


@dataclass(frozen=True)
class Movie:
    """What was written.

    Attributes
    ----------
    file : pathlib.Path
    slices, frames : int
        How many the scan has, and the movie.
    rate : int
        Frames per second.
    notes : tuple of str
        What a viewer should know and cannot see.
    """

    file: Path
    slices: int
    frames: int
    rate: int
    notes: tuple[str, ...]


def write_movie(
    scan,
    mask,
    file,
    *,
    volume: int | None = None,
    mean: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Movie:
    """Write a run through the cord from foot to head: slice, side view, area curve.

    Parameters
    ----------
    scan : path-like
        In any orientation, of any length: it is read in parts.
    mask : path-like
        On the scan's grid; values over 0.5 are in it. It may be empty.
    file : path-like
        To be written: .mp4 shows every slice; .gif and .webp 120 at most, evenly spread.
    volume, mean : int, bool
        See `gmseg.io.image.read_scan`.
    overwrite : bool
        Replace the file if it exists.
    progress : callable, optional
        Called with (steps done, steps in all), of which every slice takes three.

    Returns
    -------
    Movie

    Raises
    ------
    gmseg.errors.InputError
        If the scan cannot be used, the mask lies on another grid or holds several labels, or the
        file cannot be written.

    Notes
    -----
    The same scan and mask give the same file, byte for byte, as long as the libraries are the
    same. Positions are in mm from the lower end of the scan; a slice's is its middle.
    """
    most = movie_file.kind_of(file).most
    for path in (scan, mask):
        files.check_input(path)
    file = files.check_output(file, overwrite=overwrite)
    scan = open_scan(scan, volume=volume, mean=mean)
    mask = open_mask(mask, scan, what="mask")
    told = _told(progress, scan.slices)

    areas_mm2, centres = _survey(mask, told(0))
    run = _describe(scan, mask, centres, areas_mm2, told(1))

    count = min(scan.slices, most or scan.slices)
    chosen = set(np.rint(np.linspace(0, scan.slices - 1, count)).astype(int).tolist())
    rate = int(np.clip(round(count / _SECONDS), *_RATES))
    pictures = _pictures(scan, mask, centres, chosen, told(2))
    with files.atomic_path(file) as temporary:
        movie_file.write_frames(temporary, movie_frame.draw_frames(run, pictures), rate)
    notes = []
    if not areas_mm2.any():
        notes.append("the mask is empty; the middle of the scan is shown")
    if scan.bad:
        notes.append(f"{scan.bad} voxels of the scan are not finite; they count as 0")
    if count < scan.slices:
        notes.append(f"shows {count} of the {scan.slices} slices; .mp4 shows all of them")
    return Movie(file, scan.slices, count, rate, tuple(notes))


def _told(progress, slices: int) -> Callable[[int], Callable[[int], None]]:
    """Return what gives, for each of three passes, what tells how many slices are done."""

    def of_pass(number: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if progress is not None:
                progress(number * slices + done, 3 * slices)

        return tell

    return of_pass


# ------------------------------------------------------------------------------ slice by slice


def _as_stored(source: ScanReader) -> list[tuple[int, int]]:
    """Return parts, counted from foot to head, in the file's order: to go back takes long."""
    return source.parts()[:: -1 if geometry.runs_downwards(source.affine) else 1]


def _las(source: ScanReader, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return slices, counted from foot to head, in LAS orientation, and their affine."""
    start, stop = source.native_part(first, last)
    return reoriented(source.read(start, stop), source.part_affine(start))


def _las_grid(source: ScanReader) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and voxel sizes in mm of a scan in LAS orientation."""
    order = np.argsort(nib.orientations.io_orientation(source.affine)[:, 0])
    sizes = nib.affines.voxel_sizes(source.affine)[order]
    return tuple(source.shape[axis] for axis in order), sizes


# ----------------------------------------------------------------------------- the three passes


def _survey(mask: ScanReader, tell) -> tuple[np.ndarray, np.ndarray]:
    """Return areas and, in voxels, where to look: (slices,) and (slices, 2), from foot to head."""
    (rows, columns, slices), sizes = _las_grid(mask)
    areas_mm2, middles, labels = np.zeros(slices), np.full((slices, 2), np.nan), set()
    done = 0
    for first, last in _as_stored(mask):
        values, affine = _las(mask, first, last)
        inside = values > 0.5
        areas_mm2[first:last] = geometry.slice_areas_mm2(inside, affine)
        labels.update(np.unique(values[inside])[:100].tolist())
        some = np.flatnonzero(areas_mm2[first:last])
        inside = inside[..., some]
        moments = [np.arange(rows) @ inside.sum(axis=1), np.arange(columns) @ inside.sum(axis=0)]
        middles[first + some] = (np.array(moments) / inside.sum(axis=(0, 1))).T
        done += last - first
        tell(done)
    if len(labels) > 1 and all(label.is_integer() for label in labels):
        raise InputError(
            f"{mask.name}: the mask holds {', '.join(f'{v:g}' for v in sorted(labels)[:4])}, as "
            f"labels of several tissues; give one with GM alone"
        )
    return areas_mm2, follow(middles, sizes[2], [(rows - 1) / 2, (columns - 1) / 2])


def _describe(scan: ScanReader, mask: ScanReader, centres, areas_mm2, tell) -> movie_frame.Run:
    """Gather the side view, and what is black and white."""
    (rows, columns, slices), sizes = _las_grid(scan)
    length_mm = slices * float(sizes[2])
    count = min(slices, _MOST_LINES)
    side, reach, times = np.zeros((count, columns)), np.zeros((count, columns)), np.zeros(count)
    limits = np.zeros((slices, 2))
    half = np.maximum(1, np.rint(_CORD_HALF_MM / sizes[:2])).astype(int)
    nearest = np.clip(np.rint(centres).astype(int), 0, np.array([rows, columns]) - 1)
    done = 0
    for first, last in _as_stored(scan):
        values, inside = _las(scan, first, last)[0], _las(mask, first, last)[0] > 0.5
        for k in range(first, last):
            plane = values[..., k - first]
            (top, left), (bottom, right) = np.maximum(nearest[k] - half, 0), nearest[k] + half + 1
            limits[k] = gray_limits(plane[top:bottom, left:right].astype(float))
            at = k * count // slices
            side[at] += _finite(plane[nearest[k, 0]])
            reach[at] += inside[..., k - first].any(axis=0)
            times[at] += 1
        done += last - first
        tell(done)
    limits = ndimage.gaussian_filter1d(limits, _STEADY_MM / sizes[2], axis=0, mode="nearest")
    black, white = limits[np.arange(count) * slices // count].T[..., None]
    shown_mm = movie_frame.SIDE[2] / movie_frame.side_scale(length_mm, FIELD_MM)
    wide = int(np.clip(round(shown_mm / sizes[1]), 1, columns))
    start = int(np.clip(round(centres[:, 1].mean() - (wide - 1) / 2), 0, columns - wide))
    upright = slice(None, None, -1), slice(start, start + wide)
    side = movie_frame.shades(side / times[:, None], black, white)
    return movie_frame.Run(
        numbers=[*range(slices)][:: -1 if geometry.runs_downwards(scan.affine) else 1],
        step_mm=float(sizes[2]),
        areas_mm2=areas_mm2,
        limits=limits,
        field_mm=FIELD_MM,
        side=side[upright][:, ::-1],
        reach=(reach / times[:, None])[upright][:, ::-1],
        side_mm=(length_mm, wide * float(sizes[1])),
    )


def _pictures(
    scan: ScanReader, mask: ScanReader, centres: np.ndarray, chosen: set[int], tell
) -> Iterator[movie_frame.Picture]:
    """Yield the chosen slices, from foot to head."""
    reach = FIELD_MM / 2 / _las_grid(scan)[1][:2]
    for first, last in scan.parts():
        # all are read one after the other: to jump in a compressed file takes as long
        values, inside = _las(scan, first, last)[0], _las(mask, first, last)[0] > 0.5
        for k in range(first, last):
            if k in chosen:
                # the corner is the first whole voxel, with one more for the interpolation
                corner = np.floor(centres[k] + 0.5 - reach).astype(int) - 1
                size = np.ceil(2 * reach).astype(int) + 3
                plane, covered = (
                    upright(_cut(part[..., k - first], corner, size)) for part in (values, inside)
                )
                left, up = centres[k] + 0.5 - reach - corner
                top = size[1] - up - 2 * reach[1]
                box = (left, top, left + 2 * reach[0], top + 2 * reach[1])
                yield movie_frame.Picture(k, _finite(plane), covered, tuple(map(float, box)))
            tell(k + 1)


def _cut(plane: np.ndarray, corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return a part of a slice; beyond the scan it is 0."""
    part = np.zeros(size, plane.dtype)
    low, high = (np.clip(at, 0, plane.shape) for at in (corner, corner + size))
    where = tuple(slice(*ends) for ends in zip(low - corner, high - corner, strict=True))
    part[where] = plane[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    return part


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=0, posinf=0, neginf=0)
