"""The ten metrics: by hand, against other libraries, and in every order of the voxels."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import ALL_48, ROTATION, reoriented

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

SPACING_MM = np.array([0.5, 0.4, 3.0])
AFFINE = np.diag([*SPACING_MM, 1])


def blobs(seed, shape=(24, 22, 4)):
    """Two masks that look alike: smooth noise above a threshold, the second one changed."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2, 0.6))
    first, second = noise[0], 0.8 * noise[0] + 0.6 * noise[1]
    return first > 0.4 * noise.std(), second > 0.4 * noise.std()


def square(*corner, size=4, shape=(12, 12, 1)):
    mask = np.zeros(shape, bool)
    mask[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = True
    return mask


# ----------------------------------------------------------------------------------- by hand


def test_a_square_shifted_by_two_pixels():
    found = compare(square(2, 2), square(2, 4), AFFINE)
    assert found["DSC"] == pytest.approx(0.5)  # 8 of 16 pixels in common
    assert found["J"] == pytest.approx(8 / 24)
    assert found["TPR"] == found["P"] == pytest.approx(50)
    assert found["TNR"] == pytest.approx(100 * 120 / 128)
    assert found["CC"] == pytest.approx(100 * (1 - 16 / 8))
    # of 12 contour pixels each: the 4 of the far column lie 2 pixels off, the 2 next to them 1;
    # the others lie on rows that both contours share
    assert found["HSD"] == pytest.approx(0.8)
    there = [0.8] * 4 + [0.4] * 2 + [0.0] * 2 + [0.0] * 2 + [0.4] * 2
    assert found["MSD"] == pytest.approx(np.mean(there))


def test_nested_squares():
    # a 3 x 3 square within a 7 x 7 one, both centred: rings 2 pixels apart
    inner, outer = square(4, 4, size=3, shape=(11, 11, 1)), square(2, 2, size=7, shape=(11, 11, 1))
    affine = np.diag([0.5, 0.5, 3, 1])
    found = compare(inner, outer, affine)
    assert found["DSC"] == pytest.approx(2 * 9 / 58)
    assert (found["TPR"], found["P"]) == pytest.approx((100 * 9 / 49, 100))
    assert found["HSD"] == pytest.approx(0.5 * math.hypot(2, 2))  # corner to corner
    # from within: all 8 are 2 pixels from the outer ring
    inwards = [0.5 * math.hypot(2, 2)] * 4 + [0.5 * math.hypot(2, 1)] * 8 + [1.0] * 12
    assert found["MSD"] == pytest.approx((1.0 + np.mean(inwards)) / 2)


def test_nested_discs_on_a_fine_grid():
    rows, columns = np.ogrid[-60:61, -60:61]
    radius = np.hypot(rows, columns)[..., None] * 0.1
    found = compare(radius <= 3, radius <= 5, np.diag([0.1, 0.1, 3, 1]))
    for name in ("MSD", "HSD", "HSD95"):  # 2 mm apart everywhere, but for the pixels
        assert found[name] == pytest.approx(2, abs=0.08)
    assert found["DSC"] == pytest.approx(2 * 9 / (9 + 25), abs=0.002)


def test_one_voxel_and_another():
    one, other = np.zeros((2, 9, 9, 3), bool)
    one[1, 2, 0] = other[4, 6, 2] = True
    found = compare(one, other, AFFINE)
    apart_mm = math.sqrt((3 * 0.5) ** 2 + (4 * 0.4) ** 2 + (2 * 3) ** 2)
    for name in ("MSD", "HSD", "SHD", "SMD", "HSD95"):
        assert found[name] == pytest.approx(apart_mm)
    assert found["DSC"] == found["J"] == found["TPR"] == found["P"] == 0
    assert math.isnan(found["CC"])
    assert "nothing overlaps" in metrics.why_undefined(one, other)


def test_a_mask_equals_itself():
    mask, _ = blobs(0)
    found = compare(mask, mask, AFFINE)
    assert all(found[name] == 0 for name in METRICS if METRICS[name].unit == "mm")
    assert found["DSC"] == found["J"] == 1
    assert found["TPR"] == found["TNR"] == found["P"] == found["CC"] == 100


@pytest.mark.parametrize(
    ("prediction", "reference", "defined", "why"),
    [
        (0, 0, {"TNR"}, "both are empty"),
        (0, 1, {"DSC", "J", "TPR", "TNR"}, "the prediction is empty"),
        (1, 0, {"DSC", "J", "P", "TNR"}, "the reference is empty"),
        (1, 1, set(METRICS), ""),
    ],
)
def test_empty_masks_are_undefined_and_told(prediction, reference, defined, why):
    full, empty = square(2, 2), np.zeros((12, 12, 1), bool)
    pair = [full if wanted else empty for wanted in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(*pair, AFFINE)
    assert {name for name in METRICS if math.isfinite(found[name])} == defined
    told = metrics.why_undefined(*pair)
    assert told.startswith(why)
    assert bool(told) == bool(why)
    if prediction != reference:
        assert found["DSC"] == found["J"] == 0
    for name in set(METRICS) - defined:  # what is left out is told: by name, or as distances
        kind = "distances" if METRICS[name].unit == "mm" else name
        assert "all but TNR" in told or kind in told


def test_a_reference_that_fills_the_image_has_no_negatives():
    full = np.ones((4, 4, 2), bool)
    assert math.isnan(compare(full, full, AFFINE)["TNR"])
    assert "TNR" in metrics.why_undefined(full, full)


def test_skeletons_of_bars():
    # bars of 3 x 15 pixels, 4 apart: each thins to its middle row, so the rows are 4 apart
    one, other = np.zeros((2, 20, 20, 1), bool)
    one[3:6, 2:17] = other[7:10, 2:17] = True
    found = compare(one, other, AFFINE)
    assert found["SMD"] == found["SHD"] == pytest.approx(4 * 0.5)


# -------------------------------------------------------------------- against other libraries


@pytest.mark.parametrize("seed", range(8))
def test_overlap_and_hausdorff_equal_simpleitk(seed):
    sitk = pytest.importorskip("SimpleITK")
    prediction, reference = blobs(seed)
    found = compare(prediction, reference, AFFINE)

    def image(mask):
        made = sitk.GetImageFromArray(mask.T.astype(np.uint8))
        made.SetSpacing(SPACING_MM.tolist())
        return made

    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(prediction), image(reference))
    assert found["DSC"] == pytest.approx(overlap.GetDiceCoefficient())
    assert found["J"] == pytest.approx(overlap.GetJaccardCoefficient())
    assert 1 - found["TPR"] / 100 == pytest.approx(overlap.GetFalseNegativeError())
    # SimpleITK's is between whole sets of voxels: equal for the surfaces taken as such
    surfaces = [metrics.surface(mask) for mask in (prediction, reference)]
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*map(image, surfaces))
    assert found["HSD"] == pytest.approx(hausdorff.GetHausdorffDistance())


@pytest.mark.parametrize("seed", range(8))
def test_surface_distances_equal_medpy(seed):
    medpy = pytest.importorskip("medpy.metric.binary")
    prediction, reference = blobs(seed)
    found = compare(prediction, reference, AFFINE)
    choices = {"voxelspacing": SPACING_MM, "connectivity": 1}
    # MedPy's assd is another one: the mean of both directions' distances together
    pairs = (prediction, reference), (reference, prediction)
    assert found["MSD"] == pytest.approx(np.mean([medpy.asd(*pair, **choices) for pair in pairs]))
    assert found["HSD"] == pytest.approx(medpy.hd(prediction, reference, **choices))
    assert found["HSD95"] == pytest.approx(medpy.hd95(prediction, reference, **choices))
    assert found["TNR"] / 100 == pytest.approx(medpy.specificity(prediction, reference))
    assert found["P"] / 100 == pytest.approx(medpy.precision(prediction, reference))
    for k, scores in compare_slices(prediction, reference, AFFINE).items():
        pair = prediction[..., k], reference[..., k]
        if pair[0].any() and pair[1].any():
            in_plane = choices | {"voxelspacing": SPACING_MM[:2]}
            both = [medpy.asd(*order, **in_plane) for order in (pair, pair[::-1])]
            assert scores["MSD"] == pytest.approx(np.mean(both))
            assert scores["HSD"] == pytest.approx(medpy.hd(*pair, **in_plane))


@pytest.mark.parametrize("seed", range(4))
def test_skeleton_distances_equal_those_of_all_pairs(seed):
    from scipy.spatial.distance import cdist
    from skimage.morphology import skeletonize

    prediction, reference = blobs(seed)
    points = []
    for mask in (prediction, reference):
        # the affine's axes point right, forward, up; the skeleton is drawn in LAS
        thin = [skeletonize(mask[::-1, :, k])[::-1] for k in range(mask.shape[2])]
        points.append(np.argwhere(np.stack(thin, axis=2)) * SPACING_MM)
    far = cdist(*points)
    there, back = far.min(axis=1), far.min(axis=0)
    found = compare(prediction, reference, AFFINE)
    assert found["SHD"] == pytest.approx(max(there.max(), back.max()))
    assert found["SMD"] == pytest.approx(np.median([*there, *back]))


# ---------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("ornt", ALL_48, ids=lambda o: "".join(f"{int(a)}{f:+.0f}" for a, f in o))
def test_the_order_of_the_voxels_does_not_matter(ornt):
    import nibabel as nib

    affine = AFFINE.copy()
    affine[:3, :3] = ROTATION @ AFFINE[:3, :3]
    masks = [nib.Nifti1Image(mask.astype(np.uint8), affine) for mask in blobs(3)]
    truth = compare(*(np.asarray(m.dataobj) for m in masks), affine)
    turned = [reoriented(mask, ornt) for mask in masks]
    pair = [np.asarray(mask.dataobj) for mask in turned]
    assert compare(*pair, turned[0].affine) == pytest.approx(truth)
    # slices keep the number that they have in the file
    slices = compare_slices(*pair, turned[0].affine)
    upright = compare_slices(*blobs(3), affine)
    reverse = runs_downwards(turned[0].affine) != runs_downwards(affine)
    for k, scores in slices.items():
        assert scores == pytest.approx(upright[3 - k if reverse else k], nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.1, 5), seed=st.integers(0, 1000))
def test_distances_grow_with_the_voxels_and_nothing_else_does(scale, seed):
    pair = blobs(seed)
    small, large = compare(*pair, AFFINE), compare(*pair, AFFINE * [[scale], [scale], [scale], [1]])
    for name, metric in METRICS.items():
        factor = scale if metric.unit == "mm" else 1
        assert large[name] == pytest.approx(factor * small[name], nan_ok=True)


def test_a_sheared_grid_is_measured_in_space():
    affine = AFFINE.copy()
    affine[0, 1] = 0.3  # columns lean to the side
    one, other = np.zeros((2, 9, 9, 1), bool)
    one[4, 2], other[4, 6] = True, True
    found = compare(one, other, affine)
    assert found["HSD"] == pytest.approx(4 * math.hypot(0.3, 0.4))


# ----------------------------------------------------------------------------------- slices


def test_only_labelled_slices_count():
    prediction, reference = np.zeros((12, 12, 5), bool), np.zeros((12, 12, 5), bool)
    prediction[2:6, 2:6] = True
    reference[2:6, 2:6, 2] = True
    assert dice(prediction, reference) == pytest.approx(2 / 6)
    assert dice_labelled(prediction, reference) == 1
    whole, labelled = (f(prediction, reference, AFFINE) for f in (compare, compare_labelled))
    assert whole["HSD"] == pytest.approx(6)  # the GM that nobody labelled, two slices away
    assert whole["SHD"] == pytest.approx(6)
    assert labelled["DSC"] == 1
    assert labelled["HSD"] == labelled["SHD"] == labelled["MSD"] == 0
    turned = np.moveaxis(prediction, 2, 0), np.moveaxis(reference, 2, 0)
    assert dice_labelled(*turned, axis=0) == 1


def test_a_single_labelled_slice_is_compared_in_plane():
    prediction, reference = np.zeros((2, 12, 12, 5), bool)
    prediction[2:10, 2:10] = reference[4:8, 4:8, 2:3] = True
    found = compare_labelled(prediction, reference, AFFINE)
    assert found == pytest.approx(compare_slices(prediction, reference, AFFINE)[2])


def test_every_slice_in_plane():
    prediction, reference = np.zeros((2, 12, 12, 4), bool)
    prediction[2:6, 2:6, :2] = reference[2:6, 4:8, :1] = reference[2:6, 2:6, 2:3] = True
    found = compare_slices(prediction, reference, AFFINE)
    assert sorted(found) == [0, 1, 2]  # the last one is empty in both
    assert found[0]["HSD"] == pytest.approx(0.8)
    assert found[1]["DSC"] == found[2]["DSC"] == 0
    assert math.isnan(found[1]["HSD"])
    assert math.isnan(found[2]["HSD"])
    # a scan of one slice is that slice
    pair = prediction[..., :1], reference[..., :1]
    assert compare(*pair, AFFINE) == pytest.approx(found[0])


def test_means_leave_out_what_is_not_defined():
    empty = np.zeros((12, 12, 1), bool)
    scores = [compare(square(2, 2), square(2, c), AFFINE) for c in (2, 4)]
    scores.append(compare(empty, square(2, 2), AFFINE))
    mean, deviation = metrics.mean_of(scores), metrics.deviation_of(scores)
    assert mean["DSC"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert mean["HSD"] == pytest.approx((0 + 0.8) / 2)
    assert deviation["HSD"] == pytest.approx(0.8 / math.sqrt(2))
    assert math.isnan(metrics.deviation_of(scores[:1])["DSC"])
    assert all(math.isnan(value) for value in metrics.mean_of([]).values())


def test_shapes_must_agree():
    for function in (compare, compare_labelled, compare_slices):
        with pytest.raises(ValueError, match="shapes differ"):
            function(np.ones((2, 2, 2)), np.ones((2, 3, 2)), AFFINE)
    with pytest.raises(ValueError, match="shapes differ"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
