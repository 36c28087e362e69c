"""Movies: every slice once, all in its place, in little memory, whole or not at all."""

import dataclasses
import tracemalloc
import weakref

import av
import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, a_scan, reoriented
from PIL import Image, ImageDraw
from scipy import ndimage

from gmseg import InputError
from gmseg.cli import movie as command
from gmseg.core import geometry
from gmseg.inference import stack
from gmseg.io import scan_reader
from gmseg.report import movie, movie_file, movie_frame

LENGTH = 6  # slices


@pytest.fixture(scope="module")
def case():
    """A scan, brighter in front; an L: a bar from back to front, its foot on the patient's left.

    The L is shorter on every slice and missing on the topmost.
    """
    scan = a_scan((60, 66, LENGTH), (0.7, 0.55, 4.0))
    x, y = np.mgrid[:60, :66]
    data = np.asarray(scan.dataobj) / 10 + 3 * y[..., None] + x[..., None]
    mask = np.zeros(scan.shape, np.uint8)
    for k in range(LENGTH - 1):
        mask[26:29, 20 + k : 42, k] = 1
        mask[20:29, 38:42, k] = 1  # to smaller x in the array, which is to the left
    assert scan.affine[0, 0] < 0 < scan.affine[1, 1]
    return nib.Nifti1Image(data.astype(np.float32), scan.affine), like(scan, mask)


def like(scan, mask):
    return nib.Nifti1Image(mask, scan.affine)


def written(folder, **images):
    files = [folder / f"{name}.nii.gz" for name in images]
    for file, image in zip(files, images.values(), strict=True):
        nib.save(image, file)
    return files


@pytest.fixture
def files(case, tmp_path):
    return written(tmp_path, scan=case[0], mask=case[1])


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """What gives the frames of a movie before they are encoded."""

    def draw(scan, mask, **choices):
        frames = []

        def keep(file, given, rate):
            frames.extend(np.asarray(frame) for frame in given)

        folder = tmp_path / "drawn"
        folder.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(movie_file, "write_frames", keep)
            named = written(folder, scan=scan, mask=mask)
            movie.write_movie(*named, folder / "m.mp4", overwrite=True, **choices)
        return frames

    return draw


def decoded(file):
    if file.suffix == ".webp":
        image = Image.open(file)
        frames = []
        for k in range(image.n_frames):
            image.seek(k)
            frames.append(np.asarray(image.convert("RGB")))
        return frames
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def panel(frame, where):
    left, top, wide, high = where
    return frame[top : top + high, left : left + wide].astype(float)


def is_orange(pixels):
    return pixels[..., 0] - pixels[..., 2] > 80  # nothing else has any colour


def is_white(pixels):
    return pixels.min(axis=-1) > 200


# ------------------------------------------------------------------------------------- frames


def filled_outline(frame):
    return ndimage.binary_fill_holes(is_orange(panel(frame, movie_frame.SLICE)))


def expected(mask, k):
    """Return where a mask is in the panel of its slice, by way of the affine alone."""
    data = np.asarray(mask.dataobj)
    places = nib.affines.apply_affine(mask.affine, np.argwhere(data))
    middle = places.reshape(-1, 3).mean(axis=0)
    size = movie_frame.SLICE[2]
    down, right = np.mgrid[:size, :size] / size * 30 - 15
    height = nib.affines.apply_affine(mask.affine, [0, 0, k])[2]
    world = np.stack([middle[0] - right, middle[1] - down, np.full_like(down, height)], axis=-1)
    at = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int)
    at = np.clip(at, 0, np.array(data.shape) - 1)
    return data[tuple(np.moveaxis(at, -1, 0))] > 0


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_the_outline_is_where_the_mask_is(case, drawn):
    constant = np.repeat(np.asarray(case[1].dataobj)[..., :1], LENGTH, axis=2)
    mask = like(case[0], constant)
    shown, there = filled_outline(drawn(case[0], mask)[2]), expected(mask, 2)
    assert overlap(shown, there) > 0.8
    for flipped in (there[::-1], there[:, ::-1], there.T, there[::-1, ::-1]):
        assert overlap(shown, flipped) < 0.6


def test_every_slice_has_its_own_mask_from_foot_to_head(case, drawn):
    inside = [filled_outline(frame).sum() for frame in drawn(*case)]
    areas = geometry.slice_areas_mm2(np.asarray(case[1].dataobj), case[1].affine)
    pixel_mm2 = (30 / movie_frame.SLICE[2]) ** 2
    np.testing.assert_allclose(np.array(inside) * pixel_mm2, areas, rtol=0.3, atol=0.01)
    assert (np.diff(inside) < 0).all()
    assert inside[-1] == 0


def test_the_scan_lies_under_the_outline(case, drawn):
    constant = np.repeat(np.asarray(case[1].dataobj)[..., :1], LENGTH, axis=2)
    mask = like(case[0], constant)
    frame = drawn(like(case[0], constant.astype(np.float32)), mask)[2]
    bright = panel(frame, movie_frame.SLICE)[100:400, 100:400, 2] > 100  # no letters there
    bright |= is_orange(panel(frame, movie_frame.SLICE)[100:400, 100:400])
    assert overlap(bright, expected(mask, 2)[100:400, 100:400]) > 0.75


def arrow_row(frame):
    """Return the row in which the arrow head on the left of the side view points to it."""
    left, top, _, high = movie_frame.SIDE
    rows, _ = np.nonzero(is_white(panel(frame, (left - 14, top - 8, 10, high + 16))))
    return top - 8 + (rows.min() + rows.max()) / 2


def test_the_position_moves_from_foot_to_head(case, drawn):
    rows = np.array([arrow_row(frame) for frame in drawn(*case)])
    high = LENGTH * 4.0 * movie_frame.SIDE[2] / 30  # pixels: 30 mm are its width
    middle = movie_frame.SIDE[1] + movie_frame.SIDE[3] / 2
    upwards = middle + high / 2 - (np.arange(LENGTH) + 0.5) / LENGTH * high
    np.testing.assert_allclose(rows, upwards, atol=2)


def test_the_side_view_has_head_up_and_front_left(case, drawn):
    scan, mask = case
    data = np.zeros(scan.shape, np.float32)
    data[:, 34:, :] = 1  # in front
    low = np.asarray(mask.dataobj).copy()
    low[..., 2:] = 0  # near the foot alone
    frame = drawn(like(scan, data), like(scan, low))[-1]
    left, top, wide, _ = movie_frame.SIDE
    side = panel(frame, (left, top + 70, wide, 136))
    orange = np.argwhere(side[..., 0] - side[..., 2] > 60)
    assert orange[:, 0].min() > 136 / 2
    upper = side[20:60, 20:-20, 2].mean(axis=0)  # where nothing is orange
    front = np.flatnonzero(upper > 120)
    assert 30 < front.size < upper.size - 30
    assert front.max() == front.size - 1


def dot(frame):
    """Return the place of the curve's white dot, (x, y)."""
    left, top, wide, high = movie_frame.CURVE
    rows, columns = np.nonzero(is_white(panel(frame, (left - 8, top - 8, wide + 16, high + 16))))
    return columns.mean() + left - 8, rows.mean() + top - 8


def test_the_curve_grows_to_its_last_point(case, drawn):
    scan, mask = case
    areas = geometry.slice_areas_mm2(np.asarray(mask.dataobj), mask.affine)
    left, top, wide, high = movie_frame.CURVE
    lengths = []
    for k, frame in enumerate(drawn(scan, mask)):
        at = left + (k + 0.5) / LENGTH * wide, top + high * (1 - areas[k] / (1.12 * areas.max()))
        np.testing.assert_allclose(dot(frame), at, atol=1)
        orange = is_orange(panel(frame, movie_frame.CURVE))
        lengths.append(orange.sum())
        assert not orange[:, round(at[0] - left) + 8 :].any()
    assert lengths[0] < 20
    assert (np.diff(lengths) > 50).all()


def test_words_follow_the_scans_own_numbers(case, drawn, monkeypatch):
    words = []
    write = ImageDraw.ImageDraw.text

    def hear(draw, at, text, *how):
        words.append(text)
        write(draw, at, text, *how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", hear)
    upside_down = np.array([[0, 1], [1, 1], [2, -1]])
    areas = geometry.slice_areas_mm2(np.asarray(case[1].dataobj), case[1].affine)
    for ornt, numbers in ((None, range(LENGTH)), (upside_down, reversed(range(LENGTH)))):
        words.clear()
        drawn(*(image if ornt is None else reoriented(image, ornt) for image in case))
        assert {"area (mm²)", "along the cord (mm)", "A", "P", "R", "L", "5 mm"} <= set(words)
        assert [word for word in words if word[:6] == "slice "] == [f"slice {n}" for n in numbers]
        written_mm2 = [float(word[:-4]) for word in words if word[-4:] == " mm²"]
        np.testing.assert_allclose(written_mm2, areas, atol=0.051)
        assert f"{4.0 * 2.5:.1f} mm" in words


@pytest.mark.parametrize("ornt", ALL_48[5::9])
def test_the_order_of_storage_does_not_show(case, drawn, ornt):
    frames = drawn(*case)
    again = drawn(*(reoriented(image, ornt) for image in case))
    for frame, other in zip(frames, again, strict=True):
        left = movie_frame._WORDS[0]
        np.testing.assert_array_equal(frame[:, :left], other[:, :left])
        np.testing.assert_array_equal(frame[70:], other[70:])  # below the slice's number


def test_an_empty_mask_makes_a_movie_that_says_so(case, tmp_path):
    empty = like(case[0], np.zeros(case[0].shape, np.uint8))
    named = written(tmp_path, scan=case[0], mask=empty)
    made = movie.write_movie(*named, tmp_path / "m.mp4")
    assert made.frames == LENGTH
    assert "the mask is empty" in made.notes[0]
    assert not is_orange(panel(decoded(made.file)[3], movie_frame.SLICE)).any()


def test_holes_in_a_scan_are_told_and_break_nothing(case, drawn, tmp_path):
    data = np.asarray(case[0].dataobj).copy()
    data[30:33, 33, 2] = np.nan
    data[30, 30, 4] = np.inf
    holed = like(case[0], data)
    frames, whole = drawn(holed, case[1]), drawn(*case)
    changed = [
        (frame.astype(float) - other).min() for frame, other in zip(frames, whole, strict=True)
    ]
    assert [change < -50 for change in changed] == [False, False, True, False, True, False]
    made = movie.write_movie(*written(tmp_path, scan=holed, mask=case[1]), tmp_path / "m.gif")
    assert made.notes == ("4 voxels of the scan are not finite; they count as 0",)


def test_one_slice_is_a_movie(case, drawn):
    (frame,) = drawn(*(image.slicer[..., :1] for image in case))
    assert overlap(filled_outline(frame), expected(case[1].slicer[..., :1], 0)) > 0.8


def test_volumes_of_a_4d_scan(case, drawn, tmp_path):
    data = np.asarray(case[0].dataobj)
    four = like(case[0], np.stack([data[:, ::-1], data, data + 2], axis=-1))
    frames = drawn(four, case[1], volume=1)
    np.testing.assert_array_equal(frames, drawn(*case))
    np.testing.assert_array_equal(
        drawn(four, case[1], mean=True),
        drawn(
            like(case[0], np.asarray(four.dataobj).mean(axis=-1, dtype=float).astype(np.float32)),
            case[1],
        ),
    )
    named = written(tmp_path, four=four, mask=case[1])
    with pytest.raises(InputError, match=r"four.nii.gz: holds 3 volumes .* --volume K .* --mean"):
        movie.write_movie(*named, tmp_path / "m.mp4")


# -------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("ending", movie_file.KINDS)
def test_what_is_drawn_is_in_the_file_and_the_same_every_time(case, drawn, files, tmp_path, ending):
    steps = []
    made = movie.write_movie(
        *files, tmp_path / f"m{ending}", progress=lambda *step: steps.append(step)
    )
    assert (made.slices, made.frames, made.rate, made.notes) == (LENGTH, LENGTH, 4, ())
    assert steps == sorted(steps)
    assert steps[-1] == (3 * LENGTH, 3 * LENGTH)
    frames, found = drawn(*case), decoded(made.file)
    for frame, back in zip(frames, found, strict=True):
        assert np.abs(frame.astype(float) - back).mean() < 3
        inside = filled_outline(frame), filled_outline(back)
        assert overlap(*inside) > 0.9 if inside[0].any() else not inside[1].any()
    again = movie.write_movie(*files, tmp_path / f"again{ending}")
    assert made.file.read_bytes() == again.file.read_bytes()


def test_browsers_can_play_an_mp4_at_once_and_pages_show_the_others_again_and_again(
    files, tmp_path
):
    content = movie.write_movie(*files, tmp_path / "m.mp4").file.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(tmp_path / "m.mp4") as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (4, LENGTH)
    for name in ("m.gif", "m.webp"):
        image = Image.open(movie.write_movie(*files, tmp_path / name).file)
        image.load()
        assert image.info["loop"] == 0
        assert image.info["duration"] == 250


def test_a_gif_of_many_slices_is_thinned_and_says_so(tmp_path, monkeypatch):
    scan = a_scan((20, 20, 170), (1, 1, 1.0))
    mask = np.zeros(scan.shape, np.uint8)
    mask[9:12, 9:12] = 1
    shown = []
    gray = movie_frame._write_words
    monkeypatch.setattr(
        movie_frame, "_write_words", lambda d, run, k: (shown.append(k), gray(d, run, k))
    )
    made = movie.write_movie(
        *written(tmp_path, scan=scan, mask=like(scan, mask)), tmp_path / "m.gif"
    )
    assert made.notes == ("shows 120 of the 170 slices; .mp4 shows all of them",)
    assert (made.frames, made.rate, len(decoded(made.file))) == (120, 6, 120)
    assert (shown[0], shown[-1], len(set(shown))) == (0, 169, 120)
    assert set(np.diff(shown)) == {1, 2}


def test_the_rate_grows_with_the_slices(case, tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(movie_file, "write_frames", lambda file, frames, rate: rates.append(rate))
    for slices in (1, 12, 200, 600, 1300):
        scan = a_scan((16, 16, slices), (1, 1, 0.5))
        named = written(tmp_path, scan=scan, mask=like(scan, np.zeros(scan.shape, np.uint8)))
        movie.write_movie(*named, tmp_path / "m.mp4", overwrite=True)
    assert rates == [4, 4, 10, 30, 60]


def test_a_long_scan_takes_little_memory(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    scan = nib.Nifti1Image(
        rng.integers(0, 99, (64, 64, 1200), np.int16), np.diag([-0.5, 0.5, 0.1, 1])
    )
    mask = np.zeros(scan.shape, np.uint8)
    mask[28:36, 30:40] = 1
    for name, image in (("scan", scan), ("mask", like(scan, mask))):
        nib.save(image, tmp_path / f"{name}.nii")
    del scan, mask, image
    for module in (stack, scan_reader):
        monkeypatch.setattr(module, "HELD_BYTES", 1000)
    for module, name in ((scan_reader, "_SLAB_BYTES"), (scan_reader, "_PART_BYTES")):
        monkeypatch.setattr(module, name, 2**20)
    fewer = dataclasses.replace(movie_file.KINDS[".gif"], most=20)
    monkeypatch.setitem(movie_file.KINDS, ".gif", fewer)
    monkeypatch.setattr(
        movie_file, "write_frames", lambda file, frames, rate: [None for _ in frames]
    )
    tracemalloc.start()
    try:
        movie.write_movie(tmp_path / "scan.nii", tmp_path / "mask.nii", tmp_path / "m.gif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20  # the scan alone is 20 MB as float32


@pytest.mark.parametrize("way", [1, -1])
def test_a_file_is_read_forwards(case, monkeypatch, way):
    monkeypatch.setattr(scan_reader, "_PART_BYTES", 0)
    opened = scan_reader.open_scan(reoriented(case[0], np.array([[0, 1], [1, 1], [2, way]])))
    starts = [opened.native_part(*part)[0] for part in movie._as_stored(opened)]
    assert starts == [*range(LENGTH)]


@pytest.mark.parametrize("ending", movie_file.KINDS)
def test_frames_are_encoded_as_they_come(tmp_path, ending):
    alive, most = set(), []

    def frames():
        for k in range(30):
            frame = Image.new("RGB", (64, 48), (k % 2 * 255,) * 3)
            alive.add(k)
            weakref.finalize(frame, alive.discard, k)
            most.append(len(alive))
            yield frame

    movie_file.write_frames(tmp_path / f"m{ending}", frames(), 10)
    assert len(most) == len(decoded(tmp_path / f"m{ending}")) == 30
    assert max(most) <= 3


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("ending", movie_file.KINDS)
def test_an_interruption_leaves_what_was_there(files, tmp_path, ending, there):
    file = tmp_path / f"m{ending}"
    if there:
        file.write_bytes(b"older")
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        movie.write_movie(*files, file, overwrite=True, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not there or file.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.avi", r"m\.avi: name the movie \.mp4, \.gif or \.webp"),
        ("there.mp4", r"there\.mp4: exists; use --overwrite"),
        ("nowhere/m.mp4", r"the folder .*nowhere does not exist; create it"),
    ],
)
def test_where_a_movie_cannot_go(files, tmp_path, name, message):
    (tmp_path / "there.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        movie.write_movie(*files, tmp_path / name)


def test_masks_that_do_not_fit(case, tmp_path):
    scan, mask = case
    data = np.asarray(mask.dataobj)
    shifted = nib.Nifti1Image(
        data, mask.affine + np.eye(4)[:, [3, 3, 3, 2]] * 0.5 * (np.arange(4) == 3)
    )
    masks = {
        "short": (mask.slicer[..., :3], r"short.nii.gz: the mask has shape .* on the scan's grid"),
        "shifted": (shifted, r"shifted.nii.gz: the mask's affine differs .* by 0\.5 mm; resample"),
        "labels": (
            like(scan, data + (data & (np.arange(66)[:, None] < 30))),
            r"labels.nii.gz: the mask holds 1, 2, as labels .* give one with GM alone",
        ),
    }
    (named,) = written(tmp_path, scan=scan)
    for name, (image, message) in masks.items():
        (file,) = written(tmp_path, **{name: image})
        with pytest.raises(InputError, match=message):
            movie.write_movie(named, file, tmp_path / "m.mp4")
    with pytest.raises(InputError, match=r"none.nii.gz: no such file"):
        movie.write_movie(named, tmp_path / "none.nii.gz", tmp_path / "m.mp4")
    assert not (tmp_path / "m.mp4").exists()


def test_a_soft_segmentation_is_outlined_where_it_is_over_a_half(case, drawn):
    soft = np.asarray(case[1].dataobj) * 0.6 + 0.3
    np.testing.assert_array_equal(
        drawn(case[0], like(case[0], soft.astype(np.float32))), drawn(*case)
    )


# ------------------------------------------------------------------------------------ command


def test_the_command_tells_what_it_wrote(files, tmp_path, capsys):
    file = tmp_path / "m.mp4"
    assert command.movie(*files, file) == 0
    assert capsys.readouterr() == (f"{file}  6 frames, 4 a second, 1.5 s\n", "")
    with pytest.raises(InputError, match="exists; use --overwrite"):
        command.movie(*files, file)
    assert command.movie(*files, file, overwrite=True) == 0
    with pytest.raises(InputError, match="--volume and --mean exclude each other"):
        command.movie(*files, file, volume=0, mean=True)


def test_the_command_warns(case, tmp_path, capsys):
    empty = like(case[0], np.zeros(case[0].shape, np.uint8))
    named = written(tmp_path, scan=case[0], mask=empty)
    assert command.movie(*named, tmp_path / "m.gif") == 0
    assert capsys.readouterr().err == (
        f"gmseg: warning: {named[0]}: the mask is empty; the middle of the scan is shown\n"
    )
