"""Agreement between a prediction and a reference: the ten metrics of the GM Challenge.

Functions that take an affine find the slice axis and all distances by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from gmseg.core.geometry import slice_axis
from gmseg.core.resampling import reoriented


class Metric(NamedTuple):
    """Name of a metric, and its unit."""

    name: str
    unit: str


METRICS = {
    "DSC": Metric("Dice similarity coefficient", ""),
    "MSD": Metric("mean surface distance", "mm"),
    "HSD": Metric("Hausdorff surface distance", "mm"),
    "SHD": Metric("Hausdorff distance of the skeletons", "mm"),
    "SMD": Metric("median distance of the skeletons", "mm"),
    "TPR": Metric("true positive rate (sensitivity)", "%"),
    "TNR": Metric("true negative rate (specificity)", "%"),
    "P": Metric("precision", "%"),
    "J": Metric("Jaccard index", ""),
    "CC": Metric("conformity coefficient", "%"),
    "HSD95": Metric("95 % Hausdorff surface distance", "mm"),
}
"""The challenge's ten in the paper's order, and the 95 % Hausdorff distance."""


# ------------------------------------------------------------------------------------- Dice


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return the Dice similarity coefficient of two masks, 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.

    Returns
    -------
    float
        0 to 1; NaN if both masks are empty.

    References
    ----------
    Dice, L. R. (1945). Ecology 26(3), 297-302.

    Examples
    --------
    >>> dice(np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]))
    0.5
    """
    return overlap(prediction, reference)["DSC"]


def dice_labelled(prediction: np.ndarray, reference: np.ndarray, axis: int = 2) -> float:
    """Return the Dice coefficient over the slices in which the reference has GM.

    Raters often label only a part of a scan; this leaves out the other slices.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.
    axis : int
        Slice axis.

    Returns
    -------
    float
        0 to 1; NaN if the reference is empty.

    Examples
    --------
    >>> prediction = np.ones((2, 2, 3), bool)  # GM on three slices
    >>> reference = np.zeros((2, 2, 3), bool)
    >>> reference[..., 1] = True  # one of them labelled
    >>> dice(prediction, reference), dice_labelled(prediction, reference)
    (0.5, 1.0)
    """
    keep = labelled_slices(reference, axis)
    return dice(np.compress(keep, prediction, axis=axis), np.compress(keep, reference, axis=axis))


def labelled_slices(reference: np.ndarray, axis: int = 2) -> np.ndarray:
    """Return which slices of a mask have GM, bool, (slices,).

    Examples
    --------
    >>> reference = np.zeros((2, 2, 3))
    >>> reference[0, 0, 1] = 1
    >>> labelled_slices(reference).tolist()
    [False, True, False]
    """
    reference = np.asarray(reference, bool)
    return np.any(reference, axis=tuple(a for a in range(reference.ndim) if a != axis))


# -------------------------------------------------------------------------- all the metrics


def compare(prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """Return all metrics over the whole volume.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        (x, y, z), bool or 0/1.
    affine : numpy.ndarray
        (4, 4), in mm; it may be anisotropic, oblique or sheared.

    Returns
    -------
    dict of str to float
        By the keys of `METRICS`: distances in mm; TPR, TNR, P and CC in %. A metric that is not
        defined is NaN; `why_undefined` says why.

    Notes
    -----
    Distances are between centres of surface voxels, which have a face neighbour outside the mask
    or the image. MSD is the mean of the two directed mean distances, HSD the larger directed
    maximum, HSD95 the 95th percentile of both directions' distances together. SHD and SMD are
    the larger directed maximum and the median between skeletons, thinned slice by slice (Zhang
    and Suen) in LAS orientation, so that the voxel order of the file does not matter. A volume
    of one slice is compared in plane, as in `compare_slices`.

    References
    ----------
    Prados, F. et al. (2017). Spinal cord grey matter segmentation challenge. NeuroImage 152,
    312-329. Chang, H.-H. et al. (2009). Performance measure characterization for evaluating
    neuroimage segmentation algorithms. NeuroImage 47(1), 122-135 (CC). Zhang, T. Y. & Suen,
    C. Y. (1984). Communications of the ACM 27(3), 236-239.

    Examples
    --------
    >>> mask = np.zeros((8, 8, 1), bool)
    >>> mask[2:6, 2:6] = True
    >>> scores = compare(mask, np.roll(mask, 1, axis=0), np.diag([0.5, 0.5, 5, 1]))
    >>> scores["DSC"], scores["HSD"], scores["TPR"]
    (0.75, 0.5, 75.0)
    """
    prediction, reference, affine = _as_las(prediction, reference, affine)
    in_plane = prediction.shape[2] == 1
    return _ordered(
        overlap(prediction, reference)
        | _distances(prediction, reference, affine, surface_in_plane=in_plane)
    )


def compare_labelled(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray
) -> dict[str, float]:
    """Return all metrics over the slices in which the reference has GM.

    Parameters and result are those of `compare`. The other slices count as outside both masks,
    so all GM voxels of a labelled slice without labelled neighbours are surface. A single
    labelled slice is compared in plane.

    Examples
    --------
    >>> prediction = np.ones((4, 4, 3), bool)
    >>> reference = prediction * np.array([False, True, False])
    >>> compare(prediction, reference, np.eye(4))["HSD"]
    1.0
    >>> compare_labelled(prediction, reference, np.eye(4))["HSD"]
    0.0
    """
    prediction, reference, affine = _as_las(prediction, reference, affine)
    keep = labelled_slices(reference)
    return _ordered(
        overlap(prediction[..., keep], reference[..., keep])
        | _distances(prediction & keep, reference, affine, surface_in_plane=keep.sum() == 1)
    )


def compare_slices(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray
) -> dict[int, dict[str, float]]:
    """Return all metrics of every slice in which either mask has GM, in plane.

    Parameters are those of `compare`.

    Returns
    -------
    dict of int to dict
        Number of the slice in the file, counted from 0, to the result of `compare`, with the
        contour in the slice as the surface.

    Examples
    --------
    >>> prediction = np.ones((4, 4, 3), bool) * np.array([True, True, False])
    >>> reference = np.ones((4, 4, 3), bool) * np.array([False, True, False])
    >>> scores = compare_slices(prediction, reference, np.eye(4))
    >>> {number: of_slice["DSC"] for number, of_slice in scores.items()}
    {0: 0.0, 1: 1.0}
    """
    axis = slice_axis(affine)
    prediction, reference = _as_masks(prediction, reference)
    numbers = np.flatnonzero(labelled_slices(prediction | reference, axis))
    return {
        int(k): compare(np.take(prediction, [k], axis), np.take(reference, [k], axis), affine)
        for k in numbers
    }


def why_undefined(prediction: np.ndarray, reference: np.ndarray) -> str:
    """Return which metrics of two masks are not defined and why; "" if all are defined.

    Examples
    --------
    >>> why_undefined(np.array([0, 0]), np.array([0, 1]))
    'the prediction is empty: distances, P and CC are not defined'
    """
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    if not (prediction.any() or reference.any()):
        return "both are empty: all but TNR are not defined"
    if not prediction.any():
        return "the prediction is empty: distances, P and CC are not defined"
    if not reference.any():
        return "the reference is empty: distances, TPR and CC are not defined"
    reasons = []
    if not (prediction & reference).any():
        reasons.append("nothing overlaps: CC is not defined")
    if reference.all():
        reasons.append("the reference fills the image: TNR is not defined")
    return "; ".join(reasons)


def mean_of(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every metric over several comparisons, without undefined values.

    Examples
    --------
    >>> mask = np.ones((2, 2, 1), bool)
    >>> scores = [compare(prediction, mask, np.eye(4)) for prediction in (mask, ~mask)]
    >>> mean_of(scores)["DSC"], mean_of(scores)["HSD"]
    (0.5, 0.0)
    """
    return _over(scores, np.mean)


def deviation_of(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the standard deviation (n - 1) of every metric, without undefined values.

    Examples
    --------
    >>> mask = np.ones((2, 2, 1), bool)
    >>> scores = [compare(prediction, mask, np.eye(4)) for prediction in (mask, ~mask)]
    >>> round(deviation_of(scores)["DSC"], 3), deviation_of(scores)["HSD"]
    (0.707, nan)
    """
    return _over(scores, lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan)


def _over(scores, statistic) -> dict[str, float]:
    table = np.array([[score[name] for name in METRICS] for score in scores], float)
    columns = (column[np.isfinite(column)] for column in table.reshape(-1, len(METRICS)).T)
    return {
        name: float(statistic(column)) if column.size else float("nan")
        for name, column in zip(METRICS, columns, strict=True)
    }


# ---------------------------------------------------------------------------------- overlap


def overlap(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return the metrics that count voxels: DSC, TPR, TNR, P, J and CC.

    Parameters are those of `dice`; the result is like that of `compare`.

    Examples
    --------
    >>> overlap(np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]))
    {'DSC': 0.5, 'TPR': 50.0, 'TNR': 50.0, 'P': 50.0, 'J': 0.3333333333333333, 'CC': -100.0}
    """
    prediction, reference = _as_masks(prediction, reference)
    tp = int(np.count_nonzero(prediction & reference))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    tn = prediction.size - tp - fp - fn
    return {
        "DSC": _ratio(2 * tp, 2 * tp + fp + fn),
        "TPR": 100 * _ratio(tp, tp + fn),
        "TNR": 100 * _ratio(tn, tn + fp),
        "P": 100 * _ratio(tp, tp + fp),
        "J": _ratio(tp, tp + fp + fn),
        "CC": 100 * (1 - _ratio(fp + fn, tp)),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _as_masks(prediction, reference) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks as bool; refuse different shapes."""
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    return prediction, reference


# -------------------------------------------------------------------------------- distances


def _distances(prediction, reference, affine, *, surface_in_plane: bool) -> dict[str, float]:
    """Return MSD, HSD, HSD95, SHD and SMD of two masks in LAS orientation."""
    if not (prediction.any() and reference.any()):
        return dict.fromkeys(("MSD", "HSD", "HSD95", "SHD", "SMD"), float("nan"))
    masks = prediction, reference
    surfaces = (surface(mask, in_plane=surface_in_plane) for mask in masks)
    forth, back = _directed(*(_points_mm(voxels, affine) for voxels in surfaces))
    thin_forth, thin_back = _directed(*(_points_mm(_skeleton(mask), affine) for mask in masks))
    return {
        "MSD": float((forth.mean() + back.mean()) / 2),
        "HSD": float(max(forth.max(), back.max())),
        "HSD95": float(np.percentile(np.concatenate([forth, back]), 95)),
        "SHD": float(max(thin_forth.max(), thin_back.max())),
        "SMD": float(np.median(np.concatenate([thin_forth, thin_back]))),
    }


def surface(mask: np.ndarray, *, in_plane: bool = False) -> np.ndarray:
    """Return the voxels with a face neighbour, of the slice or any, outside the mask or image."""
    neighbours = ndimage.generate_binary_structure(3, 1)
    if in_plane:
        neighbours[..., [0, 2]] = False
    return mask & ~ndimage.binary_erosion(mask, neighbours)


def _skeleton(mask: np.ndarray) -> np.ndarray:
    """Return a mask thinned to lines of one voxel, slice by slice."""
    thin = np.zeros(mask.shape, bool)
    for k in np.flatnonzero(labelled_slices(mask)):
        thin[..., k] = skeletonize(mask[..., k])
    return thin


def _points_mm(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(voxels) @ affine[:3, :3].T


def _directed(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of every point to the nearest of the others, and the reverse."""
    return cKDTree(others).query(points)[0], cKDTree(points).query(others)[0]


def _as_las(prediction, reference, affine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prediction, reference = _as_masks(prediction, reference)
    (prediction, las_affine), (reference, _) = (
        reoriented(mask, affine) for mask in (prediction, reference)
    )
    return prediction.astype(bool), reference.astype(bool), las_affine


def _ordered(scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in METRICS}
