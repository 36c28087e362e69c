"""Images and volumes of the QC page: geometry, layers, unusual scans, size."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented
from PIL import Image
from report_pages import add, bar_and_mask, cord_around, facts_of, index_of, volumes_of

from gmseg import InputError
from gmseg.core import geometry
from gmseg.report import panels, qc_page, qc_slices, qc_volumes


def tile(place, position, file="mosaic.png"):
    step, size = qc_slices._STEP_PX, qc_slices.TILE_PX
    row, column = (step * n for n in divmod(position, 8))
    return np.asarray(Image.open(place / file))[row : row + size, column : column + size]


def points(path):
    return [
        np.array([[float(v) for v in point.split()] for point in line.rstrip("Z").split("L")])
        for line in path.split("M")[1:]
    ]


# -------------------------------------------------------------------------- geometry


def test_outline_lies_on_the_scan_front_at_the_top_left_on_the_right(tmp_path):
    scan, mask = bar_and_mask()
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    facts = facts_of(place)
    for i, shown in enumerate(facts["tiles"]):
        image = tile(place, i).astype(float)
        [line] = points(shown["path"])
        bar = np.argwhere(image > 128)[:, ::-1] + 0.5  # across and down
        np.testing.assert_allclose(
            (bar.min(0) + bar.max(0)) / 2, (line.min(0) + line.max(0)) / 2, atol=2
        )
        x, y = line.T * facts["field_mm"] / 240
        area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
        assert area == pytest.approx(facts["area_mm2"][i], rel=0.02)
        # the bar is shorter on every slice
        assert np.ptp(line[:, 1]) == pytest.approx(0.6 * (12 - i) * 10, abs=8)
    whole = np.asarray(Image.open(place / "context.png"))
    across, down = np.argwhere(whole > 200).mean(axis=0)[::-1] / (whole.shape[1], whole.shape[0])
    assert across > 0.6  # the patient's left
    assert down < 0.45  # the front
    x, y, side = facts["context"]["box"]
    assert x < across * whole.shape[1] < x + side
    assert y < down * whole.shape[0] < y + side


@pytest.mark.parametrize("ornt", ALL_48[::5])
def test_every_orientation_gives_the_same_images(tmp_path, ornt):
    scan, mask = bar_and_mask()
    first = add(tmp_path / "qc", (scan, mask), tmp_path, name="first.nii.gz")
    turned = (reoriented(scan, ornt), reoriented(mask, ornt))
    other = add(tmp_path / "qc", turned, tmp_path, name="other.nii.gz")
    for name in ("mosaic.png", "thumb.png", "context.png"):
        a, b = (np.asarray(Image.open(place / name), float) for place in (first, other))
        np.testing.assert_allclose(a, b, atol=3, err_msg=name)
    facts, again = facts_of(first), facts_of(other)
    for key in ("area_mm2", "step_mm", "context", "volumes"):
        if key == "context":
            assert facts[key]["box"] == again[key]["box"]
        else:
            assert facts[key] == again[key], key
    assert [t["path"] for t in facts["tiles"]] == [t["path"] for t in again["tiles"]]
    downwards = geometry.runs_downwards(turned[0].affine)
    assert again["numbers"] == facts["numbers"][:: -1 if downwards else 1]
    for kind, volume in volumes_of(first).items():
        same = volumes_of(other)[kind]
        np.testing.assert_allclose(volume.affine, same.affine, atol=1e-3)
        np.testing.assert_allclose(volume.dataobj, same.dataobj, atol=2)


def test_volumes_lie_where_the_scan_lies(tmp_path):
    scan, mask = bar_and_mask((200, 190, 6), (0.6, 0.6, 3.0))
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    for kind, volume in volumes_of(place).items():
        assert volume.get_data_dtype() == np.uint8
        assert max(volume.shape[:2]) * 0.6 < 82  # cut out
        voxels = np.argwhere(np.asarray(volume.dataobj) > (0 if kind == "mask" else 128))
        expected = np.argwhere(np.asarray(mask.dataobj))
        assert len(voxels) == len(expected)
        np.testing.assert_allclose(
            nib.affines.apply_affine(volume.affine, voxels.mean(0)),
            nib.affines.apply_affine(mask.affine, expected.mean(0)),
            atol=1e-3,
        )
    middle = nib.affines.apply_affine(
        np.linalg.inv(mask.affine), facts_of(place)["volumes"]["middle_mm"]
    )
    assert np.asarray(mask.dataobj)[tuple(np.rint(middle).astype(int))]


@pytest.mark.parametrize("most", [200_000, 20_000, 2_000])
def test_large_volumes_are_thinned_in_place(tmp_path, monkeypatch, most):
    monkeypatch.setattr(qc_volumes, "_MOST_VOXELS", most)
    monkeypatch.setattr(qc_volumes, "_COARSE_MM", 0.9)
    scan, mask = bar_and_mask((200, 190, 9), (0.6, 0.6, 3.0))
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    volume = volumes_of(place)["mask"]
    assert np.prod(volume.shape) <= 1.1 * most or volume.shape[2] == 1
    to_scan = np.linalg.inv(scan.affine) @ volume.affine
    for j, plane in enumerate(np.moveaxis(np.asarray(volume.dataobj), 2, 0)):
        centre = nib.affines.apply_affine(to_scan, [*np.argwhere(plane).mean(axis=0), j])
        k = round(centre[2])
        assert centre[2] == pytest.approx(k, abs=1e-3)
        expected = np.argwhere(np.asarray(mask.dataobj)[..., k]).mean(axis=0)
        np.testing.assert_allclose(centre[:2], expected, atol=0.5)


def test_layers_lie_on_the_slices(tmp_path):
    scan, mask = bar_and_mask()
    for name, factor in (("soft", 0.8), ("spread", 0.15)):
        data = np.asarray(mask.dataobj) * np.float32(factor)
        nib.save(nib.Nifti1Image(data, mask.affine), tmp_path / f"{name}.nii.gz")
    layers = {name: tmp_path / f"{name}.nii.gz" for name in ("soft", "spread")}
    place = add(tmp_path / "qc", (scan, mask), tmp_path, **layers)
    assert facts_of(place)["layers"] == ["soft", "spread"]
    bright = tile(place, 0) > 128
    for name, level in (("soft", 204), ("spread", 128)):
        values = tile(place, 0, f"{name}.png")
        assert values.max() == pytest.approx(level, abs=1)
        assert np.mean((values > level / 2) == bright) > 0.99
        shown = np.asarray(Image.open(place / f"{name}.png").convert("RGBA"))[:240, :240, 3]
        assert (shown[~bright] < 255).any()
        assert (shown[0] == 0).all()
        assert (shown[values == values.max()] == 255).all()


def test_cord_outline_is_thinner_than_the_mask_and_in_another_colour(tmp_path):
    scan, mask = bar_and_mask()
    nib.save(cord_around(mask), tmp_path / "seg.nii.gz")
    plain = add(tmp_path / "qc", (scan, mask), tmp_path, name="plain.nii.gz")
    place = add(tmp_path / "qc", (scan, mask), tmp_path, cord=tmp_path / "seg.nii.gz")
    facts = facts_of(place)
    for k, shown in enumerate(facts["tiles"]):
        [line] = points(shown["cord_path"])
        x, y = line.T * facts["field_mm"] / 240
        area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
        assert area == pytest.approx(facts["cord_area_mm2"][k], rel=0.02)
        [inner] = points(shown["path"])
        assert (line.min(0) < inner.min(0)).all()
        assert (line.max(0) > inner.max(0)).all()
    thumb, without = (np.asarray(Image.open(p / "thumb.png"), int) for p in (place, plain))
    widths = {
        colour: near(thumb, colour).sum() / length
        for colour, length in ((panels.CORD, 2 * (14 + 18)), (panels.PREDICTION, 2 * (6 + 10)))
    }
    assert 0 < widths[panels.CORD] < 0.8 * widths[panels.PREDICTION]
    assert not near(without, panels.CORD).any()
    assert not any("cord_path" in shown for shown in facts_of(plain)["tiles"])


def near(image, colour):
    """Return the pixels whose colour is nearly a given one."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(image - wanted).max(axis=2) < 90


# ----------------------------------------------------------------------- unusual scans


def test_voxels_not_finite_and_4d_scans(tmp_path):
    scan, mask = bar_and_mask()
    data = np.stack([np.asarray(scan.dataobj), 2 * np.asarray(scan.dataobj)], axis=-1)
    data[5, 5, :, 1] = np.nan
    data[7, 7, 2, 1] = np.inf
    four = nib.Nifti1Image(data, scan.affine)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        place = add(tmp_path / "qc", (four, mask), tmp_path, volume=1)
    header = dict(facts_of(place)["header"])
    assert header["Shape"] == "60 x 56 x 6 x 2"
    assert header["Volume used"] == "1 of 2, counted from 0"
    alone = add(tmp_path / "qc", (scan, mask), tmp_path, name="alone.nii.gz")
    np.testing.assert_allclose(tile(place, 0).astype(int), tile(alone, 0).astype(int), atol=1)
    with pytest.raises(InputError, match="choose one with "):
        qc_page.add_scan(tmp_path / "qc", tmp_path / "scan.nii.gz", tmp_path / "mask_scan.nii.gz")


def test_empty_mask_is_shown_with_its_flag(tmp_path):
    scan, mask = bar_and_mask()
    empty = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine)
    facts = facts_of(add(tmp_path / "qc", (scan, empty), tmp_path))
    [flag] = [flag for flag in facts["flags"] if flag["name"] == "no-gm"]
    assert flag["slices"] == list(range(6))
    assert all(shown["path"] == "" for shown in facts["tiles"])
    assert facts["field_mm"] == pytest.approx(42, abs=0.01)  # the whole field of view
    qc_page.write_index(tmp_path / "qc")
    [entry] = index_of(tmp_path / "qc")["scans"]
    assert (entry["gm_slices"], entry["mean_area_mm2"]) == (0, None)


def test_one_slice(tmp_path):
    facts = facts_of(add(tmp_path / "qc", bar_and_mask((60, 56, 1)), tmp_path))
    assert len(facts["tiles"]) == facts["slices"] == 1


def test_mask_beyond_the_tile_is_reported(tmp_path):
    scan, mask = bar_and_mask((200, 190, 3))
    data = np.asarray(mask.dataobj).copy()
    data[150:160, 100:110, 1] = 1
    far = nib.Nifti1Image(data, mask.affine)
    facts = facts_of(add(tmp_path / "qc", (scan, far), tmp_path))
    assert [shown["beyond"] for shown in facts["tiles"]] == [False, True, False]


def test_page_of_5000_slices_stays_small(tmp_path):
    shape = (40, 40, 5000)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 200, shape, np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[18:24, 18:24] = 1
    mask[..., 1234] = 0
    affine = np.diag([-0.5, 0.5, -0.2, 1])
    pair = (nib.Nifti1Image(data, affine), nib.Nifti1Image(mask, affine))
    place = add(tmp_path / "qc", pair, tmp_path, name="long.nii")
    facts = facts_of(place)
    shown = [facts["numbers"][t["k"]] for t in facts["tiles"]]
    assert len(shown) == 48
    # stored from superior to inferior, shown from inferior to superior
    assert shown == sorted(shown, reverse=True)
    assert 1234 in shown
    assert facts["area_mm2"][4999 - 1234] == 0
    [flag] = [flag for flag in facts["flags"] if flag["name"] == "no-gm"]
    assert flag["slices"] == [1234]
    assert sum(path.stat().st_size for path in place.iterdir()) < 12e6
    stride = facts["volumes"]["stride"]
    assert volumes_of(place)["scan"].shape[2] == -(-5000 // stride) <= 1024


def test_slices_are_chosen_by_flag_and_evenly():
    choose = qc_slices.choose_slices
    assert choose(48, [3]) == list(range(48))
    assert choose(100, [], most=5) == [0, 25, 50, 74, 99]
    assert set(range(50, 60)) <= set(choose(500, range(50, 60)))
    everywhere = choose(500, range(500))
    assert len(everywhere) == 48
    assert {0, 499} <= set(everywhere)
    rare = choose(500, [k for k in range(500) if k not in (77, 78)])
    assert {77, 78} <= set(rare)
