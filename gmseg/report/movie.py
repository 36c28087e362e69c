"""Make a movie of the slices of a scan, inferior to superior, of any length: ``gmseg movie``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
from imageio.plugins.pyav import PyAVPlugin
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage
from skimage.measure import find_contours

from gmseg.core import geometry
from gmseg.errors import InputError
from gmseg.io import files
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.report import panels
from gmseg.report.display import las_slices, smooth_centreline

_FIELD_MM = 30.0  # side of the square shown of a slice
_SECONDS = 20  # length of a movie, where the frame rate allows it
_RATES = (4, 60)  # lowest and highest frame rate per second
_CORD_HALF_MM = 3.0  # half side of the square whose voxels set black and white
_STEADY_MM = 10.0  # sigma of black and white along the cord: brightness must not flicker
_MOST_FRAMES = {".gif": 120, ".webp": 120}  # more make a file too large for a page
_ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {  # codec, pixel format, file options
    ".mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),  # plays while it downloads
    ".gif": ("gif", "pal8", {}),
    ".webp": ("libwebp_anim", "yuv420p", {"loop": "0"}),
}
# FFmpeg's filters that give every frame of a GIF its own colours, and how they are linked
_FILTERS = {"split": "", "palettegen": "stats_mode=single", "paletteuse": "new=1:dither=none"}
_LINKS = [
    *[("video_in", "split", 0, 0), ("split", "paletteuse", 0, 0), ("split", "palettegen", 1, 0)],
    *[("palettegen", "paletteuse", 0, 1), ("paletteuse", "video_out", 0, 0)],
]


@dataclass(frozen=True)
class Movie:
    """A written movie: its file, number of frames, frames per second, and remarks for the user."""

    file: Path
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
    label: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Movie:
    """Write a movie from inferior to superior: slice with outline, side view, area along the cord.

    The scan is read in parts, and frames are encoded one after the other.

    Parameters
    ----------
    scan, mask : path-like
        Scan of any orientation and length, and mask on its grid.
    file : path-like
        ``.mp4`` with every slice, or ``.gif`` or ``.webp`` with at most 120, evenly spread.
    volume, mean : int, bool
        Volume of a 4-D scan, see `gmseg.io.image.read_scan`.
    label : int, optional
        Value of GM in a mask with other values than 0 and 1.
    overwrite : bool
        Whether to replace an existing file.
    progress : callable, optional
        Function called with (steps done, all steps); every slice takes three steps.

    Raises
    ------
    gmseg.errors.InputError
        If the scan cannot be used, the mask is on another grid or contains several labels, or the
        file cannot be written.
    """
    ending = Path(file).suffix.lower()
    if ending not in _ENCODERS:
        raise InputError(f"{file}: name the movie .mp4, .gif or .webp")
    file = files.check_output(file, overwrite=overwrite)
    scan = open_scan(scan, volume=volume, mean=mean)
    mask = open_mask(mask, scan, what="mask", label=label)
    count = itertools.count(1)

    def step() -> None:
        if progress is not None:
            progress(next(count), 3 * scan.slices)

    overview = _survey(scan, mask, step)
    frames = min(scan.slices, _MOST_FRAMES.get(ending, scan.slices))
    chosen = set(np.rint(np.linspace(0, scan.slices - 1, frames)).astype(int).tolist())
    rate = int(np.clip(round(frames / _SECONDS), *_RATES))
    with files.atomic_path(file, overwrite=overwrite) as temporary:
        _encode(temporary, _draw(scan, mask, overview, chosen, step), rate)
    notes = []
    if not overview.areas_mm2.any():
        notes.append("the mask is empty; the middle of the scan is shown")
    if scan.bad_voxels:
        notes.append(f"{scan.bad_voxels} voxels of the scan are not finite; they count as 0")
    if frames < scan.slices:
        notes.append(f"shows {frames} of the {scan.slices} slices; .mp4 shows all of them")
    return Movie(file, frames, rate, tuple(notes))


def _encode(file: Path, frames: Iterator[np.ndarray], rate: int) -> None:
    """Encode frames one after the other."""
    codec, pixel_format, file_options = _ENCODERS[file.suffix.lower()]
    with iio.imopen(file, "w", plugin=PyAVPlugin, options=file_options) as video:
        video.init_video_stream(codec, fps=rate, pixel_format=pixel_format)
        if pixel_format == "pal8":
            stream = video._video_stream
            assert stream is not None
            stream.width, stream.height = 960, 540  # for the filters, which come before the frames
            filters = {name: (name, options) for name, options in _FILTERS.items()}
            video.set_video_filter(filter_graph=(filters, _LINKS))
        for frame in frames:
            video.write_frame(frame)


@dataclass(frozen=True)
class _Overview:
    """What is known of all slices, from inferior to superior, before the first frame is drawn."""

    sizes_mm: np.ndarray  # (3,), of a voxel in LAS orientation
    areas_mm2: np.ndarray  # (slices,)
    centres_mm: np.ndarray  # (slices, 2)
    limits: np.ndarray  # (slices, 2): values shown as black and white
    side_view: np.ndarray  # (slices, columns), 0 to 1
    side_mask: np.ndarray  # (slices, columns): where the mask reaches


def _survey(scan: ScanReader, mask: ScanReader, step: Callable[[], None]) -> _Overview:
    """Read the mask for areas and centres, then the scan for side view and brightness."""
    axes = np.argsort(geometry.orientation(scan.affine)[:, 0])
    rows, columns, slices = (scan.shape[axis] for axis in axes)
    sizes = nib.affines.voxel_sizes(scan.affine)[axes]
    areas, centres = np.zeros(slices), np.full((slices, 2), np.nan)
    for k, values in las_slices(mask, step=step):
        inside = values > 0.5
        if inside.any():
            areas[k] = inside.sum() * sizes[0] * sizes[1]
            centres[k] = np.argwhere(inside).mean(axis=0) * sizes[:2]
    centres = smooth_centreline(centres, sizes[2], (np.array([rows, columns]) - 1) / 2 * sizes[:2])
    half = np.maximum(1, np.rint(_CORD_HALF_MM / sizes[:2])).astype(int)
    voxels = np.clip(np.rint(centres / sizes[:2]).astype(int), 0, [rows - 1, columns - 1])
    limits, side = np.zeros((slices, 2)), np.zeros((2, slices, columns), np.float32)
    for k, plane, covered in las_slices(scan, mask, step=step):
        (top, left), (bottom, right) = np.maximum(voxels[k] - half, 0), voxels[k] + half + 1
        limits[k] = panels.gray_limits(plane[top:bottom, left:right].astype(float))
        line = plane[voxels[k, 0]]
        side[:, k] = np.where(np.isfinite(line), line, 0), (covered > 0.5).any(axis=0)
    limits = ndimage.gaussian_filter1d(limits, _STEADY_MM / sizes[2], axis=0, mode="nearest")
    black, white = limits.T[..., None]
    view = (side[0] - black) / np.maximum(white - black, 1e-30)
    return _Overview(sizes, areas, centres, limits, view, side[1])


def _draw(scan, mask, overview: _Overview, chosen: set[int], step) -> Iterator[np.ndarray]:
    """Yield the frames of the chosen slices, RGB; what does not change is drawn once."""
    figure = Figure(figsize=(9.6, 5.4), dpi=100, facecolor=panels.DARK)  # 960 x 540 pixels
    slice_axes, show_slice = _add_slice(figure, overview)
    moving, show_position = _add_position(figure, overview, scan.runs_downwards)
    for artist in (artists := (slice_axes, *moving)):
        artist.set_animated(True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    for k, plane, covered in las_slices(scan, mask, step=step, upwards=True):
        if k in chosen:
            show_slice(k, np.where(np.isfinite(plane), plane, 0), covered > 0.5)
            show_position(k)
            canvas.restore_region(background)
            for artist in artists:
                figure.draw_artist(artist)
            yield np.asarray(canvas.buffer_rgba())[..., :3]


def _add_slice(figure: Figure, overview: _Overview):
    """Add the panel of a slice; return its axes and the function that shows a slice."""
    ax = panels.axes_at(figure, "slice", 0.2, 0.2, 5, 5)
    image = panels.show_gray(ax, np.zeros((1, 1)), (0, 1), (0, 1, 0, 1), "bicubic")
    (outline,) = ax.plot([], [], color=panels.PREDICTION, linewidth=1.8)
    panels.write_directions(ax, _FIELD_MM, size=13)
    ax.spines[:].set_visible(False)
    sizes, half = overview.sizes_mm[:2], _FIELD_MM / 2

    def show(k: int, plane: np.ndarray, inside: np.ndarray) -> None:
        image.set(data=plane.T, extent=panels.image_extent(plane.shape, sizes))
        image.set_clim(*overview.limits[k])
        lines = find_contours(np.pad(inside, 1).astype(float), 0.5)
        points = [np.vstack([(line - 1) * sizes, [np.nan, np.nan]]) for line in lines]
        outline.set_data(np.concatenate([np.empty((0, 2)), *points]).T)
        x, y = overview.centres_mm[k]
        ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))

    return ax, show


def _add_position(figure: Figure, overview: _Overview, downwards: bool):
    """Add side view, areas and texts; return their moving artists and what moves them."""
    areas, slices, step_mm = overview.areas_mm2, len(overview.areas_mm2), overview.sizes_mm[2]
    length_mm, column_mm, view = slices * step_mm, overview.sizes_mm[1], overview.side_view
    inch_per_mm = min(2.76 / length_mm, 1.7 / _FIELD_MM)
    field_mm = min(1.7 / inch_per_mm, view.shape[1] * column_mm)
    width, height = field_mm * inch_per_mm, length_mm * inch_per_mm
    place = (6.41 - width / 2, 3.82 - height / 2, width, height)
    side = panels.axes_at(figure, "side view", *place)
    what = view, overview.side_mask, (0, 1), (column_mm, length_mm)
    panels.show_side_view(side, *what, overview.centres_mm[:, 1].mean(), field_mm)
    ends = (-0.12 / width, 1 + 0.12 / width)
    (mark,) = side.plot(ends, ends, "white", clip_on=False, transform=side.get_yaxis_transform())

    ax = panels.axes_at(figure, "areas", 5.9, 0.62, 3.44, 1.22)
    ax.set(xlim=(0, length_mm), ylim=(0, max(1.0, 1.12 * areas.max())))
    ax.set_xlabel("along the cord (mm)", size=11)
    ax.set_title("area (mm²)", size=11, loc="left", color=panels.PALE)
    panels.style_curve(ax, 10, x_ticks=6, y_ticks=3)
    (curve,) = ax.plot([], [], color=panels.PREDICTION, linewidth=1.6)
    (dot,) = ax.plot([], [], "o", color="white", markersize=8, clip_on=False)
    positions_mm = (np.arange(slices) + 0.5) * step_mm

    captions = f"of {slices} (0 to {slices - 1})\nalong the cord\narea of the mask"
    figure.text(0.794, 0.93, captions, color=panels.PALE, size=12, va="top", linespacing=5.5)
    values = figure.text(0.794, 1.0, "", color="white", size=22, va="top", linespacing=3)

    def show(k: int) -> None:
        mark.set_ydata([positions_mm[k]] * 2)
        curve.set_data(positions_mm[: k + 1], areas[: k + 1])
        dot.set_data(positions_mm[k : k + 1], areas[k : k + 1])
        number, digits = slices - 1 - k if downwards else k, 1 if step_mm >= 0.2 else 2
        position = f"{positions_mm[k]:.{digits}f} mm"
        values.set_text(f"slice {number}\n{position}\n{areas[k]:.1f} mm²")

    return (mark, curve, dot, values), show
