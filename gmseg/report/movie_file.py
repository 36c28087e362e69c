"""Frames into a movie's file, one after the other: MP4, GIF, WebP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from gmseg.errors import InputError
from gmseg.report.overlays import DARK, PALE, PREDICTION


@dataclass(frozen=True)
class Kind:
    """How a file of one ending is encoded.

    Attributes
    ----------
    codec, pixels : str
        Of FFmpeg.
    most : int, optional
        How many frames are of use in such a file.
    options, file_options : dict
        Of the codec, and of the file.
    """

    codec: str
    pixels: str
    most: int | None = None
    options: dict = field(default_factory=dict)
    file_options: dict = field(default_factory=dict)


# as FFmpeg turns RGB into what H.264 holds; without the word, players guess
_COLOURS = dict.fromkeys(("colorspace", "color_primaries", "color_trc"), "smpte170m")

KINDS = {
    ".mp4": Kind(
        "libx264",
        "yuv420p",
        None,
        # a set number of threads: the same bytes whatever the number of processors
        {"crf": "20", "preset": "veryfast", "threads": "2", "color_range": "tv", **_COLOURS},
        {"movflags": "faststart"},  # browsers play it while it comes
    ),
    ".gif": Kind("gif", "pal8", 120),
    ".webp": Kind("libwebp_anim", "yuv420p", 120, {"quality": "75"}, {"loop": "0"}),
}
"""The endings that can be written. A GIF or WebP of more frames is for no page: MP4 is."""


def kind_of(file) -> Kind:
    """Return how a file is encoded, by its ending, or refuse it."""
    ending = Path(file).suffix.lower()
    if ending not in KINDS:
        raise InputError(f"{file}: name the movie {', '.join([*KINDS][:-1])} or {[*KINDS][-1]}")
    return KINDS[ending]


def write_frames(file: Path, frames: Iterable[Image.Image], rate: int) -> None:
    """Encode frames as they come.

    Parameters
    ----------
    file : pathlib.Path
        Its ending says how; it is replaced.
    frames : iterable of PIL.Image.Image
        RGB, of one size, even in both directions.
    rate : int
        Frames per second.
    """
    import av

    kind = kind_of(file)
    with av.open(file, "w", options=kind.file_options) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(kind.codec, rate=rate, options=kind.options)
                stream.width, stream.height = frame.size
                stream.pix_fmt = kind.pixels
            container.mux(stream.encode(_converted(frame, kind.pixels)))
        container.mux(stream.encode(None))


@lru_cache
def _palette() -> Image.Image:
    """Return a picture with a GIF's colours: gray, orange over gray, and those of the words."""
    orange, dark, pale = (255 * np.array(to_rgb(name)) for name in (PREDICTION, DARK, PALE))
    grays = [np.full(3, level) for level in np.linspace(0, 255, 86)]
    mixed = [
        share * orange + (1 - share) * level
        for share in (0.2, 0.4, 0.6, 0.8)
        for level in np.linspace(0, 255, 26)
    ]
    words = [share * pale + (1 - share) * dark for share in np.linspace(0, 1, 16)]
    words += [share * orange + (1 - share) * dark for share in np.linspace(0, 1, 16)]
    picture = Image.new("P", (1, 1))
    picture.putpalette(np.rint([*grays, *mixed, *words]).astype(np.uint8).tobytes())
    return picture


def _converted(frame: Image.Image, pixels: str):
    from av import VideoFrame

    if pixels != "pal8":
        return VideoFrame.from_ndarray(np.asarray(frame), "rgb24")
    indexed = frame.quantize(palette=_palette(), dither=Image.Dither.NONE)
    colours = np.array(_palette().getpalette(), np.uint8).reshape(-1, 3)
    table = np.zeros((256, 4), np.uint8)  # opacity first; FFmpeg leaves out what did not change
    table[: len(colours)] = np.insert(colours, 0, 255, axis=1)
    return VideoFrame.from_ndarray((np.asarray(indexed), table), "pal8")
