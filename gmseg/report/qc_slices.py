"""The pictures of the QC page: slices around the cord, layers over them, outlines as paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from gmseg.io.scan_reader import ScanReader
from gmseg.report.display import upright
from gmseg.report.overlays import PREDICTION, gray_limits
from gmseg.report.qc_crops import Plane, read_plane, sample
from gmseg.report.qc_facts import Facts

_FIELD_MM = 24.0  # the cord fills half of it
_FIELD_OF_EMPTY_MM = 72.0  # where nobody knows where the cord is, or all that there is
MOST_TILES = 48
_COLUMNS = 8
TILE_PX = 240
_GAP = 4  # a tile's size over the gap's between two tiles
_STEP_PX = TILE_PX + TILE_PX // _GAP
_CORD_RADIUS_MM = 3.5  # whose values decide what is black and what is white
CONTEXT_PX = 320
_THUMB_PX = 96
_TOLERANCE_PX = 0.1  # of outlines: an eightieth of a mm
LAYERS = {"soft": ("viridis", 1.0), "spread": ("inferno", 0.3)}
"""Colour map, and the value at its end, of each layer; index.html shows their scales."""


def choose(count: int, flagged: Sequence[int], most: int = MOST_TILES) -> list[int]:
    """Return which slices to show: all, or flagged ones and evenly spaced ones of the others.

    Parameters
    ----------
    count : int
        Slices in all.
    flagged : sequence of int
        Rising numbers of those with a flag; where they are many, they get half of the places.
    most : int
        How many to show.

    Examples
    --------
    >>> choose(100, [7, 8], most=6)
    [0, 7, 8, 33, 67, 99]
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


def draw(sources: dict[str, ScanReader], facts: Facts, folder: Path) -> dict:
    """Write a scan's pictures, and return what the page needs to show them.

    Parameters
    ----------
    sources : dict
        ``"scan"`` and ``"mask"``, and ``"soft"`` and ``"spread"`` where there are any.
    facts : gmseg.report.qc_facts.Facts
    folder : pathlib.Path

    Returns
    -------
    dict
        Tiles with their outlines, layers, and where the context lies.
    """
    chosen = choose(len(facts.numbers), facts.flagged())
    labelled = [k for k in chosen if facts.area_mm2[k] > 0] or chosen
    empty = not any(facts.area_mm2)
    field_mm = _field_of_empty_mm(sources["scan"]) if empty else _FIELD_MM
    as_gray = as_whole if empty else around_cord
    thumbs = _evenly(labelled, 5)[1:-1] if len(labelled) > 3 else labelled
    middle = labelled[len(labelled) // 2]
    sheets = {kind: Sheet(len(chosen)) for kind in sources if kind != "mask"}
    tiles, views = {}, {}
    # in the order in which they are stored, so that a compressed file is read once
    for k in sorted(chosen, key=lambda k: facts.numbers[k]):
        planes = {kind: read_plane(source, k) for kind, source in sources.items()}
        crops = {
            kind: _crop(plane, facts.centres_mm[k], field_mm, order=3 if kind == "scan" else 1)
            for kind, plane in planes.items()
        }
        gray, lines = as_gray(crops.pop("scan")), outlines(mask := crops.pop("mask"))
        sheets["scan"].put(chosen.index(k), gray)
        for kind, values in crops.items():
            sheets[kind].put(chosen.index(k), as_levels(values, LAYERS[kind][1]))
        missing_mm2 = facts.area_mm2[k] - float(mask.mean()) * field_mm**2
        beyond = missing_mm2 > 0.5 + 0.1 * facts.area_mm2[k]
        tiles[k] = {"k": k, "path": as_path(lines), "beyond": beyond}
        if k in thumbs:
            views[k] = thumb(gray, lines)
        if k == middle:
            context = _context(planes["scan"], facts, k, field_mm, folder / "context.png")
    for kind, sheet in sheets.items():
        sheet.image(kind).save(folder / f"{'mosaic' if kind == 'scan' else kind}.png")
    views = np.concatenate([views[k] for k in thumbs], axis=1)
    Image.fromarray(views).save(folder / "thumb.png")
    return {
        "tiles": [tiles[k] for k in chosen],
        "tile_px": TILE_PX,
        "columns": _COLUMNS,
        "gap": _GAP,
        "field_mm": round(field_mm, 2),
        "layers": sorted(crops),
        "context": context,
    }


def _field_of_empty_mm(scan: ScanReader) -> float:
    sizes = np.array(scan.shape) * nib.affines.voxel_sizes(scan.affine)
    return float(min(_FIELD_OF_EMPTY_MM, np.delete(sizes, scan.axis).max()))


def _crop(plane: Plane, centre_mm: np.ndarray, field_mm: float, *, order: int) -> np.ndarray:
    corner_mm, spacing_mm = centre_mm - field_mm / 2, field_mm / TILE_PX
    return upright(sample(plane, corner_mm, spacing_mm, (TILE_PX, TILE_PX), order=order))


class Sheet:
    """Tiles in one picture, row by row, with black gaps between them.

    A browser that changes a tile's size mixes in what lies beside it: that must be black.
    """

    def __init__(self, count: int):
        rows, columns = -(-count // _COLUMNS), min(count, _COLUMNS)
        self.values = np.zeros((rows * _STEP_PX, columns * _STEP_PX), np.uint8)

    def put(self, at: int, tile: np.ndarray) -> None:
        """Put a tile, uint8, at its place."""
        row, column = (_STEP_PX * n for n in divmod(at, _COLUMNS))
        self.values[row : row + TILE_PX, column : column + TILE_PX] = tile

    def image(self, kind: str) -> Image.Image:
        """Return the picture: gray, or in a layer's colours, clear where it is 0."""
        if kind == "scan":
            return Image.fromarray(self.values)
        colours = mpl.colormaps[LAYERS[kind][0]](np.linspace(0, 1, 256))[:, :3]
        image = Image.fromarray(self.values)
        image.putpalette(np.rint(255 * colours).astype(np.uint8).tobytes())
        clear = np.clip(np.arange(256) / 26, 0, 1)  # a tenth of the scale fades in
        image.info["transparency"] = np.rint(255 * clear).astype(np.uint8).tobytes()
        return image


def around_cord(values: np.ndarray) -> np.ndarray:
    """Return a tile as 8-bit gray, its contrast set by the cord in its middle."""
    axis = (np.arange(TILE_PX) - (TILE_PX - 1) / 2) * _FIELD_MM / TILE_PX
    low, high = gray_limits(values[np.hypot(axis[:, None], axis[None]) < _CORD_RADIUS_MM])
    return as_levels(values - low, high - low)


def as_whole(values: np.ndarray) -> np.ndarray:
    """Return a picture as 8-bit gray, nearly all of its values told apart."""
    low, high = np.percentile(values, [1, 99])
    return as_levels(values - low, max(high - low, 1e-6))


def as_levels(values: np.ndarray, most: float) -> np.ndarray:
    """Return values from 0 to `most` as 0 to 255; what is not finite is 0."""
    values = np.nan_to_num(values, nan=0.0, posinf=most, neginf=0.0)
    return np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8)


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the lines at 0.5 of a mask's tile, each (points, 2): across and down, in pixels."""
    return [_thinned(line[:, ::-1] - 0.5) for line in find_contours(np.pad(mask, 1), 0.5)]


def _thinned(line: np.ndarray) -> np.ndarray:
    """Drop every second point that lies nearly between its neighbours, and again."""
    for _ in range(4):
        before, point, after = line[:-2:2], line[1:-1:2], line[2::2]
        along, aside = after - before, point - before
        cross = along[:, 0] * aside[:, 1] - along[:, 1] * aside[:, 0]
        keep = np.ones(len(line), bool)
        keep[1:-1:2] = np.abs(cross) > _TOLERANCE_PX * np.hypot(*along.T)
        line = line[keep]
    return line


def as_path(lines: list[np.ndarray]) -> str:
    """Return closed lines as the path of an SVG."""
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z" for line in lines)


def thumb(gray: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    """Return a small picture of a tile's middle, outlined, RGB."""
    size, cut = len(gray), len(gray) // 5  # the cord fills most of what is left
    scale = 2 * _THUMB_PX / (size - 2 * cut)
    image = Image.fromarray(gray[cut : size - cut, cut : size - cut]).convert("RGB")
    image = image.resize((2 * _THUMB_PX, 2 * _THUMB_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for line in lines:
        points = [tuple(point) for point in (line - cut) * scale]
        for colour, width in (("#000000", 6), (PREDICTION, 3)):
            pen.line(points, fill=colour, width=width, joint="curve")
    return np.asarray(image.resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BOX))


def _context(plane: Plane, facts: Facts, k: int, field_mm: float, file: Path) -> dict:
    """Write a slice as a whole, and say which it is, its size and where the tile lies in it."""
    spacing_mm = float(plane.field_mm.max()) / CONTEXT_PX
    shape = np.maximum(1, np.rint(plane.field_mm / spacing_mm)).astype(int)
    values = upright(sample(plane, (0, 0), spacing_mm, shape))
    Image.fromarray(as_whole(values)).save(file)
    left_mm, bottom_mm = facts.centres_mm[k] - field_mm / 2
    top_mm = plane.field_mm[1] - bottom_mm - field_mm
    box = [left_mm / spacing_mm, top_mm / spacing_mm, field_mm / spacing_mm]
    return {
        "number": facts.numbers[k],
        "size": [int(n) for n in shape],
        "box": [round(float(value), 1) for value in box],
    }
