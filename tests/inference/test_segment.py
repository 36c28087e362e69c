"""From a scan to a mask; real scans are compared with an independent implementation."""

import dataclasses
import json
import re

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented, undone

from gmseg import InputError, segment
from gmseg.core import pipeline, windows
from gmseg.core.resampling import to_working_grid
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation import metrics
from gmseg.inference import engines
from gmseg.inference import segment as segmentation
from gmseg.inference.summary import Summary
from gmseg.io.image import check_scan, read_scan
from gmseg.models import registry

# Dice of the published weights by an independent implementation: labelled slices, threshold 0.5 on
# the native grid, window at the image centre; standardised by the volume, by the training set
INDEPENDENT = {
    "10062Ses1": (0.962, 0.968),
    "10062Ses2": (0.965, 0.967),
    "9584": (0.907, 0.952),
    "9709Ses1": (0.919, 0.941),
    "9709Ses2": (0.946, 0.949),
    "t2s-small-fov": (0.900, 0.900),
}


def files_of(shared, name):
    """Return a shared scan, its reference and its cord mask."""
    if name == "t2s-small-fov":
        folder = shared / "data/t2s-small-fov"
        return [folder / f"t2s{end}.nii.gz" for end in ("", "_gmseg_manual", "_seg")]
    root, inner = shared / "data/t2starw-multicentre", f"sub-{name}/anat"
    stem = f"sub-{name}_run-1_T2starw"
    labels = root / "derivatives/labels" / inner
    return [
        root / inner / f"{stem}.nii.gz",
        labels / f"{stem}_gmseg-manual.nii.gz",
        labels / f"{stem}_seg-manual.nii.gz",
    ]


def dice_of(result, reference):
    return metrics.dice_labelled(result.mask.get_fdata(), nib.load(reference).get_fdata() > 0.5)


@pytest.fixture(scope="module")
def published(shared):
    return registry.load_model(shared / "models/published/challenge_model.hdf5")


@pytest.mark.parametrize("standardise", ["volume", "training"])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_dice_of_the_published_weights_equals_an_independent_implementation(
    shared, published, name, standardise
):
    scan, reference, _ = files_of(shared, name)
    result = segment(scan, published, standardise=standardise, centre="image", threshold=0.5)
    expected = INDEPENDENT[name][["volume", "training"].index(standardise)]
    assert dice_of(result, reference) == pytest.approx(expected, abs=0.01)
    assert result.mask.affine.tobytes() == nib.load(scan).affine.tobytes()


def test_a_cord_26_mm_off_centre(shared, published):
    scan, reference, cord = files_of(shared, "9604")
    on_cord = segment(scan, published, cord=cord)
    assert dice_of(on_cord, reference) == pytest.approx(0.917, abs=0.005)
    localised = segment(scan, published)
    assert localised.summary.window == "moved to the cord"
    assert dice_of(localised, reference) >= 0.90
    # at the image centre half of the cord is missed, and flags say so
    at_centre = segment(scan, published, centre="image")
    assert dice_of(at_centre, reference) < 0.7
    assert at_centre.summary.flags


def core_alone(scan, model, centres, standardise="volume"):
    """Segment with the core's functions only, windows at given centres."""
    grid = to_working_grid(np.asarray(scan.dataobj), scan.affine, model.voxel_size_mm)
    cut = windows.cut(grid.data, centres, model.window)
    cut = pipeline.standardised(cut, *pipeline.mean_and_std(cut, model, standardise))
    soft = pipeline.predict_windows(engines.load_predictor(model), cut)[:, 0]
    return pipeline.restore(soft, centres, grid)


@pytest.mark.parametrize("name", ["9604", "10062Ses2", "t2s-small-fov"])
def test_moving_the_window_by_10_mm_changes_little(shared, published, name):
    files = files_of(shared, name)
    scan, (reference, cord) = read_scan(files[0]), (nib.load(file) for file in files[1:])
    reference, cord = reference.get_fdata() > 0.5, cord.get_fdata() > 0.5
    centres = pipeline.prepare(scan, published, cord=cord).centres
    dice = [
        metrics.dice_labelled(core_alone(scan, published, centres + shift) > 0.5, reference)
        for shift in ((0, 0), (40, 0), (-28, 28), (0, -40))
    ]
    np.testing.assert_allclose(dice[1:], dice[0], rtol=0, atol=0.005)


@pytest.mark.parametrize("off_mm", [(45, 0), (-20, 40)])
def test_the_cord_is_found_on_a_larger_canvas(shared, published, off_mm):
    """The result is as good as with windows on the known cord."""
    scan, reference, cord = (nib.load(file) for file in files_of(shared, "t2s-small-fov"))
    sizes = nib.affines.voxel_sizes(scan.affine)
    add = np.rint(2 * np.abs(off_mm) / sizes[:2]).astype(int)
    pad = [(n, 5) if off > 0 else (5, n) for n, off in zip(add, off_mm, strict=True)] + [(0, 0)]
    affine = scan.affine @ nib.affines.from_matvec(np.eye(3), [-before for before, _ in pad])
    scan, reference, cord = (
        nib.Nifti1Image(np.pad(np.asarray(image.dataobj), pad), affine)
        for image in (scan, reference, cord)
    )
    reference = reference.get_fdata() > 0.5
    centres = pipeline.prepare(scan, published, cord=cord.get_fdata() > 0.5).centres
    on_cord = metrics.dice_labelled(core_alone(scan, published, centres) > 0.5, reference)
    found = segment(scan, published)
    assert found.summary.window == "found by a search"
    assert metrics.dice_labelled(found.mask.get_fdata(), reference) > on_cord - 0.01


# The tests below need no real scans.


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 2))


@pytest.fixture(scope="module")
def segmented(phantom):
    return segment(phantom.image)


def test_default_model_segments_a_phantom(phantom, segmented):
    reference = np.asarray(phantom.mask.dataobj) == 1
    assert metrics.dice(np.asarray(segmented.mask.dataobj), reference) > 0.75
    assert segmented.summary.flags == ()
    assert segmented.summary.area_mm2 == pytest.approx(phantom.gm_area_mm2, rel=0.35)


def test_the_core_alone_gives_the_same_at_the_image_centre(phantom):
    model = registry.load_model()
    scan = check_scan(phantom.image, name="x")
    soft = core_alone(scan, model, pipeline.prepare(scan, model).centres)
    whole = segment(phantom.image, centre="image")
    np.testing.assert_allclose(whole.soft.dataobj, soft, atol=1e-6)


def test_types_and_the_threshold_at_the_end(phantom, segmented):
    mask, soft = np.asarray(segmented.mask.dataobj), np.asarray(segmented.soft.dataobj)
    assert (mask.dtype, soft.dtype) == (np.uint8, np.float32)
    assert mask.shape == soft.shape == phantom.image.shape
    assert set(np.unique(mask)) == {0, 1}
    assert ((soft >= 0) & (soft <= 1)).all()
    np.testing.assert_array_equal(mask, soft > 0.5)
    lower = segment(phantom.image, threshold=0.1)
    np.testing.assert_array_equal(lower.mask.dataobj, soft > 0.1)


def test_summary_is_valid_json_with_the_documented_keys(segmented):
    content = segmented.summary.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    documented = set(re.findall(r"^    (\w+(?:, \w+)*) : ", Summary.__doc__, re.MULTILINE))
    documented = {name for names in documented for name in names.split(", ")}
    assert documented == {field.name for field in dataclasses.fields(Summary)}
    assert set(content) == documented | {"flag_details"}


def test_summary_of_a_scan_without_gm_is_valid_json():
    texture = np.random.default_rng(0).uniform(90, 110, (70, 70, 2)).astype(np.float32)
    result = segment(nib.Nifti1Image(texture, np.diag([-0.5, 0.5, 5, 1])))
    assert result.mask.get_fdata().sum() < 100
    content = json.loads(json.dumps(result.summary.to_dict(), allow_nan=False))
    assert "no gray matter found" in " ".join(content["flags"])
    assert content["flags"] == [flag["text"] for flag in content["flag_details"]]
    assert None in content["expected_dice"]


@pytest.mark.parametrize("ornt", ALL_48, ids=range(48))
def test_48_orders_and_flips_give_the_same_mask(phantom, segmented, ornt):
    result = segment(reoriented(phantom.image, ornt))
    mask = undone(np.asarray(result.mask.dataobj), ornt)
    np.testing.assert_array_equal(mask, segmented.mask.dataobj)
    areas = np.array(segmented.summary.area_mm2)
    downwards = ornt[2, 1] < 0
    np.testing.assert_allclose(result.summary.area_mm2, areas[::-1] if downwards else areas)


def test_results_do_not_depend_on_the_batch(phantom, segmented, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH", 1)
    soft = segment(phantom.image).soft
    np.testing.assert_allclose(soft.dataobj, segmented.soft.dataobj, atol=1e-5)


def test_windows_are_standardised_with_their_filling(phantom):
    model = registry.load_model()
    ready = pipeline.prepare(check_scan(phantom.image, name="x"), model)
    assert ready.windows.mean() == pytest.approx(0, abs=1e-4)
    assert ready.windows.std() == pytest.approx(1, abs=1e-4)
    small = nib.Nifti1Image(np.asarray(phantom.image.dataobj)[32:58, 32:58], phantom.image.affine)
    ready = pipeline.prepare(check_scan(small, name="x"), model)
    grid = to_working_grid(np.asarray(small.dataobj), small.affine)
    darkest = windows.darkest(grid.data)
    cut = windows.cut(grid.data, ready.centres, model.window, darkest)
    filled = windows.cut(np.ones_like(grid.data), ready.centres, model.window) == 0
    assert filled.mean() > 0.8  # the field of view is much smaller than the window
    expected = (darkest - cut.mean()) / cut.std()
    for k, window in enumerate(ready.windows):
        np.testing.assert_allclose(window[filled[k]], expected[k], rtol=1e-3)


@pytest.mark.parametrize("constant", [-1024, 1000])
@pytest.mark.parametrize("name", ["t2s-small-fov", "9584"])
def test_an_added_constant_changes_nothing(shared, name, constant):
    """Also where windows reach beyond the scan: the filling moves with the scan."""
    scan = nib.load(files_of(shared, name)[0])
    voxels = np.asarray(scan.dataobj, np.float32)
    expected = segment(nib.Nifti1Image(voxels, scan.affine))
    found = segment(nib.Nifti1Image(voxels + constant, scan.affine))
    np.testing.assert_allclose(found.soft.dataobj, expected.soft.dataobj, atol=2e-3)
    assert [flag.name for flag in found.summary.flags] == [
        flag.name for flag in expected.summary.flags
    ]
    assert found.summary.window == expected.summary.window


def test_area_does_not_depend_on_the_voxel_size():
    areas = []
    for size_mm, count in ((0.3, 200), (0.7, 90)):
        scan = make_phantom(seed=5, spacing_mm=(size_mm, size_mm, 5.0), shape=(count, count, 1))
        areas.append(segment(scan.image).summary.area_mm2[0])
    assert areas[0] > 0
    assert areas[0] == pytest.approx(areas[1], rel=0.2)


@pytest.fixture(scope="module")
def off_centre():
    """Return a phantom with the cord 38 mm off the image centre."""
    return make_phantom(
        seed=8, spacing_mm=(0.5, 0.5, 5.0), shape=(180, 150, 3), offset_mm=(31.0, -22.0)
    )


def test_an_off_centre_cord_is_segmented_as_with_its_mask(off_centre, tmp_path):
    labels = np.asarray(off_centre.mask.dataobj)
    cord = nib.Nifti1Image((labels > 0).astype(np.uint8), off_centre.image.affine)
    nib.save(cord, tmp_path / "cord.nii.gz")
    known = segment(off_centre.image, cord=tmp_path / "cord.nii.gz")
    found = segment(off_centre.image)
    dice = [metrics.dice(result.mask.get_fdata(), labels == 1) for result in (known, found)]
    assert dice[0] > 0.8
    assert dice[1] > dice[0] - 0.01
    assert known.summary.window == "cord mask"
    assert found.summary.window in {"found by a search", "moved to the cord"}
    assert found.summary.flags == ()
    centres = np.array(found.summary.window_centre_mm)[:, :2]
    assert (np.linalg.norm(centres - off_centre.centre_mm, axis=1) < 10).all()


def test_step_by_step_at_the_localised_windows_gives_the_mask_of_segment(off_centre):
    model = registry.load_model()
    scan = check_scan(off_centre.image, name="x")
    found = segmentation.localise_cord(off_centre.image, model)
    assert found.how in {"found by a search", "moved to the cord"}
    ready = pipeline.prepare(scan, model, centres=found.centres)
    soft = pipeline.predict_windows(engines.load_predictor(model), ready.windows)
    near = found.keep_near(soft, model.voxel_size_mm)
    gm = pipeline.restore(near[:, 0], ready.centres, ready.grid)
    result = segment(off_centre.image)
    np.testing.assert_array_equal(gm > model.threshold, result.mask.dataobj)
    np.testing.assert_allclose(gm, result.soft.dataobj, atol=1e-6)


def test_a_position_and_the_image_centre_are_used_as_given(off_centre):
    labels = np.asarray(off_centre.mask.dataobj)
    x_mm, y_mm = off_centre.centre_mm[1]
    given = segment(off_centre.image, centre=(x_mm, y_mm))
    assert given.summary.window == "as given"
    assert metrics.dice(given.mask.get_fdata(), labels == 1) > 0.8
    image_centre = segment(off_centre.image, centre="image")
    assert image_centre.summary.window == "image centre"
    assert np.abs(np.array(image_centre.summary.window_centre_mm)[:, :2]).max() < 1
    assert metrics.dice(image_centre.mask.get_fdata(), labels == 1) < 0.1


def test_gm_far_from_the_cord_is_kept_at_the_image_centre_only(phantom, segmented, monkeypatch):
    predict = engines.load_predictor(registry.load_model())

    def predict_with_island(cut):
        soft = predict(cut)
        soft[:, :, 10:16, 10:16] = 0.9  # 31 mm from the centre of the window
        return soft

    monkeypatch.setattr(segmentation, "load_predictor", lambda _: predict_with_island)
    kept, removed = (segment(phantom.image, centre=centre) for centre in ("image", "auto"))
    np.testing.assert_array_equal(removed.mask.dataobj, segmented.mask.dataobj)
    assert np.asarray(kept.mask.dataobj).sum() > np.asarray(removed.mask.dataobj).sum()


def test_bad_voxels_are_refused_in_the_window_only(phantom):
    data = np.asarray(phantom.image.dataobj).astype(np.float32)
    wide = np.pad(data, ((60, 60), (60, 60), (0, 0)), mode="edge")
    affine = phantom.image.affine
    clean = segment(nib.Nifti1Image(wide, affine))
    wide[2, 3, 1] = np.nan
    wide[-2, 3, 0] = np.inf
    result = segment(nib.Nifti1Image(wide, affine))
    np.testing.assert_array_equal(result.mask.dataobj, clean.mask.dataobj)
    texts = [flag.text for flag in result.summary.flags]
    assert texts == ["2 voxels are NaN or infinite, all outside the window"]
    wide[105, 115, 1] = np.nan
    with pytest.raises(InputError, match="3 voxels are NaN or infinite, some of them in the net"):
        segment(nib.Nifti1Image(wide, affine))


def test_an_empty_window_is_refused():
    data = np.zeros((400, 400, 2), np.float32)
    data[:20, :20] = np.random.default_rng(0).random((20, 20, 2))
    scan = nib.Nifti1Image(data, np.diag([-0.5, 0.5, 5, 1]))
    with pytest.raises(InputError, match="every voxel in the window is the same"):
        segment(scan)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"threshold": 1.5}, r"`threshold`: 1\.5 is not a number between 0 and 1"),
        ({"threshold": float("nan")}, "`threshold`: nan is not a number between 0 and 1"),
        ({"threshold": "0.5"}, "`threshold`: '0.5' is not a number"),
        ({"threshold": True}, "`threshold`: True is not a number"),
        ({"centre": "7.6,-3.2"}, "'7.6,-3.2' is unknown; choose 'auto', 'image' or a position"),
        ({"centre": "Auto"}, "'Auto' is unknown"),
        ({"centre": (1.0, 2.0, 3.0)}, "is unknown"),
        ({"centre": np.zeros((2, 2))}, "is unknown"),
        ({"centre": (1.0, np.nan)}, "is unknown"),
        ({"centre": 7.6}, "7.6 is unknown"),
        ({"clean": "largest"}, r"'largest' is a string; give a list, such as \['largest'\]"),
        ({"tta": 2.5}, "`tta`: 2.5 is not a whole number"),
        ({"seed": -1}, "`seed`: -1 is not a whole number of at least 0"),
        ({"standardise": "bogus"}, "'bogus' is unknown; choose volume or training"),
        ({"centre": "bogus"}, "'bogus' is unknown; choose 'auto', 'image' or a position"),
        ({"clean": ["bogus"]}, "'bogus' is unknown; choose from largest"),
        ({"within_cord": True}, "needs a cord mask; give one with `cord`"),
        ({"standardise": "training"}, "has no training mean and std"),
    ],
)
def test_invalid_options_are_refused(phantom, options, fault):
    model = dataclasses.replace(registry.load_model(), mean=None)
    with pytest.raises(InputError, match=fault):
        segment(phantom.image, model, **options)
