"""One moment of a run through the cord: slice, side view, area curve; drawn fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from gmseg.report.overlays import DARK, PALE, PREDICTION

WIDTH, HEIGHT = 960, 540
"""Of a frame, in pixels: even, as video wants it."""

# where things are: left, top, width, height
SLICE = (20, 20, 500, 500)
SIDE = (556, 20, 170, 276)
CURVE = (590, 356, 344, 122)
_WORDS = (762, 34)
_WHITE = "#ffffff"
_FRAME = "#4a505a"
_TINT = 0.45
_BAR_MM = 5


@dataclass(frozen=True)
class Run:
    """What is known of a run before its first frame; slices are counted from foot to head.

    Attributes
    ----------
    numbers : list of int
        The slices' numbers as stored.
    step_mm : float
        From slice to slice.
    areas_mm2 : numpy.ndarray
        (slices,)
    limits : numpy.ndarray
        (slices, 2): the scan values that are black and white.
    field_mm : float
        Side of the square that is shown of a slice.
    side, reach : numpy.ndarray
        (any, any): the side view, 0 to 1, and how much of each of its pixels the mask reaches,
        0 to 1; head at the top, front on the left.
    side_mm : tuple of float
        Height and width of the side view.
    """

    numbers: list[int]
    step_mm: float
    areas_mm2: np.ndarray
    limits: np.ndarray
    field_mm: float
    side: np.ndarray
    reach: np.ndarray
    side_mm: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """A slice to be shown, front at the top and the patient's left on the right.

    Attributes
    ----------
    k : int
        The slice's number from foot to head.
    values : numpy.ndarray
        Float, 2-D: a part of the slice, in scan values.
    inside : numpy.ndarray
        bool, the same shape: the mask.
    box : tuple of float
        Left, top, right and bottom of what is shown of them, in their pixels.
    """

    k: int
    values: np.ndarray
    inside: np.ndarray
    box: tuple[float, float, float, float]


def side_scale(length_mm: float, field_mm: float) -> float:
    """Return pixels per mm of the side view: all of the cord, and a slice's field at least."""
    return min(SIDE[3] / length_mm, SIDE[2] / field_mm)


def shades(values: np.ndarray, black, white, beyond: float = 0) -> np.ndarray:
    """Return scan values as 0 (black) to 1 (white), or so much beyond."""
    values = (values.astype(float) - black) / np.maximum(white - black, 1e-30)
    return np.clip(values, -beyond, 1 + beyond)


def draw_frames(run: Run, pictures: Iterable[Picture]) -> Iterator[Image.Image]:
    """Draw frame after frame.

    Parameters
    ----------
    run : Run
    pictures : iterable of Picture
        Their numbers rising. Slices may be left out: the curve goes on through them.

    Yields
    ------
    PIL.Image.Image
        RGB, `WIDTH` x `HEIGHT`.
    """
    backdrop = Image.new("RGB", (WIDTH, HEIGHT), DARK)
    draw = ImageDraw.Draw(backdrop)
    side_box = _draw_side(backdrop, draw, run)
    across, up = _draw_axes(draw, run)
    labels, where_labels = _labels(run.field_mm)
    curve = np.zeros((CURVE[3] + 16, CURVE[2] + 16), np.uint8)  # room for the dot at the edges
    points = list(zip(across, up, strict=True))
    before = 0
    for picture in pictures:
        k = picture.k
        frame = backdrop.copy()
        frame.paste(_gray(picture, *run.limits[k]), SLICE[:2])
        _paste_outline(frame, _enlarged(picture.inside, picture.box, Image.BILINEAR))
        frame.paste(labels, SLICE[:2], where_labels)
        draw = ImageDraw.Draw(frame)
        _draw_position(draw, side_box, (k + 0.5) / len(run.numbers))
        for j in range(before, k):
            _stroke(curve, points[j], points[j + 1], 2.2)
        before = k
        corner = (CURVE[0] - 8, CURVE[1] - 8)
        frame.paste(PREDICTION, corner, Image.fromarray(curve))
        dot = np.zeros_like(curve)
        _stroke(dot, points[k], points[k], 11)
        frame.paste(_WHITE, corner, Image.fromarray(dot))
        _write_words(draw, run, k)
        yield frame


# ----------------------------------------------------------------------------------- slice


def _gray(picture: Picture, black: float, white: float) -> Image.Image:
    # a little more than what can be seen, so that edges stay smooth
    values = shades(picture.values, black, white, beyond=1)
    large = _enlarged(values, picture.box, Image.BICUBIC)
    return Image.fromarray((255 * np.clip(large, 0, 1) + 0.5).astype(np.uint8))


def _enlarged(values: np.ndarray, box, way) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(SLICE[2:], way, box))


def _paste_outline(frame: Image.Image, large: np.ndarray) -> None:
    """Paste the line on which a mask is 0.5, of an even width."""
    rows, columns = (np.flatnonzero((large > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return
    top, left = (max(0, some[0] - 3) for some in (rows, columns))
    part = large[top : rows[-1] + 4, left : columns[-1] + 4]
    steepness = np.maximum(np.hypot(*np.gradient(part)), 1e-4)
    distance = np.abs(part - 0.5) / steepness  # in pixels, where it is small
    # a thin line made broader: beside an edge as steep as a fine mask's, no distance is known
    line = Image.fromarray((255 * np.clip(1.2 - distance, 0, 1)).astype(np.uint8))
    where = (SLICE[0] + int(left), SLICE[1] + int(top))
    frame.paste(PREDICTION, where, line.filter(ImageFilter.MaxFilter(3)))


def _labels(field_mm: float) -> tuple[Image.Image, Image.Image]:
    """Return what is written over every slice, and where: directions, a bar of 5 mm."""
    labels = Image.new("RGB", SLICE[2:], DARK)
    where = Image.new("L", SLICE[2:], 0)
    draw, cover = ImageDraw.Draw(labels), ImageDraw.Draw(where)
    size, edge = SLICE[2], 12

    def write(text, x, y, anchor, height=22):
        box = draw.textbbox((x, y), text, _font(height), anchor)
        plate = (box[0] - 5, box[1] - 5, box[2] + 5, box[3] + 5)
        cover.rectangle(plate, 150)
        draw.text((x, y), text, _WHITE, _font(height), anchor)
        cover.text((x, y), text, 255, _font(height), anchor)

    write("A", size / 2, edge, "mt")
    write("P", size / 2, size - edge, "mb")
    write("R", edge, size / 2, "lm")
    write("L", size - edge, size / 2, "rm")
    length = _BAR_MM / field_mm * size
    bar = (size - edge - length, size - edge - 5, size - edge, size - edge)
    cover.rectangle((bar[0] - 2, bar[1] - 2, bar[2] + 2, bar[3] + 2), 255)
    draw.rectangle(bar, _WHITE)
    write(f"{_BAR_MM} mm", size - edge - length / 2, size - edge - 14, "mb", 17)
    return labels, where


# ------------------------------------------------------------------------------- side view


def _draw_side(backdrop: Image.Image, draw: ImageDraw.ImageDraw, run: Run) -> tuple:
    """Draw the side view, and return where it is: left, top, right, bottom."""
    scale = side_scale(len(run.numbers) * run.step_mm, run.field_mm)
    high, wide = (max(1, round(mm * scale)) for mm in run.side_mm)
    left, top = SIDE[0] + (SIDE[2] - wide) // 2, SIDE[1] + (SIDE[3] - high) // 2
    gray, reach = (
        Image.fromarray(values.astype(np.float32)).resize((wide, high), Image.BILINEAR)
        for values in (255 * run.side, 255 * _TINT * run.reach)
    )
    backdrop.paste(gray.convert("L"), (left, top))
    backdrop.paste(PREDICTION, (left, top), reach.convert("L"))
    middle = left + wide / 2
    apart = max(wide / 2 - 8, 14)
    draw.text((middle - apart, top + high + 6), "A", PALE, _font(17), "mt")
    draw.text((middle + apart, top + high + 6), "P", PALE, _font(17), "mt")
    return left, top, left + wide, top + high


def _draw_position(draw: ImageDraw.ImageDraw, box: tuple, share: float) -> None:
    """Draw a line at a share of the way from foot to head, with arrow heads beside it."""
    left, top, right, bottom = box
    y = bottom - share * (bottom - top)
    draw.line((left - 3, y, right + 2, y), _WHITE, 2)
    for x, way in ((left - 4, -1), (right + 3, 1)):
        draw.polygon([(x, y), (x + 9 * way, y - 6), (x + 9 * way, y + 6)], _WHITE)


# ----------------------------------------------------------------------------------- curve


def _draw_axes(draw: ImageDraw.ImageDraw, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Draw the curve's axes; return where its points are, in pixels of the curve's array."""
    left, top, wide, high = CURVE
    length_mm = len(run.numbers) * run.step_mm
    largest = max(1.0, 1.12 * float(run.areas_mm2.max()))
    draw.rectangle((left, top, left + wide, top + high), None, _FRAME)
    for mm in _ticks(length_mm, 6):
        x = left + mm / length_mm * wide
        draw.line((x, top + high, x, top + high + 4), _FRAME)
        draw.text((x, top + high + 8), f"{mm:g}", PALE, _font(15), "mt")
    for mm2 in _ticks(largest, 3):
        y = top + high - mm2 / largest * high
        draw.line((left - 4, y, left, y), _FRAME)
        draw.text((left - 8, y), f"{mm2:g}", PALE, _font(15), "rm")
    draw.text((left - 40, top - 10), "area (mm²)", PALE, _font(16), "ls")
    draw.text((left + wide / 2, top + high + 28), "along the cord (mm)", PALE, _font(16), "mt")
    across = 8 + (np.arange(len(run.numbers)) + 0.5) / len(run.numbers) * wide
    return across, 8 + high - run.areas_mm2 / largest * high


def _ticks(end: float, count: int) -> list[float]:
    return [at for at in MaxNLocator(count).tick_values(0, end) if -1e-9 <= at <= end]


def _stroke(alpha: np.ndarray, start, end, width: float) -> None:
    """Draw a line with round ends, or a dot, into a picture of 0 to 255."""
    (x0, y0), (x1, y1) = start, end
    reach = width / 2 + 1
    top, left = (max(0, int(min(pair) - reach)) for pair in ((y0, y1), (x0, x1)))
    part = alpha[top : int(max(y0, y1) + reach) + 1, left : int(max(x0, x1) + reach) + 1]
    y, x = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2 or 1), 0, 1)
    distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
    ink = 255 * np.clip(width / 2 + 0.5 - distance, 0, 1)
    np.maximum(part, ink.astype(np.uint8), out=part)


# ----------------------------------------------------------------------------------- words


def _write_words(draw: ImageDraw.ImageDraw, run: Run, k: int) -> None:
    x, y = _WORDS
    digits = 1 if run.step_mm >= 0.2 else 2
    words = (
        (f"slice {run.numbers[k]}", f"of {len(run.numbers)} (0 to {len(run.numbers) - 1})", _WHITE),
        (f"{(k + 0.5) * run.step_mm:.{digits}f} mm", "along the cord", _WHITE),
        (f"{run.areas_mm2[k]:.1f} mm²", "in the outline", PREDICTION),
    )
    for large, small, colour in words:
        draw.text((x, y), large, colour, _font(30), "lt")
        draw.text((x, y + 36), small, PALE, _font(17), "lt")
        y += 90


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # by its file and Pillow's own layout: the same pixels on every machine
    file = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)
