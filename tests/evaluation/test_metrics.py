"""The metrics: by hand, against other libraries, and in every orientation."""

import math
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import ALL_48, ROTATION, reoriented
from random_masks import AFFINE, SPACING_MM, blobs

from gmseg.core.geometry import runs_downwards
from gmseg.evaluation import metrics
from gmseg.evaluation.metrics import (
    METRICS,
    compare,
    compare_labelled,
    compare_slices,
    dice,
    dice_labelled,
)


def square(*corner, size=4, shape=(12, 12, 1)):
    mask = np.zeros(shape, bool)
    mask[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = True
    return mask


# ----------------------------------------------------------------------------------- by hand


def test_a_square_shifted_by_two_pixels():
    scores = compare(square(2, 2), square(2, 4), AFFINE)
    assert scores["DSC"] == pytest.approx(0.5)  # 8 of 16 pixels in common
    assert scores["J"] == pytest.approx(8 / 24)
    assert scores["TPR"] == scores["P"] == pytest.approx(50)
    assert scores["TNR"] == pytest.approx(100 * 120 / 128)
    assert scores["CC"] == pytest.approx(100 * (1 - 16 / 8))
    # of 12 contour pixels each: the 4 of the far column lie 2 pixels off, the 2 next to them 1;
    # the others lie on rows that both contours share
    assert scores["HSD"] == pytest.approx(0.8)
    forth_mm = [0.8] * 4 + [0.4] * 2 + [0.0] * 2 + [0.0] * 2 + [0.4] * 2
    assert scores["MSD"] == pytest.approx(np.mean(forth_mm))


def test_nested_squares():
    # a 3 x 3 square within a 7 x 7 one, both centred: rings 2 pixels apart
    inner, outer = square(4, 4, size=3, shape=(11, 11, 1)), square(2, 2, size=7, shape=(11, 11, 1))
    affine = np.diag([0.5, 0.5, 3, 1])
    scores = compare(inner, outer, affine)
    assert scores["DSC"] == pytest.approx(2 * 9 / 58)
    assert (scores["TPR"], scores["P"]) == pytest.approx((100 * 9 / 49, 100))
    assert scores["HSD"] == pytest.approx(0.5 * math.hypot(2, 2))  # corner to corner
    # from the inner ring: all 8 pixels are 2 pixels from the outer one
    inwards = [0.5 * math.hypot(2, 2)] * 4 + [0.5 * math.hypot(2, 1)] * 8 + [1.0] * 12
    assert scores["MSD"] == pytest.approx((1.0 + np.mean(inwards)) / 2)


def test_nested_discs_on_a_fine_grid():
    rows, columns = np.ogrid[-60:61, -60:61]
    radius = np.hypot(rows, columns)[..., None] * 0.1
    scores = compare(radius <= 3, radius <= 5, np.diag([0.1, 0.1, 3, 1]))
    for name in ("MSD", "HSD", "HSD95"):  # 2 mm apart everywhere, up to the pixel size
        assert scores[name] == pytest.approx(2, abs=0.08)
    assert scores["DSC"] == pytest.approx(2 * 9 / (9 + 25), abs=0.002)


def test_two_single_voxels():
    first, second = np.zeros((2, 9, 9, 3), bool)
    first[1, 2, 0] = second[4, 6, 2] = True
    scores = compare(first, second, AFFINE)
    distance_mm = math.sqrt((3 * 0.5) ** 2 + (4 * 0.4) ** 2 + (2 * 3) ** 2)
    for name in ("MSD", "HSD", "SHD", "SMD", "HSD95"):
        assert scores[name] == pytest.approx(distance_mm)
    assert scores["DSC"] == scores["J"] == scores["TPR"] == scores["P"] == 0
    assert math.isnan(scores["CC"])
    assert "nothing overlaps" in metrics.why_undefined(first, second)


def test_a_mask_against_itself():
    mask, _ = blobs(0)
    scores = compare(mask, mask, AFFINE)
    assert all(scores[name] == 0 for name in METRICS if METRICS[name].unit == "mm")
    assert scores["DSC"] == scores["J"] == 1
    assert scores["TPR"] == scores["TNR"] == scores["P"] == scores["CC"] == 100


@pytest.mark.parametrize(
    ("prediction", "reference", "defined", "start"),
    [
        (0, 0, {"TNR"}, "both are empty"),
        (0, 1, {"DSC", "J", "TPR", "TNR"}, "the prediction is empty"),
        (1, 0, {"DSC", "J", "P", "TNR"}, "the reference is empty"),
        (1, 1, set(METRICS), ""),
    ],
)
def test_undefined_metrics_of_empty_masks_have_a_reason(prediction, reference, defined, start):
    full, empty = square(2, 2), np.zeros((12, 12, 1), bool)
    pair = [full if filled else empty for filled in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compare(*pair, AFFINE)
    assert {name for name in METRICS if math.isfinite(scores[name])} == defined
    reason = metrics.why_undefined(*pair)
    assert reason.startswith(start)
    assert bool(reason) == bool(start)
    if prediction != reference:
        assert scores["DSC"] == scores["J"] == 0
    for name in set(METRICS) - defined:  # the reason names each, or says distances
        kind = "distances" if METRICS[name].unit == "mm" else name
        assert "all but TNR" in reason or kind in reason


def test_a_reference_that_fills_the_image_has_no_negatives():
    full = np.ones((4, 4, 2), bool)
    assert math.isnan(compare(full, full, AFFINE)["TNR"])
    assert "TNR" in metrics.why_undefined(full, full)


def test_skeletons_of_bars():
    # bars of 3 x 15 pixels, 4 apart: each thins to its middle row, so the rows are 4 apart
    first, second = np.zeros((2, 20, 20, 1), bool)
    first[3:6, 2:17] = second[7:10, 2:17] = True
    scores = compare(first, second, AFFINE)
    assert scores["SMD"] == scores["SHD"] == pytest.approx(4 * 0.5)


# -------------------------------------------------------------------- against other libraries


@pytest.mark.parametrize("seed", range(8))
def test_overlap_and_hausdorff_match_simpleitk(seed):
    sitk = pytest.importorskip("SimpleITK")
    prediction, reference = blobs(seed)
    scores = compare(prediction, reference, AFFINE)

    def image(mask):
        itk = sitk.GetImageFromArray(mask.T.astype(np.uint8))
        itk.SetSpacing(SPACING_MM.tolist())
        return itk

    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(prediction), image(reference))
    assert scores["DSC"] == pytest.approx(overlap.GetDiceCoefficient())
    assert scores["J"] == pytest.approx(overlap.GetJaccardCoefficient())
    assert 1 - scores["TPR"] / 100 == pytest.approx(overlap.GetFalseNegativeError())
    # SimpleITK compares all voxels, not surfaces: give it the surfaces
    surfaces = [metrics.surface(mask) for mask in (prediction, reference)]
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*map(image, surfaces))
    assert scores["HSD"] == pytest.approx(hausdorff.GetHausdorffDistance())


@pytest.mark.parametrize("seed", range(8))
def test_surface_distances_match_medpy(seed):
    medpy = pytest.importorskip("medpy.metric.binary")
    prediction, reference = blobs(seed)
    scores = compare(prediction, reference, AFFINE)
    choices = {"voxelspacing": SPACING_MM, "connectivity": 1}
    # MedPy's assd is different: the mean over both directions' distances together
    pairs = (prediction, reference), (reference, prediction)
    assert scores["MSD"] == pytest.approx(np.mean([medpy.asd(*pair, **choices) for pair in pairs]))
    assert scores["HSD"] == pytest.approx(medpy.hd(prediction, reference, **choices))
    assert scores["HSD95"] == pytest.approx(medpy.hd95(prediction, reference, **choices))
    assert scores["TNR"] / 100 == pytest.approx(medpy.specificity(prediction, reference))
    assert scores["P"] / 100 == pytest.approx(medpy.precision(prediction, reference))
    for k, scores in compare_slices(prediction, reference, AFFINE).items():
        pair = prediction[..., k], reference[..., k]
        if pair[0].any() and pair[1].any():
            in_plane = choices | {"voxelspacing": SPACING_MM[:2]}
            both = [medpy.asd(*order, **in_plane) for order in (pair, pair[::-1])]
            assert scores["MSD"] == pytest.approx(np.mean(both))
            assert scores["HSD"] == pytest.approx(medpy.hd(*pair, **in_plane))


@pytest.mark.parametrize("seed", range(4))
def test_skeleton_distances_match_brute_force(seed):
    from scipy.spatial.distance import cdist
    from skimage.morphology import skeletonize

    prediction, reference = blobs(seed)
    points = []
    for mask in (prediction, reference):
        # the affine is RAS; skeletons are thinned in LAS
        thin = [skeletonize(mask[::-1, :, k])[::-1] for k in range(mask.shape[2])]
        points.append(np.argwhere(np.stack(thin, axis=2)) * SPACING_MM)
    pairs = cdist(*points)
    forth, back = pairs.min(axis=1), pairs.min(axis=0)
    scores = compare(prediction, reference, AFFINE)
    assert scores["SHD"] == pytest.approx(max(forth.max(), back.max()))
    assert scores["SMD"] == pytest.approx(np.median([*forth, *back]))


# ---------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("ornt", ALL_48, ids=lambda o: "".join(f"{int(a)}{f:+.0f}" for a, f in o))
def test_orientation_does_not_matter(ornt):
    affine = AFFINE.copy()
    affine[:3, :3] = ROTATION @ AFFINE[:3, :3]
    masks = [nib.Nifti1Image(mask.astype(np.uint8), affine) for mask in blobs(3)]
    expected = compare(*(np.asarray(m.dataobj) for m in masks), affine)
    turned = [reoriented(mask, ornt) for mask in masks]
    pair = [np.asarray(mask.dataobj) for mask in turned]
    assert compare(*pair, turned[0].affine) == pytest.approx(expected)
    # slices are numbered as in the file
    slices = compare_slices(*pair, turned[0].affine)
    upright = compare_slices(*blobs(3), affine)
    reverse = runs_downwards(turned[0].affine) != runs_downwards(affine)
    for k, scores in slices.items():
        assert scores == pytest.approx(upright[3 - k if reverse else k], nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.1, 5), seed=st.integers(0, 1000))
def test_only_distances_scale_with_the_voxel_size(scale, seed):
    pair = blobs(seed)
    small, large = compare(*pair, AFFINE), compare(*pair, AFFINE * [[scale], [scale], [scale], [1]])
    for name, metric in METRICS.items():
        factor = scale if metric.unit == "mm" else 1
        assert large[name] == pytest.approx(factor * small[name], nan_ok=True)


def test_distances_on_a_sheared_grid():
    affine = AFFINE.copy()
    affine[0, 1] = 0.3  # sheared columns
    first, second = np.zeros((2, 9, 9, 1), bool)
    first[4, 2], second[4, 6] = True, True
    scores = compare(first, second, affine)
    assert scores["HSD"] == pytest.approx(4 * math.hypot(0.3, 0.4))


# ----------------------------------------------------------------------------------- slices


def test_labelled_slices():
    prediction, reference = np.zeros((12, 12, 5), bool), np.zeros((12, 12, 5), bool)
    prediction[2:6, 2:6] = True
    reference[2:6, 2:6, 2] = True
    assert dice(prediction, reference) == pytest.approx(2 / 6)
    assert dice_labelled(prediction, reference) == 1
    whole, labelled = (f(prediction, reference, AFFINE) for f in (compare, compare_labelled))
    assert whole["HSD"] == pytest.approx(6)  # unlabelled GM two slices away
    assert whole["SHD"] == pytest.approx(6)
    assert labelled["DSC"] == 1
    assert labelled["HSD"] == labelled["SHD"] == labelled["MSD"] == 0
    turned = np.moveaxis(prediction, 2, 0), np.moveaxis(reference, 2, 0)
    assert dice_labelled(*turned, axis=0) == 1


def test_a_single_labelled_slice_is_compared_in_plane():
    prediction, reference = np.zeros((2, 12, 12, 5), bool)
    prediction[2:10, 2:10] = reference[4:8, 4:8, 2:3] = True
    scores = compare_labelled(prediction, reference, AFFINE)
    assert scores == pytest.approx(compare_slices(prediction, reference, AFFINE)[2])


def test_compare_slices_in_plane():
    prediction, reference = np.zeros((2, 12, 12, 4), bool)
    prediction[2:6, 2:6, :2] = reference[2:6, 4:8, :1] = reference[2:6, 2:6, 2:3] = True
    slices = compare_slices(prediction, reference, AFFINE)
    assert sorted(slices) == [0, 1, 2]  # the last slice is empty in both
    assert slices[0]["HSD"] == pytest.approx(0.8)
    assert slices[1]["DSC"] == slices[2]["DSC"] == 0
    assert math.isnan(slices[1]["HSD"])
    assert math.isnan(slices[2]["HSD"])
    # a scan of one slice equals that slice
    pair = prediction[..., :1], reference[..., :1]
    assert compare(*pair, AFFINE) == pytest.approx(slices[0])


def test_means_leave_out_undefined_values():
    empty = np.zeros((12, 12, 1), bool)
    scores = [compare(square(2, 2), square(2, c), AFFINE) for c in (2, 4)]
    scores.append(compare(empty, square(2, 2), AFFINE))
    mean, deviation = metrics.mean_of(scores), metrics.deviation_of(scores)
    assert mean["DSC"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert mean["HSD"] == pytest.approx((0 + 0.8) / 2)
    assert deviation["HSD"] == pytest.approx(0.8 / math.sqrt(2))
    assert math.isnan(metrics.deviation_of(scores[:1])["DSC"])
    assert all(math.isnan(value) for value in metrics.mean_of([]).values())


def test_different_shapes_are_refused():
    for function in (compare, compare_labelled, compare_slices):
        with pytest.raises(ValueError, match="shapes differ"):
            function(np.ones((2, 2, 2)), np.ones((2, 3, 2)), AFFINE)
    with pytest.raises(ValueError, match="shapes differ"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
