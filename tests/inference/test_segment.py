"""From a scan to a mask: real scans against figures of an independent implementation."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented, undone

from gmseg import InputError, segment
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation import metrics
from gmseg.inference import engines
from gmseg.inference import segment as pipeline
from gmseg.models import registry

# Dice of the published weights over the labelled slices at threshold 0.5 on the native grid,
# window at the image's centre, by an independent implementation: standardised by the volume,
# by the training set
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


@pytest.mark.parametrize("way", ["volume", "training"])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_published_weights_score_what_an_independent_implementation_scores(
    shared, published, name, way
):
    scan, reference, _ = files_of(shared, name)
    result = segment(scan, published, standardise=way, centre="image", threshold=0.5)
    expected = INDEPENDENT[name][["volume", "training"].index(way)]
    assert dice_of(result, reference) == pytest.approx(expected, abs=0.01)
    assert result.mask.affine.tobytes() == nib.load(scan).affine.tobytes()


def test_window_on_the_cord_finds_it_26_mm_off_centre(shared, published):
    scan, reference, cord = files_of(shared, "9604")
    assert dice_of(segment(scan, published, cord=cord), reference) == pytest.approx(
        0.917, abs=0.005
    )
    # and without: half of the cord is missed, and the summary says that something is odd
    missed = segment(scan, published, centre="image")
    assert dice_of(missed, reference) < 0.7
    assert missed.summary.flags


@pytest.mark.parametrize("name", ["9604", "10062Ses2", "t2s-small-fov"])
def test_moving_the_window_by_10_mm_hardly_matters(shared, published, name, monkeypatch):
    scan, reference, cord = files_of(shared, name)
    on_cord = dice_of(segment(scan, published, cord=cord), reference)
    locate = pipeline.window.locate
    for shift in ((40, 0), (-28, 28), (0, -40)):
        monkeypatch.setattr(
            pipeline.window, "locate", lambda *args, by=shift, **kw: locate(*args, **kw) + by
        )
        assert abs(dice_of(segment(scan, published, cord=cord), reference) - on_cord) < 0.005


def test_a_cord_26_mm_off_centre_is_found(shared, published):
    scan, reference, _ = files_of(shared, "9604")
    result = segment(scan, published)
    assert result.summary.window == "moved to the cord"
    assert dice_of(result, reference) >= 0.90


@pytest.mark.parametrize("off_mm", [(45, 0), (-20, 40)])
def test_a_real_scan_on_a_larger_canvas_is_found(shared, published, off_mm):
    """As good as with the window on the cord of the same canvas, wherever it lies on it."""
    scan, reference, cord = (nib.load(file) for file in files_of(shared, "t2s-small-fov"))
    sizes = nib.affines.voxel_sizes(scan.affine)
    add = np.rint(2 * np.abs(off_mm) / sizes[:2]).astype(int)
    pad = [(n, 5) if off > 0 else (5, n) for n, off in zip(add, off_mm, strict=True)] + [(0, 0)]
    affine = scan.affine @ nib.affines.from_matvec(np.eye(3), [-before for before, _ in pad])

    def on_canvas(image):
        return nib.Nifti1Image(np.pad(np.asarray(image.dataobj), pad), affine)

    truth = on_canvas(reference).get_fdata() > 0.5
    ready = pipeline.prepare(on_canvas(scan), published, cord=on_canvas(cord).get_fdata() > 0.5)
    soft = pipeline.predict_windows(engines.load_predictor(published), ready.windows)
    on_cord = metrics.dice_labelled(pipeline.soft_on_scan(soft, ready) > 0.5, truth)
    found = segment(on_canvas(scan), published)
    assert found.summary.window == "found by a search"
    assert metrics.dice_labelled(found.mask.get_fdata(), truth) > on_cord - 0.01


# ------------------------------------------------------------------- without the real scans


@pytest.fixture(scope="module")
def sample():
    return make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 2))


@pytest.fixture(scope="module")
def segmented(sample):
    return segment(sample.image)


def test_default_model_finds_the_gray_matter_of_a_phantom(sample, segmented):
    truth = np.asarray(sample.mask.dataobj) == 1
    assert metrics.dice(np.asarray(segmented.mask.dataobj), truth) > 0.75
    assert segmented.summary.flags == ()
    assert segmented.summary.area_mm2 == pytest.approx(sample.gm_area_mm2, rel=0.35)


def test_types_and_the_threshold_at_the_end(sample, segmented):
    mask, soft = np.asarray(segmented.mask.dataobj), np.asarray(segmented.soft.dataobj)
    assert (mask.dtype, soft.dtype) == (np.uint8, np.float32)
    assert mask.shape == soft.shape == sample.image.shape
    assert set(np.unique(mask)) == {0, 1}
    assert ((soft >= 0) & (soft <= 1)).all()
    np.testing.assert_array_equal(mask, soft > 0.5)
    lower = segment(sample.image, threshold=0.1)
    np.testing.assert_array_equal(lower.mask.dataobj, soft > 0.1)


@pytest.mark.parametrize("ornt", ALL_48, ids=range(48))
def test_48_orders_and_flips_give_one_mask(sample, segmented, ornt):
    result = segment(reoriented(sample.image, ornt))
    np.testing.assert_array_equal(
        undone(np.asarray(result.mask.dataobj), ornt), segmented.mask.dataobj
    )
    areas = np.array(segmented.summary.area_mm2)
    downwards = ornt[2, 1] < 0
    np.testing.assert_allclose(result.summary.area_mm2, areas[::-1] if downwards else areas)


def test_results_do_not_depend_on_the_batch(sample, segmented, monkeypatch):
    monkeypatch.setattr(engines, "BATCH", 1)
    soft = segment(sample.image).soft
    np.testing.assert_allclose(soft.dataobj, segmented.soft.dataobj, atol=1e-5)


def test_standardisation_is_of_the_windows_filling_included(sample):
    model = registry.load_model()
    data = np.asarray(sample.image.dataobj)
    ready = pipeline.prepare(pipeline.gm_image.check_scan(sample.image, name="x"), model)
    assert ready.windows.mean() == pytest.approx(0, abs=1e-4)
    assert ready.windows.std() == pytest.approx(1, abs=1e-4)
    small = nib.Nifti1Image(data[30:60, 30:60], sample.image.affine)
    ready = pipeline.prepare(pipeline.gm_image.check_scan(small, name="x"), model)
    cut = pipeline.window.cut(ready.grid.data, ready.centres, 200)
    assert (cut == 0).mean() > 0.8  # the field is much smaller than the window
    np.testing.assert_allclose(ready.windows[cut == 0], -cut.mean() / cut.std(), rtol=1e-3)


def test_a_scan_of_many_voxel_sizes_is_the_same_scan(sample):
    truth = np.asarray(sample.mask.dataobj) == 1
    areas = [
        segment(make_phantom(seed=5, spacing_mm=(s, s, 5.0), shape=(n, n, 1)).image).summary
        for s, n in ((0.3, 200), (0.7, 90))
    ]
    assert truth.any()
    assert areas[0]["area_mm2"][0] == pytest.approx(areas[1]["area_mm2"][0], rel=0.2)


@pytest.fixture(scope="module")
def off_centre():
    """A cord 38 mm off the centre of a field of 128 mm."""
    return make_phantom(
        seed=8, spacing_mm=(0.5, 0.5, 5.0), shape=(256, 256, 3), offset_mm=(31.0, -22.0)
    )


def test_an_off_centre_cord_is_segmented_as_if_its_place_were_known(off_centre, tmp_path):
    truth = np.asarray(off_centre.mask.dataobj)
    nib.save(
        nib.Nifti1Image((truth > 0).astype(np.uint8), off_centre.image.affine),
        tmp_path / "cord.nii.gz",
    )
    known = segment(off_centre.image, cord=tmp_path / "cord.nii.gz")
    found = segment(off_centre.image)
    scores = [metrics.dice(one.mask.get_fdata(), truth == 1) for one in (known, found)]
    assert scores[0] > 0.8
    assert scores[1] > scores[0] - 0.01
    assert found.summary.window in {"found by a search", "moved to the cord"}
    assert found.summary.flags == ()
    places = np.array(found.summary.window_centre_mm)[:, :2]
    assert (np.linalg.norm(places - off_centre.centre_mm, axis=1) < 10).all()


def test_centre_image_stays_at_the_images_centre(off_centre):
    result = segment(off_centre.image, centre="image")
    assert np.abs(np.array(result.summary.window_centre_mm)[:, :2]).max() < 1
    assert metrics.dice(result.mask.get_fdata(), np.asarray(off_centre.mask.dataobj) == 1) < 0.1


def test_gm_far_from_the_cord_is_dropped_but_for_centre_image(sample, monkeypatch):
    network = pipeline.load_predictor

    def with_an_island(model, precision):
        def predict(windows):
            soft = network(model, precision)(windows)
            soft[:, 10:16, 10:16] = 0.9  # 31 mm from the window's centre
            return soft

        return predict

    monkeypatch.setattr(pipeline, "load_predictor", with_an_island)
    kept, dropped = (segment(sample.image, centre=where) for where in ("image", "auto"))
    clean = np.asarray(dropped.mask.dataobj)
    monkeypatch.undo()
    np.testing.assert_array_equal(clean, segment(sample.image).mask.dataobj)
    assert np.asarray(kept.mask.dataobj).sum() > clean.sum()


def test_bad_voxels_matter_only_where_the_network_looks(sample):
    data = np.asarray(sample.image.dataobj).astype(np.float32)
    wide = np.pad(data, ((60, 60), (60, 60), (0, 0)), mode="edge")
    affine = sample.image.affine
    clean = segment(nib.Nifti1Image(wide, affine))
    wide[2, 3, 1] = np.nan
    wide[-2, 3, 0] = np.inf
    result = segment(nib.Nifti1Image(wide, affine))
    np.testing.assert_array_equal(result.mask.dataobj, clean.mask.dataobj)
    texts = [flag.text for flag in result.summary.flags]
    assert texts == ["2 voxels are NaN or infinite, all outside the window"]
    wide[105, 115, 1] = np.nan
    with pytest.raises(InputError, match="3 voxels are NaN or infinite, some of them where"):
        segment(nib.Nifti1Image(wide, affine))


def test_gray_matter_that_is_not_found_is_said():
    texture = np.random.default_rng(0).uniform(90, 110, (120, 120, 3)).astype(np.float32)
    result = segment(nib.Nifti1Image(texture, np.diag([-0.5, 0.5, 5, 1])))
    assert result.mask.get_fdata().sum() < 100
    assert "no gray matter found" in " ".join(flag.text for flag in result.summary.flags)


def test_an_empty_window_is_refused():
    data = np.zeros((400, 400, 2), np.float32)
    data[:20, :20] = np.random.default_rng(0).random((20, 20, 2))
    scan = nib.Nifti1Image(data, np.diag([-0.5, 0.5, 5, 1]))
    with pytest.raises(InputError, match="every voxel in the window is the same"):
        segment(scan)


def test_choices_that_make_no_sense(sample):
    with pytest.raises(InputError, match=r"`threshold`: 1\.5 is not between 0 and 1"):
        segment(sample.image, threshold=1.5)
    with pytest.raises(InputError, match="'bogus' is unknown; choose volume or training"):
        segment(sample.image, standardise="bogus")
    model = dataclasses.replace(registry.load_model(), mean=None)
    with pytest.raises(InputError, match="has no training mean and std"):
        segment(sample.image, model, standardise="training")
