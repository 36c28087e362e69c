"""Images of the QC page: slices around the cord, layers over them, outlines as SVG paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.measure import find_contours

from gmseg.io.scan_reader import ScanReader
from gmseg.report.display import read_las, upright
from gmseg.report.panels import CORD, CORD_RADIUS_MM, PREDICTION, gray_limits
from gmseg.report.qc_facts import Facts

TILE_PX = 240
CONTEXT_PX = 320
MOST_TILES = 48
LAYERS = {"soft": ("viridis", 1.0), "spread": ("inferno", 0.3)}
"""Colour map of each layer, and the value at its end; index.html shows their scales."""
_FIELD_MM = 24.0  # the cord fills half of it
_FIELD_OF_EMPTY_MM = 72.0  # where the cord is unknown; less for a smaller scan
_COLUMNS = 8
_GAP = 4  # size of a tile relative to the gap between tiles
_STEP_PX = TILE_PX + TILE_PX // _GAP
_THUMBNAIL_PX = 96
_TOLERANCE_PX = 0.1  # of outlines: an eightieth of a mm
_FADE_LEVELS = 26  # a layer fades in over the first tenth of its scale


# ---------------------------------------------------------------------------------- sampling


@dataclass(frozen=True)
class Plane:
    """A slice in LAS orientation, in its native pixels.

    Attributes
    ----------
    values : numpy.ndarray
        float32, 2-D; rows run from right to left, columns from posterior to anterior.
    size_mm : numpy.ndarray
        (2,), size of a pixel.
    """

    values: np.ndarray
    size_mm: np.ndarray

    @property
    def field_mm(self) -> np.ndarray:
        """Field of view; positions are in mm from the corner of its first row and column."""
        return self.size_mm * self.values.shape


def read_plane(reader: ScanReader, k: int) -> Plane:
    """Return slice k, counted from inferior to superior."""
    las, affine = read_las(reader, k, k + 1)
    return Plane(las[..., 0], nib.affines.voxel_sizes(affine)[:2])


def sample(plane: Plane, corner_mm, spacing_mm: float, shape, *, order: int = 1) -> np.ndarray:
    """Return a part of a slice in square pixels, 0 beyond the field of view.

    Parameters
    ----------
    plane : Plane
        Slice to sample; values that are not finite count as 0.
    corner_mm : array_like
        (2,), corner of the part.
    spacing_mm : float
        Size of the pixels.
    shape : sequence of int
        Rows and columns.
    order : int
        Order of the interpolation: 1 is linear, 3 cubic.

    Examples
    --------
    >>> plane = Plane(np.array([[0, 4], [0, 4]], np.float32), np.array([1.0, 1.0]))
    >>> sample(plane, (0, 0), 0.5, (1, 4))
    array([[0., 1., 3., 4.]], dtype=float32)
    """
    corner_mm, step = np.asarray(corner_mm), spacing_mm / plane.size_mm
    values = np.nan_to_num(plane.values, posinf=0, neginf=0)
    offset = corner_mm / plane.size_mm + step / 2 - 0.5
    sampled = ndimage.affine_transform(
        values, step, offset, output_shape=tuple(shape), order=order, mode="nearest"
    )
    positions = [
        corner_mm[axis] + (np.arange(n) + 0.5) * spacing_mm for axis, n in enumerate(shape)
    ]
    rows, columns = (
        (mm > 0) & (mm < field) for mm, field in zip(positions, plane.field_mm, strict=True)
    )
    return sampled * (rows[:, None] & columns)


# ------------------------------------------------------------------------- choosing the slices


def choose_slices(count: int, flagged: Sequence[int], most: int = MOST_TILES) -> list[int]:
    """Return the slices to show: all, or flagged ones and evenly spaced ones of the others.

    Parameters
    ----------
    count : int
        Number of slices of the scan.
    flagged : sequence of int
        Slices with a flag, in rising order. If they are many, they get half of the places.
    most : int
        Number of slices to show.

    Examples
    --------
    >>> choose_slices(100, [7, 8], most=6)
    [0, 7, 8, 34, 67, 99]
    """
    if count <= most:
        return list(range(count))
    others = sorted(set(range(count)) - set(flagged))
    others = _evenly(others, most - min(len(flagged), most // 2))
    return sorted(others + _evenly(list(flagged), most - len(others)))


def _evenly(items: list[int], most: int) -> list[int]:
    if len(items) <= most:
        return items
    return [items[i] for i in np.rint(np.linspace(0, len(items) - 1, most)).astype(int)]


# ------------------------------------------------------------------------- writing the images


def write_images(readers: dict[str, ScanReader], facts: Facts, folder: Path) -> dict:
    """Write the images of a scan, and return what the page needs to show them.

    Parameters
    ----------
    readers : dict
        ``"scan"`` and ``"mask"``; where there are such images, ``"soft"``, ``"spread"`` and
        ``"cord"``.
    facts : gmseg.report.qc_facts.Facts
        Measurements and flags of the mask.
    folder : pathlib.Path
        Folder of the scan.

    Returns
    -------
    dict
        Tiles with their outlines, layers, and the position of the tile in the whole slice.
    """
    chosen = choose_slices(len(facts.numbers), facts.flagged())
    labelled = [k for k in chosen if facts.area_mm2[k] > 0] or chosen
    thumbnail_slices = _evenly(labelled, 5)[1:-1] if len(labelled) > 3 else labelled
    empty = not any(facts.area_mm2)
    field_mm = _field_of_empty_mm(readers["scan"]) if empty else _FIELD_MM
    sheets = {kind: TileSheet(len(chosen)) for kind in readers if kind in ("scan", *LAYERS)}
    tiles, thumbnails, context = {}, {}, {}
    # in the order of storage, so that a compressed file is read once
    for k in sorted(chosen, key=lambda k: facts.numbers[k]):
        planes = {kind: read_plane(reader, k) for kind, reader in readers.items()}
        crops = {kind: _crop(kind, planes[kind], facts.centres_mm[k], field_mm) for kind in planes}
        gray = stretch_all(crops["scan"]) if empty else stretch_around_cord(crops["scan"])
        lines = outline(crops["mask"])
        sheets["scan"].put(chosen.index(k), gray)
        for kind in sheets.keys() & LAYERS.keys():
            sheets[kind].put(chosen.index(k), to_levels(crops[kind], LAYERS[kind][1]))
        missing_mm2 = facts.area_mm2[k] - float(crops["mask"].mean()) * field_mm**2
        beyond = missing_mm2 > 0.5 + 0.1 * facts.area_mm2[k]
        tiles[k] = {"k": k, "path": svg_path(lines), "beyond": beyond}
        cord_lines = outline(crops["cord"]) if "cord" in crops else []
        if "cord" in crops:
            tiles[k]["cord_path"] = svg_path(cord_lines)
        if k in thumbnail_slices:
            thumbnails[k] = thumbnail(gray, lines, cord_lines)
        if k == labelled[len(labelled) // 2]:
            context = _write_context(planes["scan"], facts, k, field_mm, folder / "context.png")
    for kind, sheet in sheets.items():
        sheet.image(kind).save(folder / f"{'mosaic' if kind == 'scan' else kind}.png")
    strip = np.concatenate([thumbnails[k] for k in thumbnail_slices], axis=1)
    Image.fromarray(strip).save(folder / "thumb.png")
    return {
        "tiles": [tiles[k] for k in chosen],
        "tile_px": TILE_PX,
        "columns": _COLUMNS,
        "gap": _GAP,
        "field_mm": round(field_mm, 2),
        "layers": sorted(sheets.keys() & LAYERS.keys()),
        "context": context,
    }


def _field_of_empty_mm(scan: ScanReader) -> float:
    sizes = np.array(scan.shape) * nib.affines.voxel_sizes(scan.affine)
    return float(min(_FIELD_OF_EMPTY_MM, np.delete(sizes, scan.axis).max()))


def _crop(kind: str, plane: Plane, centre_mm: np.ndarray, field_mm: float) -> np.ndarray:
    corner_mm, spacing_mm = centre_mm - field_mm / 2, field_mm / TILE_PX
    order = 3 if kind == "scan" else 1
    return upright(sample(plane, corner_mm, spacing_mm, (TILE_PX, TILE_PX), order=order))


class TileSheet:
    """Tiles in one image, row by row, with black gaps between them.

    A browser that resizes a tile mixes in the pixels beside it, which must be black.
    """

    def __init__(self, count: int):
        rows, columns = -(-count // _COLUMNS), min(count, _COLUMNS)
        self.values = np.zeros((rows * _STEP_PX, columns * _STEP_PX), np.uint8)

    def put(self, position: int, tile: np.ndarray) -> None:
        """Put a tile, uint8, at its position."""
        row, column = (_STEP_PX * n for n in divmod(position, _COLUMNS))
        self.values[row : row + TILE_PX, column : column + TILE_PX] = tile

    def image(self, kind: str) -> Image.Image:
        """Return the sheet in gray, or in the colours of a layer, transparent at 0."""
        image = Image.fromarray(self.values)
        if kind == "scan":
            return image
        colours = mpl.colormaps[LAYERS[kind][0]](np.linspace(0, 1, 256))[:, :3]
        image.putpalette(np.rint(255 * colours).astype(np.uint8).tobytes())
        alpha = np.clip(np.arange(256) / _FADE_LEVELS, 0, 1)
        image.info["transparency"] = np.rint(255 * alpha).astype(np.uint8).tobytes()
        return image


def stretch_around_cord(values: np.ndarray) -> np.ndarray:
    """Return a tile as 8-bit gray, its contrast set by the cord in the middle."""
    axis_mm = (np.arange(TILE_PX) - (TILE_PX - 1) / 2) * _FIELD_MM / TILE_PX
    black, white = gray_limits(values[np.hypot(axis_mm[:, None], axis_mm) < CORD_RADIUS_MM])
    return to_levels(values - black, white - black)


def stretch_all(values: np.ndarray) -> np.ndarray:
    """Return an image as 8-bit gray, its contrast set by nearly all of its values."""
    low, high = np.percentile(values, [1, 99])
    return to_levels(values - low, max(high - low, 1e-6))


def to_levels(values: np.ndarray, most: float) -> np.ndarray:
    """Return values from 0 to `most` as levels from 0 to 255; values not finite become 0.

    Examples
    --------
    >>> to_levels(np.array([-1, 0.1, 2, np.nan]), 0.5)
    array([  0,  51, 255,   0], dtype=uint8)
    """
    values = np.nan_to_num(values, nan=0.0, posinf=most, neginf=0.0)
    return np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8)


def outline(mask: np.ndarray) -> list[np.ndarray]:
    """Return the lines where a mask is 0.5, each (points, 2): across and down, in pixels."""
    return [_thin(line[:, ::-1] - 0.5) for line in find_contours(np.pad(mask, 1), 0.5)]


def _thin(line: np.ndarray) -> np.ndarray:
    """Drop points that lie nearly between their neighbours, every second one in four rounds."""
    for _ in range(4):
        before, point, after = line[:-2:2], line[1:-1:2], line[2::2]
        along, aside = after - before, point - before
        cross = along[:, 0] * aside[:, 1] - along[:, 1] * aside[:, 0]
        keep = np.ones(len(line), bool)
        keep[1:-1:2] = np.abs(cross) > _TOLERANCE_PX * np.hypot(*along.T)
        line = line[keep]
    return line


def svg_path(lines: list[np.ndarray]) -> str:
    """Return closed lines as an SVG path.

    Examples
    --------
    >>> svg_path([np.array([[0, 0], [1, 0], [1, 1], [0, 0]])])
    'M0.0 0.0L1.0 0.0L1.0 1.0Z'
    """
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z" for line in lines)


def thumbnail(
    gray: np.ndarray, lines: list[np.ndarray], cord_lines: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Return a small image of the middle of a tile with the outlines of mask and cord, RGB."""
    size, cut = len(gray), len(gray) // 5  # the cord fills most of the rest
    scale = 2 * _THUMBNAIL_PX / (size - 2 * cut)
    image = Image.fromarray(gray[cut : size - cut, cut : size - cut]).convert("RGB")
    image = image.resize((2 * _THUMBNAIL_PX, 2 * _THUMBNAIL_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    strokes = [(line, CORD, 2) for line in cord_lines] + [(line, PREDICTION, 3) for line in lines]
    for line, colour, width in strokes:  # the mask lies over the cord
        points = [tuple(point) for point in (line - cut) * scale]
        pen.line(points, fill="#000000", width=2 * width, joint="curve")
        pen.line(points, fill=colour, width=width, joint="curve")
    return np.asarray(image.resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX))


def _write_context(plane: Plane, facts: Facts, k: int, field_mm: float, file: Path) -> dict:
    """Write a whole slice, and return its number, its size and the tile's position in it."""
    spacing_mm = float(plane.field_mm.max()) / CONTEXT_PX
    shape = np.maximum(1, np.rint(plane.field_mm / spacing_mm)).astype(int)
    values = upright(sample(plane, (0, 0), spacing_mm, shape))
    Image.fromarray(stretch_all(values)).save(file)
    left_mm, bottom_mm = facts.centres_mm[k] - field_mm / 2
    top_mm = plane.field_mm[1] - bottom_mm - field_mm
    box = [left_mm / spacing_mm, top_mm / spacing_mm, field_mm / spacing_mm]
    return {
        "number": facts.numbers[k],
        "size": [int(n) for n in shape],
        "box": [round(float(value), 1) for value in box],
    }
