"""Predictions against references in files: raters, grids, labels, folders."""

import json
import math
import shutil

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented
from random_masks import AFFINE, blobs, save

from gmseg import InputError
from gmseg.evaluation import metrics
from gmseg.evaluation.evaluate import compare_raters, evaluate, evaluate_folders, pool


@pytest.fixture
def files(tmp_path):
    prediction, reference = blobs(0)
    return (
        save(tmp_path / "t2s_gmseg.nii.gz", prediction),
        save(tmp_path / "t2s_gmseg-manual.nii.gz", reference),
    )


def test_one_reference(files):
    scores = evaluate(*files)
    pair = blobs(0)
    assert scores["volume"] == pytest.approx(metrics.compare(*pair, AFFINE))
    assert scores["labelled_slices"] == pytest.approx(metrics.compare_labelled(*pair, AFFINE))
    assert [s["slice"] for s in scores["slices"]] == [0, 1, 2, 3]
    assert scores["raters"][0]["name"] == "t2s_gmseg-manual.nii.gz"
    assert scores["undefined"] == {}
    assert "consensus" not in scores


def test_several_raters():
    prediction, first = blobs(0)
    second, third = blobs(1)
    raters = {"a": first, "b": second, "c": third}
    scores = compare_raters(prediction, raters, AFFINE)
    each = [metrics.compare(prediction, mask, AFFINE) for mask in raters.values()]
    for name in metrics.METRICS:
        assert scores["volume"][name] == pytest.approx(np.mean([s[name] for s in each]))
    majority = (first & second) | (first & third) | (second & third)
    consensus = metrics.compare(prediction, majority, AFFINE)
    assert scores["consensus"]["volume"] == pytest.approx(consensus)
    # each rater is the prediction once and the reference once
    pairs = [(first, second), (first, third), (second, third)]
    dices = [metrics.dice(*pair) for pair in pairs]
    between = scores["between_raters"]["volume"]
    assert between["DSC"] == pytest.approx(np.mean(dices))
    assert between["TPR"] == pytest.approx(between["P"])


def test_undefined_metrics_have_a_reason_and_a_place():
    prediction, reference = blobs(0)
    empty = np.zeros_like(prediction)
    scores = compare_raters(empty, {"a": reference, "b": empty}, AFFINE)
    assert scores["undefined"]["against a"].startswith("the prediction is empty")
    assert scores["undefined"]["against b"].startswith("both are empty")
    assert scores["undefined"]["against the majority"].startswith("both are empty")
    assert math.isnan(scores["volume"]["HSD"])
    assert scores["volume"]["DSC"] == 0  # against a, the only one that is defined
    # GM in the volume, but none in the labelled slices
    above, below = prediction.copy(), reference.copy()
    above[..., :2], below[..., 2:] = False, False
    scores = compare_raters(above, {"a": below}, AFFINE)
    assert math.isfinite(scores["volume"]["HSD"])
    assert math.isnan(scores["labelled_slices"]["HSD"])
    volume, labelled = scores["undefined"]["against a"].split("; ")
    assert volume.startswith("nothing overlaps")
    assert labelled.startswith("over the labelled slices, the prediction is empty: distances")
    assert all(s["undefined"] for s in scores["slices"] + scores["raters"][0]["slices"])


@pytest.mark.parametrize("shift_mm", [0.0, 9e-4])
def test_small_affine_differences_are_accepted(files, tmp_path, shift_mm):
    moved = AFFINE.copy()
    moved[0, 3] += shift_mm
    other = save(tmp_path / "moved.nii.gz", blobs(0)[0], moved)
    assert evaluate(other, files[1])["volume"] == evaluate(*files)["volume"]


def test_another_grid_is_refused_or_resampled(files, tmp_path):
    prediction, _ = blobs(0)
    moved = AFFINE.copy()
    moved[1, 3] += 0.25
    other = save(tmp_path / "moved.nii.gz", prediction, moved)
    with pytest.raises(InputError, match=r"moved.nii.gz.*by up to 0\.25 mm.*`resample=True`"):
        evaluate(other, files[1])
    fine = np.repeat(np.repeat(prediction, 2, axis=0), 2, axis=1)
    affine = AFFINE.copy()
    affine[:3, :2] /= 2
    affine[:3, 3] -= (affine[:3, 0] + affine[:3, 1]) / 2
    finer = save(tmp_path / "finer.nii.gz", fine, affine)
    with pytest.raises(InputError, match=r"finer.nii.gz.*shape.*\(48, 44, 4\).*`resample=True`"):
        evaluate(finer, files[1])
    scores = evaluate(finer, files[1], resample=True)
    assert scores["volume"]["DSC"] == pytest.approx(evaluate(*files)["volume"]["DSC"], abs=0.02)
    # a rater on another grid
    with pytest.raises(InputError, match=r"finer.nii.gz.*`resample=True`"):
        evaluate(files[0], [files[1], finer])
    second = evaluate(files[0], [files[1], finer], resample=True)["raters"][1]
    assert second["volume"]["DSC"] == pytest.approx(1, abs=0.02)  # the prediction on a finer grid
    away = AFFINE.copy()
    away[0, 3] += 100
    far = save(tmp_path / "far.nii.gz", prediction, away)
    with pytest.raises(InputError, match="if a header is wrong, copy the scan's to it"):
        evaluate(far, files[1])
    with pytest.raises(InputError, match=r"far\.nii\.gz: does not overlap the grid"):
        evaluate(far, files[1], resample=True)


@pytest.mark.parametrize("ornt", ALL_48[1::7])
def test_a_mask_in_another_orientation_is_reoriented(files, tmp_path, ornt):
    turned = reoriented(nib.load(files[0]), ornt)
    nib.save(turned, tmp_path / "turned.nii.gz")
    for resample in (False, True):
        scores = evaluate(tmp_path / "turned.nii.gz", files[1], resample=resample)
        assert scores["volume"] == evaluate(*files)["volume"]


def test_labels(files, tmp_path):
    _, reference = blobs(0)
    gray_and_white = save(tmp_path / "mask-r1.nii.gz", reference + 2 * (blobs(1)[0] & ~reference))
    with pytest.raises(InputError, match=r"mask-r1.nii.gz: contains 2 besides 0 and 1.*label[= ]1"):
        evaluate(files[0], gray_and_white)
    assert evaluate(files[0], gray_and_white, label=1)["volume"] == evaluate(*files)["volume"]
    bright = save(tmp_path / "bright.nii.gz", 255 * reference.astype(int))
    with pytest.raises(InputError, match=r"contains 255 besides 0 and 1.*label[= ]255"):
        evaluate(files[0], bright)
    soft = save(tmp_path / "soft.nii.gz", np.random.default_rng(0).random((24, 22, 4)), dtype=float)
    for label in (None, 1):
        with pytest.raises(InputError, match="soft segmentation"):
            evaluate(soft, files[1], label=label)
    with pytest.raises(
        InputError, match=r"contains 255 and no 1; give the value of GM with `label`"
    ):
        evaluate(files[0], bright, label=1)
    empty = save(tmp_path / "empty.nii.gz", 0 * reference)
    assert evaluate(empty, gray_and_white, label=1)["volume"]["DSC"] == 0
    stack = save(tmp_path / "stack.nii.gz", np.stack([reference] * 2, axis=-1))
    with pytest.raises(InputError, match="contains 2 volumes"):
        evaluate(stack, files[1])


# --------------------------------------------------------------------------------- folders


def test_folders(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for seed in (0, 1, 2):
        prediction, reference = blobs(seed)
        save(ours / f"s{seed}_gmseg.nii.gz", prediction)
        save(theirs / f"s{seed}_gmseg-manual.nii.gz", reference)
    shutil.copy(ours / "s0_gmseg.nii.gz", ours / "s9_gmseg.nii.gz")
    (theirs / "s2_gmseg-manual.nii.gz").write_bytes(b"not an image")
    counts = []
    scores, faults, warnings = evaluate_folders(
        ours, [theirs], progress=lambda done, total: counts.append((done, total))
    )
    assert counts == [(1, 3), (2, 3), (3, 3)]
    each = [metrics.compare(*blobs(seed), AFFINE) for seed in (0, 1)]
    assert scores["volume"]["DSC"] == pytest.approx(np.mean([s["DSC"] for s in each]))
    assert scores["volume_sd"]["MSD"] == pytest.approx(np.std([s["MSD"] for s in each], ddof=1))
    assert [scan["name"] for scan in scores["scans"]] == ["s0", "s1"]
    assert len(faults) == 2
    assert "s9_gmseg.nii.gz: has no reference" in faults[0]
    assert "s2_gmseg-manual.nii.gz" in faults[1]
    assert warnings == []


def test_pooled_scans_keep_the_reasons():
    prediction, reference = blobs(0)
    scans = {
        name: compare_raters(mask, {"a": reference, "b": blobs(1)[0]}, AFFINE)
        for name, mask in (("good", prediction), ("bad", np.zeros_like(prediction)))
    }
    scores = pool(scans)
    assert scores["volume"]["DSC"] == pytest.approx(scans["good"]["volume"]["DSC"] / 2)
    assert scores["volume"]["HSD"] == pytest.approx(scans["good"]["volume"]["HSD"])
    assert set(scores["undefined"]) == {
        "bad, against a",
        "bad, against b",
        "bad, against the majority",
    }
    assert scores["consensus"]["volume"]["DSC"] > 0
    assert scores["between_raters"]["volume"] == scans["good"]["between_raters"]["volume"]
    json.dumps(scores)
