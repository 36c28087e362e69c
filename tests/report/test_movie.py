"""Movies: every slice once and in its place, little memory, a complete file or none."""

import subprocess
import sys
import tracemalloc

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, a_scan, reoriented
from PIL import Image
from scipy import ndimage

from gmseg import InputError
from gmseg.core import geometry
from gmseg.io import scan_reader
from gmseg.report import movie

SLICES = 6
ENDINGS = (".mp4", ".gif", ".webp")
# panels of a frame: rows and columns
SLICE = np.s_[20:520, 20:520]
SIDE_VIEW = np.s_[20:296, 556:726]
AREAS = np.s_[356:478, 590:934]
NUMBER = np.s_[:, 20:70, 740:]  # of all frames


@pytest.fixture(scope="module")
def pair():
    """A scan and a mask: an L with its foot in front on the left, smaller on every slice."""
    scan = a_scan((60, 66, SLICES), (0.7, 0.55, 4.0))
    x, y = np.mgrid[:60, :66]
    data = np.asarray(scan.dataobj) / 10 + 3 * y[..., None] + x[..., None]
    mask = np.zeros(scan.shape, np.uint8)
    for k in range(SLICES - 1):
        mask[26:29, 20 + k : 42, k] = 1
        mask[20:29, 38:42, k] = 1  # smaller x in the array is to the left
    assert scan.affine[0, 0] < 0 < scan.affine[1, 1]
    return nib.Nifti1Image(data.astype(np.float32), scan.affine), like(scan, mask)


def like(scan, data):
    return nib.Nifti1Image(data, scan.affine)


def save(folder, *pair, ending=".nii.gz"):
    files = [folder / f"{name}{ending}" for name in ("scan", "mask")]
    for file, image in zip(files, pair, strict=True):
        nib.save(image, file)
    return files


@pytest.fixture
def files(pair, tmp_path):
    return save(tmp_path, *pair)


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Function that returns the frames of a movie before they are encoded."""

    def draw_frames(*pair, **choices):
        frames, files = [], save(tmp_path, *pair)
        with monkeypatch.context() as patch:
            patch.setattr(
                movie, "_encode", lambda _, drawn, rate: frames.extend(map(np.copy, drawn))
            )
            movie.write_movie(*files, tmp_path / "drawn.mp4", overwrite=True, **choices)
        return np.array(frames)

    return draw_frames


def decode(file):
    if file.suffix == ".mp4":
        return iio.imread(file, plugin="pyav")
    return iio.imread(file, plugin="pillow", index=..., mode="RGB")


def is_orange(pixels):
    return pixels[..., 0].astype(int) - pixels[..., 2] > 60  # everything else is gray


def filled_outline(frame):
    return ndimage.binary_fill_holes(is_orange(frame[SLICE]))


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def mask_in_panel(mask, k):
    """Return where a mask lies in the panel of its slice, from the affine alone."""
    data = np.asarray(mask.dataobj)
    middle = nib.affines.apply_affine(mask.affine, np.argwhere(data)).mean(axis=0)
    down, right = np.mgrid[:500, :500] / 500 * 30 - 15
    height = np.full_like(down, nib.affines.apply_affine(mask.affine, [0, 0, k])[2])
    world = np.stack([middle[0] - right, middle[1] - down, height], axis=-1)
    voxels = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int)
    return data[tuple(np.moveaxis(np.clip(voxels, 0, np.array(data.shape) - 1), -1, 0))] > 0


# ------------------------------------------------------------------------------------- frames


def test_outline_and_scan_lie_where_the_affine_says(pair, draw):
    scan, mask = pair
    mask = like(scan, np.repeat(np.asarray(mask.dataobj)[..., :1], SLICES, axis=2))
    frame = draw(like(scan, 0.9 * np.asarray(mask.dataobj, np.float32)), mask)[2]
    shown, expected = filled_outline(frame), mask_in_panel(mask, 2)
    assert overlap(shown, expected) > 0.8
    for flipped in (expected[::-1], expected[:, ::-1], expected.T, expected[::-1, ::-1]):
        assert overlap(shown, flipped) < 0.6
    inner = np.s_[100:400, 100:400]  # without the letters
    bright = (frame[SLICE][..., 2] > 100) | is_orange(frame[SLICE])
    assert overlap(bright[inner], expected[inner]) > 0.75


def test_slices_come_from_foot_to_head_with_their_masks(pair, draw):
    frames = draw(*pair)
    areas = geometry.slice_areas_mm2(np.asarray(pair[1].dataobj), pair[1].affine)
    inside = np.array([filled_outline(frame).sum() for frame in frames]) * (30 / 500) ** 2
    np.testing.assert_allclose(inside, areas, rtol=0.3, atol=0.01)
    assert (np.diff(inside) < 0).all()
    columns = AREAS[1].start + (np.arange(SLICES) + 0.5) / SLICES * 344
    rows = AREAS[0].stop - areas / (1.12 * areas.max()) * 122
    for k, frame in enumerate(frames):
        dot = np.argwhere(
            ndimage.binary_opening(frame[330:490, 580:945].min(-1) > 200, iterations=3)
        )
        np.testing.assert_allclose(dot.mean(0), (rows[k] - 330, columns[k] - 580), atol=1.5)
        assert not is_orange(frame[AREAS])[:, round(columns[k]) - 580 :].any()
        line = np.flatnonzero(frame[:310, 547].min(-1) > 200).mean()  # beside the side view
        height = SLICES * 4.0 * 170 / 30
        assert line == pytest.approx(158 + height / 2 - (k + 0.5) / SLICES * height, abs=1.5)


def test_side_view_has_head_up_and_front_left(pair, draw):
    scan, mask = pair
    data = np.zeros(scan.shape, np.float32)
    data[:, 34:] = 0.9  # in front
    low = np.asarray(mask.dataobj).copy()
    low[..., 2:] = 0  # near the foot only
    side = draw(like(scan, data), like(scan, low))[-1][SIDE_VIEW]
    tint = side[..., 0].astype(int) - side[..., 2]
    assert np.argwhere(tint > 30)[:, 0].min() > 138
    front = np.flatnonzero(side[100:130, 20:-20, 2].mean(axis=0) > 120)
    assert 30 < front.size < 100
    assert front.max() == front.size - 1


@pytest.mark.parametrize("ornt", ALL_48[5::9])
def test_orientation_of_the_files_changes_only_the_slice_numbers(pair, draw, ornt):
    frames, again = draw(*pair), draw(*(reoriented(image, ornt) for image in pair))
    downwards = geometry.runs_downwards(reoriented(pair[0], ornt).affine)
    np.testing.assert_array_equal(frames[NUMBER][:: -1 if downwards else 1], again[NUMBER])
    again[NUMBER] = frames[NUMBER]
    np.testing.assert_allclose(frames.astype(int), again, atol=1)


def test_voxels_that_are_not_finite_count_as_0(pair, draw, tmp_path):
    data = np.asarray(pair[0].dataobj).copy()
    data[30:33, 33, 2] = np.nan
    data[30, 30, 4] = np.inf
    bad = like(pair[0], data)
    darker = (draw(bad, pair[1]).astype(int) - draw(*pair)).min(axis=(1, 2, 3)) < -50
    assert darker.tolist() == [False, False, True, False, True, False]
    made = movie.write_movie(*save(tmp_path, bad, pair[1]), tmp_path / "m.gif")
    assert made.notes == ("4 voxels of the scan are not finite; they count as 0",)


def test_one_slice_and_4d_scans(pair, draw, tmp_path):
    scan, mask = pair
    (frame,) = draw(*(image.slicer[..., :1] for image in pair))
    assert overlap(filled_outline(frame), mask_in_panel(mask.slicer[..., :1], 0)) > 0.8
    data = np.asarray(scan.dataobj)
    four = like(scan, np.stack([data[:, ::-1], data], axis=-1))
    labels = like(scan, 2 - np.asarray(mask.dataobj))
    np.testing.assert_array_equal(draw(four, labels, volume=1, label=1), draw(scan, mask))
    with pytest.raises(InputError, match="contains 2 volumes"):
        movie.write_movie(*save(tmp_path, four, mask), tmp_path / "m.mp4")


# -------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("ending", ENDINGS)
def test_file_holds_the_drawn_frames(pair, draw, files, tmp_path, ending):
    steps = []
    made = movie.write_movie(*files, tmp_path / f"m{ending}", progress=lambda *n: steps.append(n))
    assert (made.frames, made.rate, made.notes) == (SLICES, 4, ())
    assert steps == [(n, 3 * SLICES) for n in range(1, 3 * SLICES + 1)]
    frames, decoded = draw(*pair), decode(made.file)
    assert decoded.shape == frames.shape == (SLICES, 540, 960, 3)
    for frame, back in zip(frames, decoded, strict=True):
        assert np.abs(frame.astype(float) - back).mean() < 3
        inside = filled_outline(frame), filled_outline(back)
        assert overlap(*inside) > 0.9 if inside[0].any() else not inside[1].any()
    if ending == ".mp4":
        content = made.file.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")  # plays while it downloads
        facts = iio.immeta(made.file, plugin="pyav")
        assert (facts["codec"], facts["video_format"], facts["fps"]) == ("h264", "yuv420p", 4)
    else:
        with Image.open(made.file) as image:
            image.load()
            assert (image.info["loop"], image.info["duration"]) == (0, 250)


@pytest.mark.parametrize(
    ("slices", "ending", "frames", "rate"),
    [
        *[(n, ".mp4", n, rate) for n, rate in ((1, 4), (12, 4), (200, 10), (600, 30), (1300, 60))],
        *[(170, ".gif", 120, 6), (170, ".webp", 120, 6)],
    ],
)
def test_frames_and_rate_depend_on_the_number_of_slices(
    tmp_path, monkeypatch, slices, ending, frames, rate
):
    chosen = []
    monkeypatch.setattr(movie, "_draw", lambda *args: chosen.extend(sorted(args[3])))
    monkeypatch.setattr(movie, "_encode", lambda *args: None)
    scan = a_scan((8, 8, slices), (1, 1, 0.5))
    files = save(tmp_path, scan, like(scan, np.zeros(scan.shape, np.uint8)), ending=".nii")
    made = movie.write_movie(*files, tmp_path / f"m{ending}")
    assert (made.frames, made.rate) == (frames, rate)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, slices - 1, frames)
    assert set(np.diff(chosen)) <= ({1} if frames == slices else {1, 2})
    thinned = (f"shows {frames} of the {slices} slices; .mp4 shows all of them",)
    assert made.notes[1:] == (() if frames == slices else thinned)


def test_long_scan_takes_little_memory(tmp_path, monkeypatch):
    data = np.random.default_rng(0).integers(0, 99, (160, 160, 400), np.int16)
    scan = nib.Nifti1Image(data, np.diag([-0.5, 0.5, 0.1, 1]))
    files = save(tmp_path, scan, like(scan, (data > 90).astype(np.uint8)), ending=".nii")
    del scan, data
    monkeypatch.setattr(scan_reader, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(scan_reader, "_SLAB_BYTES", 2**20)
    monkeypatch.setitem(movie._MOST_FRAMES, ".gif", 10)
    monkeypatch.setattr(movie, "_encode", lambda file, frames, rate: list(map(np.max, frames)))
    tracemalloc.start()
    try:
        movie.write_movie(*files, tmp_path / "m.gif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20  # the scan alone is 40 MB as float32


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_interruption_leaves_the_older_file_or_none(files, tmp_path, ending, older):
    file = tmp_path / f"m{ending}"
    if older:
        file.write_bytes(b"older")
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        movie.write_movie(*files, file, overwrite=True, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not older or file.read_bytes() == b"older"


def test_unusable_files_are_refused(pair, files, tmp_path):
    scan, mask = pair
    (tmp_path / "older.mp4").write_bytes(b"older")
    outputs = {
        "m.avi": r"m\.avi: name the movie \.mp4, \.gif or \.webp",
        "older.mp4": r"older\.mp4: exists; ",
        "nowhere/m.mp4": r"the folder .*nowhere does not exist",
    }
    for name, message in outputs.items():
        with pytest.raises(InputError, match=message):
            movie.write_movie(*files, tmp_path / name)
    with pytest.raises(InputError, match=r"none\.nii: no such file"):
        movie.write_movie(files[0], tmp_path / "none.nii", tmp_path / "m.mp4")
    data, moved = np.asarray(mask.dataobj), mask.affine.copy()
    moved[2, 3] += 0.5
    labels = like(scan, data + (data & (np.arange(66)[:, None] < 30)))
    soft = like(scan, np.float32(0.6) * data)
    for image, message in (
        (nib.Nifti1Image(data, moved), r"mask.nii.gz: the mask is displaced by up to 0\.5 mm"),
        (labels, r"mask.nii.gz: contains 2 besides 0 and 1; say which value is GM with `label=1`"),
        (soft, r"mask.nii.gz: contains values such as 0.6, as a soft segmentation does"),
    ):
        with pytest.raises(InputError, match=message):
            movie.write_movie(*save(tmp_path, scan, image), tmp_path / "m.mp4")
    assert not (tmp_path / "m.mp4").exists()


def test_command_names_the_file_and_warns(pair, tmp_path):
    files = save(tmp_path, pair[0], like(pair[0], np.zeros(pair[0].shape, np.uint8)))
    command = [sys.executable, "-m", "gmseg", "movie", *files, "-o", tmp_path / "m.gif"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'm.gif'}  6 frames, 4 per second, 1.5 s\n"
    assert "the mask is empty; the middle of the scan is shown" in done.stderr
    assert not is_orange(decode(tmp_path / "m.gif")[3][SLICE]).any()
