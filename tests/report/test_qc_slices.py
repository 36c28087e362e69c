"""Where things lie in the QC page's pictures and volumes, and how large these become."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented
from PIL import Image
from report_pages import add, an_object, detail, listed, volumes

from gmseg import InputError
from gmseg.report import qc_facts, qc_page, qc_slices, qc_volumes


def tile(place, at, file="mosaic.png"):
    step, size = qc_slices._STEP_PX, qc_slices.TILE_PX
    row, column = (step * n for n in divmod(at, 8))
    return np.asarray(Image.open(place / file))[row : row + size, column : column + size]


def points(path):
    return [
        np.array([[float(v) for v in point.split()] for point in line.rstrip("Z").split("L")])
        for line in path.split("M")[1:]
    ]


# -------------------------------------------------------------------------- geometry


def test_front_is_at_the_top_and_left_on_the_right(tmp_path):
    """The bar is nearest to the patient's left; its outline lies on it in the picture."""
    scan, mask = an_object()
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    facts = detail(place)
    for at, shown in enumerate(facts["tiles"]):
        picture = tile(place, at).astype(float)
        [line] = points(shown["path"])
        seen = np.argwhere(picture > 128)[:, ::-1] + 0.5  # across and down
        np.testing.assert_allclose(
            (seen.min(0) + seen.max(0)) / 2, (line.min(0) + line.max(0)) / 2, atol=2
        )
        x, y = line.T * facts["field_mm"] / 240
        area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
        assert area == pytest.approx(facts["area_mm2"][at], rel=0.02)
        # the back of the bar rises from slice to slice: it is at the bottom of the picture
        assert np.ptp(line[:, 1]) == pytest.approx(0.6 * (12 - at) * 10, abs=8)
    whole = np.asarray(Image.open(place / "context.png"))
    across, down = np.argwhere(whole > 200).mean(axis=0)[::-1] / (whole.shape[1], whole.shape[0])
    assert across > 0.6  # the patient's left
    assert down < 0.45  # the front
    x, y, side = facts["context"]["box"]
    assert x < across * whole.shape[1] < x + side
    assert y < down * whole.shape[0] < y + side


@pytest.mark.parametrize("ornt", ALL_48[::5])
def test_every_orientation_gives_the_same_pictures(tmp_path, ornt):
    scan, mask = an_object()
    first = add(tmp_path / "qc", (scan, mask), tmp_path, name="first.nii.gz")
    turned = (reoriented(scan, ornt), reoriented(mask, ornt))
    other = add(tmp_path / "qc", turned, tmp_path, name="other.nii.gz")
    for picture in ("mosaic.png", "thumb.png", "context.png"):
        a, b = (np.asarray(Image.open(place / picture), float) for place in (first, other))
        np.testing.assert_allclose(a, b, atol=3, err_msg=picture)
    one, two = detail(first), detail(other)
    for key in ("area_mm2", "step_mm", "context", "volumes"):
        if key == "context":
            assert one[key]["box"] == two[key]["box"]
        else:
            assert one[key] == two[key], key
    assert [t["path"] for t in one["tiles"]] == [t["path"] for t in two["tiles"]]
    downwards = qc_facts.measure.runs_downwards(turned[0].affine)
    assert two["numbers"] == one["numbers"][:: -1 if downwards else 1]
    for kind, volume in volumes(first).items():
        again = volumes(other)[kind]
        np.testing.assert_allclose(volume.affine, again.affine, atol=1e-3)
        np.testing.assert_allclose(volume.dataobj, again.dataobj, atol=2)


def test_the_viewers_volumes_lie_where_the_scan_lies(tmp_path):
    scan, mask = an_object((200, 190, 6), (0.6, 0.6, 3.0))
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    for kind, volume in volumes(place).items():
        assert volume.get_data_dtype() == np.uint8
        assert max(volume.shape[:2]) * 0.6 < 82  # cut out
        here = np.argwhere(np.asarray(volume.dataobj) > (0 if kind == "mask" else 128))
        there = np.argwhere(np.asarray(mask.dataobj))
        assert len(here) == len(there)
        np.testing.assert_allclose(
            nib.affines.apply_affine(volume.affine, here.mean(0)),
            nib.affines.apply_affine(mask.affine, there.mean(0)),
            atol=1e-3,
        )
    middle = nib.affines.apply_affine(
        np.linalg.inv(mask.affine), detail(place)["volumes"]["middle_mm"]
    )
    assert np.asarray(mask.dataobj)[tuple(np.rint(middle).astype(int))]


@pytest.mark.parametrize("most", [200_000, 20_000, 2_000])
def test_the_viewers_volumes_are_bounded_and_lie_where_they_did(tmp_path, monkeypatch, most):
    monkeypatch.setattr(qc_volumes, "_MOST_VOXELS", most)
    monkeypatch.setattr(qc_volumes, "_COARSE_MM", 0.9)
    scan, mask = an_object((200, 190, 9), (0.6, 0.6, 3.0))
    place = add(tmp_path / "qc", (scan, mask), tmp_path)
    volume = volumes(place)["mask"]
    assert np.prod(volume.shape) <= 1.1 * most or volume.shape[2] == 1
    to_scan = np.linalg.inv(scan.affine) @ volume.affine
    for j, plane in enumerate(np.moveaxis(np.asarray(volume.dataobj), 2, 0)):
        at = nib.affines.apply_affine(to_scan, [*np.argwhere(plane).mean(axis=0), j])
        k = round(at[2])
        assert at[2] == pytest.approx(k, abs=1e-3)
        there = np.argwhere(np.asarray(mask.dataobj)[..., k]).mean(axis=0)
        np.testing.assert_allclose(at[:2], there, atol=0.5)


def test_layers_lie_on_the_slices(tmp_path):
    scan, mask = an_object()
    for name, factor in (("soft", 0.8), ("spread", 0.15)):
        data = np.asarray(mask.dataobj) * np.float32(factor)
        nib.save(nib.Nifti1Image(data, mask.affine), tmp_path / f"{name}.nii.gz")
    layers = {name: tmp_path / f"{name}.nii.gz" for name in ("soft", "spread")}
    place = add(tmp_path / "qc", (scan, mask), tmp_path, **layers)
    assert detail(place)["layers"] == ["soft", "spread"]
    bright = tile(place, 0) > 128
    for name, level in (("soft", 204), ("spread", 128)):
        values = tile(place, 0, f"{name}.png")
        assert values.max() == pytest.approx(level, abs=1)
        assert np.mean((values > level / 2) == bright) > 0.99
        shown = np.asarray(Image.open(place / f"{name}.png").convert("RGBA"))[:240, :240, 3]
        assert (shown[~bright] < 255).any()
        assert (shown[0] == 0).all()
        assert (shown[values == values.max()] == 255).all()


# ----------------------------------------------------------------------- odd scans


def test_bad_voxels_and_volumes(tmp_path):
    scan, mask = an_object()
    data = np.stack([np.asarray(scan.dataobj), 2 * np.asarray(scan.dataobj)], axis=-1)
    data[5, 5, :, 1] = np.nan
    data[7, 7, 2, 1] = np.inf
    four = nib.Nifti1Image(data, scan.affine)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        place = add(tmp_path / "qc", (four, mask), tmp_path, volume=1)
    told = dict(detail(place)["header"])
    assert told["Shape"] == "60 x 56 x 6 x 2"
    assert told["Volume taken"] == "1 of 2, counted from 0"
    alone = add(tmp_path / "qc", (scan, mask), tmp_path, name="alone.nii.gz")
    np.testing.assert_allclose(tile(place, 0).astype(int), tile(alone, 0).astype(int), atol=1)
    with pytest.raises(InputError, match="choose one with --volume K"):
        qc_page.add_scan(tmp_path / "qc", tmp_path / "scan.nii.gz", tmp_path / "mask_scan.nii.gz")


def test_an_empty_mask_is_shown_with_its_flag(tmp_path):
    scan, mask = an_object()
    empty = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine)
    facts = detail(add(tmp_path / "qc", (scan, empty), tmp_path))
    [flag] = [flag for flag in facts["flags"] if flag["name"] == "no-gm"]
    assert flag["slices"] == list(range(6))
    assert all(shown["path"] == "" for shown in facts["tiles"])
    assert facts["field_mm"] == pytest.approx(42, abs=0.01)  # the whole field of view
    qc_page.write_index(tmp_path / "qc")
    [entry] = listed(tmp_path / "qc")["scans"]
    assert (entry["gm_slices"], entry["mean_area_mm2"]) == (0, None)


def test_one_slice(tmp_path):
    facts = detail(add(tmp_path / "qc", an_object((60, 56, 1)), tmp_path))
    assert len(facts["tiles"]) == facts["slices"] == 1


def test_a_mask_beyond_the_picture_is_told(tmp_path):
    scan, mask = an_object((200, 190, 3))
    data = np.asarray(mask.dataobj).copy()
    data[150:160, 100:110, 1] = 1
    far = nib.Nifti1Image(data, mask.affine)
    facts = detail(add(tmp_path / "qc", (scan, far), tmp_path))
    assert [shown["beyond"] for shown in facts["tiles"]] == [False, True, False]


def test_five_thousand_slices_are_bounded(tmp_path):
    shape = (40, 40, 5000)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 200, shape, np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[18:24, 18:24] = 1
    mask[..., 1234] = 0
    affine = np.diag([-0.5, 0.5, -0.2, 1])
    pair = (nib.Nifti1Image(data, affine), nib.Nifti1Image(mask, affine))
    place = add(tmp_path / "qc", pair, tmp_path, name="long.nii")
    facts = detail(place)
    shown = [facts["numbers"][t["k"]] for t in facts["tiles"]]
    assert len(shown) == 48
    assert shown == sorted(shown, reverse=True)  # stored from head to foot, shown from foot to head
    assert 1234 in shown
    assert facts["area_mm2"][4999 - 1234] == 0
    [lost] = [flag for flag in facts["flags"] if flag["name"] == "no-gm"]
    assert lost["slices"] == [1234]
    assert sum(path.stat().st_size for path in place.iterdir()) < 12e6
    stride = facts["volumes"]["stride"]
    assert volumes(place)["scan"].shape[2] == -(-5000 // stride) <= 1024


def test_which_slices_are_chosen():
    choose = qc_slices.choose
    assert choose(48, [3]) == list(range(48))
    assert choose(100, [], most=5) == [0, 25, 50, 74, 99]
    assert set(range(50, 60)) <= set(choose(500, range(50, 60)))
    everywhere = choose(500, range(500))
    assert len(everywhere) == 48
    assert {0, 499} <= set(everywhere)
    rare = choose(500, [k for k in range(500) if k not in (77, 78)])
    assert {77, 78} <= set(rare)
