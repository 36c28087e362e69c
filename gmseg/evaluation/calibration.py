"""Calibration of soft segmentations, and repeatability of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gmseg.errors import InputError


def near_border(
    reference: np.ndarray, spacing_mm: Sequence[float], within_mm: float = 2.0, axis: int = 2
) -> np.ndarray:
    """Return which voxels are near the border of the reference's GM, within their slice.

    Most voxels of a scan are far from GM and easy to classify; the quality of a soft
    segmentation shows near the border.

    Parameters
    ----------
    reference : numpy.ndarray
        bool or 0/1, 3-D.
    spacing_mm : sequence of 3 floats
        Voxel size along the axes of the array, in mm.
    within_mm : float
        Largest distance from the centre of a voxel to the border, in mm.
    axis : int
        Slice axis.

    Returns
    -------
    numpy.ndarray
        bool, the shape of the reference; False in slices without GM.

    Notes
    -----
    The border consists of the edges between GM pixels and others; distances to it are exact.
    The edge of the image is no border.

    Examples
    --------
    >>> reference = np.zeros((6, 1, 1), bool)
    >>> reference[:3] = True
    >>> near_border(reference, (1, 1, 5), within_mm=1.5).ravel().tolist()
    [False, True, True, True, True, False]
    """
    slices = np.moveaxis(np.asarray(reference, bool), axis, 0)
    in_plane_mm = np.delete(np.asarray(spacing_mm, float), axis)
    near = np.zeros(slices.shape, bool)
    for k, gm in enumerate(slices):
        border = _border(gm)
        if border.any():
            distance_mm = ndimage.distance_transform_edt(~border, sampling=in_plane_mm / 2)
            # rounding must not exclude 5 pixels of 0.4 mm from 2 mm
            near[k] = distance_mm[1::2, 1::2] <= within_mm + 1e-6
    return np.moveaxis(near, 0, axis)


def _border(gm: np.ndarray) -> np.ndarray:
    """Return the border on a grid of half pixels, (2 rows + 1, 2 columns + 1).

    Pixel centres have odd indices. The point of an edge that is nearest to a pixel centre is the
    middle of the edge or one of its ends, so marking these three is exact.
    """
    rows, columns = gm.shape
    border = np.zeros((2 * rows + 1, 2 * columns + 1), bool)
    between_rows, between_columns = gm[1:] != gm[:-1], gm[:, 1:] != gm[:, :-1]
    for shift in (0, 1, 2):
        border[2:-1:2, shift : 2 * columns - 1 + shift : 2] |= between_rows
        border[shift : 2 * rows - 1 + shift : 2, 2:-1:2] |= between_columns
    return border


@dataclass(frozen=True)
class Reliability:
    """Reliability table: soft values and GM fractions per bin of equal width from 0 to 1.

    Attributes
    ----------
    count : numpy.ndarray
        float64, (bins,): number of voxels; after `pooled` their mean fraction of a scan's voxels.
    mean_soft : numpy.ndarray
        float64, (bins,): mean of the soft segmentation; NaN in empty bins.
    gm_share : numpy.ndarray
        float64, (bins,): fraction of voxels that are GM in the reference; NaN in empty bins.
    """

    count: np.ndarray
    mean_soft: np.ndarray
    gm_share: np.ndarray


def reliability(
    soft: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None, *, bins: int = 10
) -> Reliability:
    """Bin voxels by their soft value and compare each bin with the reference.

    Parameters
    ----------
    soft : numpy.ndarray
        Probability of GM, 0 to 1.
    reference : numpy.ndarray
        bool or 0/1, the same shape.
    where : numpy.ndarray, optional
        bool, the same shape: voxels to count, such as from `near_border`. By default all.
    bins : int
        Number of bins. A value between two bins belongs to the upper one, 1 to the last.

    Returns
    -------
    Reliability

    Raises
    ------
    gmseg.errors.InputError
        If the reference is empty, no voxel is counted, or soft values are not within 0 to 1.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. & Weinberger, K. Q. (2017). On calibration of modern neural
    networks. ICML, PMLR 70, 1321-1330. They bin the confidence in the predicted class; here it
    is the probability of GM, which distinguishes too much GM from too little.

    Examples
    --------
    >>> table = reliability(np.array([0.1, 0.3, 0.9]), np.array([0, 1, 1]), bins=2)
    >>> table.count.tolist(), table.gm_share.tolist()
    ([2.0, 1.0], [0.5, 1.0])
    """
    soft, reference = np.asarray(soft, float), np.asarray(reference, bool)
    where = np.ones(soft.shape, bool) if where is None else np.asarray(where, bool)
    if not soft.shape == reference.shape == where.shape:
        raise ValueError(f"shapes differ: {soft.shape}, {reference.shape} and {where.shape}")
    if not reference.any():
        raise InputError("the reference is empty; give one with gray matter")
    if not where.any():
        raise InputError("no voxel is counted; increase `within_mm`")
    soft, reference = soft[where], reference[where]
    if not ((soft >= 0) & (soft <= 1)).all():
        raise InputError("soft values are not all within 0 to 1; give a soft segmentation")
    index = np.minimum((soft * bins).astype(int), bins - 1)
    count, soft_sum, gm_sum = (
        np.bincount(index, weights=weights, minlength=bins).astype(float)
        for weights in (None, soft, reference)
    )
    return Reliability(count, _ratio(soft_sum, count), _ratio(gm_sum, count))


def pooled(tables: Sequence[Reliability]) -> Reliability:
    """Combine the tables of several scans with the same weight for each scan.

    Parameters
    ----------
    tables : sequence of Reliability
        From `reliability`, with the same bins.

    Returns
    -------
    Reliability
        Its counts are fractions, so that a scan of many voxels weighs no more than a small one.

    Raises
    ------
    gmseg.errors.InputError
        If there is no table.

    Examples
    --------
    >>> small = reliability(np.array([0.2]), np.array([1]), bins=2)
    >>> large = reliability(np.full(99, 0.8), np.ones(99), bins=2)
    >>> pooled([small, large]).count.tolist()
    [0.5, 0.5]
    """
    if not tables:
        raise InputError("there is no scan to pool; give at least one")
    weights = np.array([table.count / table.count.sum() for table in tables])
    total = weights.sum(axis=0)
    soft_sum = (weights * np.nan_to_num([table.mean_soft for table in tables])).sum(axis=0)
    gm_sum = (weights * np.nan_to_num([table.gm_share for table in tables])).sum(axis=0)
    return Reliability(total / len(tables), _ratio(soft_sum, total), _ratio(gm_sum, total))


def expected_calibration_error(table: Reliability) -> float:
    """Return the expected calibration error of a soft segmentation.

    Parameters
    ----------
    table : Reliability
        From `reliability` or `pooled`.

    Returns
    -------
    float
        0 to 1: mean of abs(gm_share - mean_soft) over the bins, weighted by their voxels (Guo
        et al. 2017, see `reliability`).

    Examples
    --------
    >>> round(expected_calibration_error(reliability(np.full(4, 0.9), np.array([1, 1, 1, 0]))), 2)
    0.15
    """
    gap = np.nan_to_num(np.abs(table.gm_share - table.mean_soft))
    return float((table.count * gap).sum() / table.count.sum())


def coefficient_of_variation_percent(first: np.ndarray, second: np.ndarray) -> float:
    """Return the within-subject coefficient of variation of scan-rescan measurements.

    Parameters
    ----------
    first, second : array_like
        (pairs,): first and second measurement of each pair, above 0, such as areas in mm^2.

    Returns
    -------
    float
        In %: the root mean square over the pairs of the standard deviation abs(a - b) / sqrt(2)
        divided by the mean (a + b) / 2.

    Raises
    ------
    gmseg.errors.InputError
        If there is no pair, or one whose mean is not above 0.

    References
    ----------
    Hyslop, N. P. & White, W. H. (2009). Estimating precision using duplicate measurements.
    J. Air & Waste Manage. Assoc. 59(9), 1032-1039.

    Examples
    --------
    >>> round(coefficient_of_variation_percent([9, 10], [11, 10]), 3)
    10.0
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"no pairs: shapes {first.shape} and {second.shape}")
    if first.size == 0:
        raise InputError("there is no scan-rescan pair; give at least one")
    mean = (first + second) / 2
    if not (mean > 0).all():
        raise InputError(
            f"pair {np.flatnonzero(~(mean > 0))[0]}, counted from 0, has no mean above 0; "
            f"leave out pairs without a measurement"
        )
    return float(100 * np.sqrt(np.mean((first - second) ** 2 / 2 / mean**2)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
