"""Agreement between a prediction and a reference: the challenge's ten metrics.

Every function takes masks of the whole scan, (x, y, z), and the scan's affine, from which the
slice axis and all distances come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from gmseg.core.geometry import slice_axis
from gmseg.core.resampling import reoriented


class Metric(NamedTuple):
    """What a metric is called, and its unit."""

    what: str
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
"""The ten of the challenge, in the paper's order, and the Hausdorff distance at 95 %."""


# ------------------------------------------------------------------------------------- Dice


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice similarity coefficient of two masks, 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.

    Returns
    -------
    float
        0 to 1; NaN where both masks are empty, for then there is nothing to agree about.

    References
    ----------
    Dice, L. R. (1945). Ecology 26(3), 297-302.
    """
    return overlap(prediction, reference)["DSC"]


def labelled_slices(reference: np.ndarray, axis: int = 2) -> np.ndarray:
    """Return which slices of a reference hold any GM, bool (slices,)."""
    reference = np.asarray(reference, bool)
    return reference.any(axis=tuple(a for a in range(reference.ndim) if a != axis))


def dice_labelled(prediction: np.ndarray, reference: np.ndarray, axis: int = 2) -> float:
    """Dice over the slices that the reference labels: raters often label a part.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.
    axis : int
        The slice axis.

    Returns
    -------
    float
        0 to 1; NaN where the reference is empty.
    """
    keep = labelled_slices(reference, axis)
    return dice(np.compress(keep, prediction, axis=axis), np.compress(keep, reference, axis=axis))


# ------------------------------------------------------------------------- all the metrics


def compare(prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """Return all metrics over the whole volume.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        (x, y, z), bool or 0/1.
    affine : numpy.ndarray
        (4, 4), in mm. Distances are exact for any, sheared ones included.

    Returns
    -------
    dict of str to float
        By the names in `METRICS`: distances in mm, TPR, TNR, P and CC in %. NaN where a metric
        is not defined, which `why_undefined` puts into words.

    Notes
    -----
    A mask's surface are its voxels of which a face neighbour is outside the mask or the image;
    distances are between the centres of surface voxels, MSD is the mean of the two directed
    mean distances, HSD the larger of the two directed maxima, HSD95 the 95th percentile of both
    directions' distances together. Skeletons are thinned slice by slice, in plane (Zhang and
    Suen, in LAS orientation, so that the order of the voxels in the file does not matter); SHD
    is the larger directed maximum of their distances, SMD the median of both directions'
    distances together. A volume of one slice is compared in plane, as in `compare_slices`.

    References
    ----------
    Prados, F. et al. (2017). Spinal cord grey matter segmentation challenge. NeuroImage 152,
    312-329. Chang, H.-H. et al. (2009). Performance measure characterization for evaluating
    neuroimage segmentation algorithms. NeuroImage 47(1), 122-135, for CC. Zhang, T. Y. & Suen,
    C. Y. (1984). Communications of the ACM 27(3), 236-239.
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

    The others are taken as if they had not been segmented: raters often label a part of the
    scan, and GM that they had no mind to draw is no error. See `compare`: other slices count as
    outside the mask, so that the surface of a labelled slice without labelled neighbours is all
    of its GM; where there is but one labelled slice, it is compared in plane.
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

    Returns
    -------
    dict of int to dict
        By the slice's number in the file, counted from 0; of each what `compare` returns, with
        the contour in the slice as the surface. Slices that are empty in both are not there.
    """
    axis = slice_axis(affine)
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    _check_shapes(prediction, reference)
    found = np.flatnonzero(labelled_slices(prediction | reference, axis))
    return {
        int(k): compare(np.take(prediction, [k], axis), np.take(reference, [k], axis), affine)
        for k in found
    }


def why_undefined(prediction: np.ndarray, reference: np.ndarray) -> str:
    """Return why some metrics of two masks are not defined, and which; "" if all are."""
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
    """Return the mean of every metric over several comparisons, those undefined left out."""
    return _over(scores, np.mean)


def deviation_of(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return every metric's standard deviation (n - 1) over several comparisons, as `mean_of`."""
    return _over(scores, lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan)


def _over(scores, statistic) -> dict[str, float]:
    table = np.array([[score[name] for name in METRICS] for score in scores], float)
    columns = (column[np.isfinite(column)] for column in table.reshape(-1, len(METRICS)).T)
    return {
        name: float(statistic(column)) if column.size else float("nan")
        for name, column in zip(METRICS, columns, strict=True)
    }


# ------------------------------------------------------------------------- voxels in common


def overlap(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return the metrics that count voxels: DSC, TPR, TNR, P, J and CC.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool or 0/1, the same shape.

    Returns
    -------
    dict of str to float
        TPR, TNR, P and CC in %; NaN where the formula divides by 0: of empty masks (see
        `why_undefined`), and CC = 1 - (FP + FN) / TP where nothing overlaps.
    """
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    _check_shapes(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    extra = int(np.count_nonzero(prediction)) - both
    missed = int(np.count_nonzero(reference)) - both
    neither = prediction.size - both - extra - missed
    return {
        "DSC": _ratio(2 * both, 2 * both + extra + missed),
        "TPR": 100 * _ratio(both, both + missed),
        "TNR": 100 * _ratio(neither, neither + extra),
        "P": 100 * _ratio(both, both + extra),
        "J": _ratio(both, both + extra + missed),
        "CC": 100 * (1 - _ratio(extra + missed, both)),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check_shapes(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")


# -------------------------------------------------------------------------------- distances


def _distances(prediction, reference, affine, *, surface_in_plane: bool) -> dict[str, float]:
    """Return MSD, HSD, HSD95, SHD and SMD of two masks in LAS orientation."""
    if not (prediction.any() and reference.any()):
        return dict.fromkeys(("MSD", "HSD", "HSD95", "SHD", "SMD"), float("nan"))
    masks = prediction, reference
    surfaces = (surface(mask, in_plane=surface_in_plane) for mask in masks)
    there, back = _directed(*(_points_mm(voxels, affine) for voxels in surfaces))
    there_thin, back_thin = _directed(*(_points_mm(skeleton(mask), affine) for mask in masks))
    return {
        "MSD": float((there.mean() + back.mean()) / 2),
        "HSD": float(max(there.max(), back.max())),
        "HSD95": float(np.percentile(np.concatenate([there, back]), 95)),
        "SHD": float(max(there_thin.max(), back_thin.max())),
        "SMD": float(np.median(np.concatenate([there_thin, back_thin]))),
    }


def surface(mask: np.ndarray, *, in_plane: bool = False) -> np.ndarray:
    """Return the voxels of a mask that touch its outside with a face, bool.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns, slices). Beyond the array is outside.
    in_plane : bool
        Only neighbours in the same slice count.
    """
    touching = ndimage.generate_binary_structure(3, 1)
    if in_plane:
        touching[..., [0, 2]] = False
    return mask & ~ndimage.binary_erosion(mask, touching)


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Return a mask thinned to lines of one voxel, slice by slice, bool.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns, slices).
    """
    thin = np.zeros(mask.shape, bool)
    for k in np.flatnonzero(labelled_slices(mask)):
        thin[..., k] = skeletonize(mask[..., k])
    return thin


def _points_mm(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(voxels) @ affine[:3, :3].T


def _directed(points: np.ndarray, others: np.ndarray) -> Iterable[np.ndarray]:
    """Return every point's distance to the nearest of the others, and the other way round."""
    return cKDTree(others).query(points)[0], cKDTree(points).query(others)[0]


def _as_las(prediction, reference, affine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    _check_shapes(prediction, reference)
    (prediction, las_affine), (reference, _) = (
        reoriented(mask, affine) for mask in (prediction, reference)
    )
    return prediction.astype(bool), reference.astype(bool), las_affine


def _ordered(scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in METRICS}
