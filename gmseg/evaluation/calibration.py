"""How far to trust a soft segmentation, and how well a measurement repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from gmseg.errors import InputError


def near_border(
    reference: np.ndarray, spacing_mm: Sequence[float], within_mm: float = 2.0, axis: int = 2
) -> np.ndarray:
    """Return which voxels lie near the border of the reference's GM, within their slice.

    Nearly all voxels of a scan are far from any GM and right without effort; how good a soft
    segmentation is shows at the border.

    Parameters
    ----------
    reference : numpy.ndarray
        bool or 0/1, 3-D.
    spacing_mm : sequence of 3 floats
        Voxel size along the array's axes, in mm.
    within_mm : float
        The largest distance, in mm, from the voxel's centre to the border.
    axis : int
        The slice axis: distances are taken within the slice.

    Returns
    -------
    numpy.ndarray
        bool, the reference's shape. Slices without GM have no border, so nothing in them is
        near it.

    Notes
    -----
    The border runs along the edges between pixels of GM and others; the distance to it is exact.
    Where GM leaves the image, there is no border.
    """
    planes = np.moveaxis(np.asarray(reference, bool), axis, 0)
    in_plane_mm = np.delete(np.asarray(spacing_mm, float), axis)
    near = np.zeros(planes.shape, bool)
    for plane, found in zip(planes, near, strict=True):
        border = _border(plane)
        if border.any():
            distance = ndimage.distance_transform_edt(~border, sampling=in_plane_mm / 2)
            found[:] = distance[1::2, 1::2] <= within_mm + 1e-6  # so that 5 x 0.4 mm is 2 mm
    return np.moveaxis(near, 0, axis)


def _border(plane: np.ndarray) -> np.ndarray:
    """Return the border's points on a grid of half pixels, (2 rows + 1, 2 columns + 1).

    Pixels have odd indices there. The point of an edge that is nearest to a pixel's centre is
    always the edge's middle or one of its ends, so marking these three is exact.
    """
    rows, columns = plane.shape
    border = np.zeros((2 * rows + 1, 2 * columns + 1), bool)
    across, along = plane[1:] != plane[:-1], plane[:, 1:] != plane[:, :-1]
    for shift in (0, 1, 2):
        border[2:-1:2, shift : 2 * columns - 1 + shift : 2] |= across
        border[shift : 2 * rows - 1 + shift : 2, 2:-1:2] |= along
    return border


class Reliability(NamedTuple):
    """What became of voxels with like soft values, per bin of equal width from 0 to 1.

    Attributes
    ----------
    count : numpy.ndarray
        float64, (bins,): voxels; after `pooled`, their share.
    mean_soft, gm_share : numpy.ndarray
        float64, (bins,): the mean of the soft segmentation, and the share of voxels that are GM
        in the reference; NaN in empty bins.
    """

    count: np.ndarray
    mean_soft: np.ndarray
    gm_share: np.ndarray


def reliability(
    soft: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None, *, bins: int = 10
) -> Reliability:
    """Sort voxels by their soft value and compare each bin with the reference.

    Parameters
    ----------
    soft : numpy.ndarray
        Probability of GM, 0 to 1.
    reference : numpy.ndarray
        bool or 0/1, the same shape.
    where : numpy.ndarray, optional
        bool, the same shape: the voxels that count, such as from `near_border`; all by default.
    bins : int
        Of equal width; a value on the edge between two belongs to the upper one, 1 to the last.

    Returns
    -------
    Reliability

    Raises
    ------
    gmseg.errors.InputError
        If the reference labels nothing, no voxel counts, or soft values are not within 0 to 1.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. & Weinberger, K. Q. (2017). On calibration of modern neural
    networks. ICML, PMLR 70, 1321-1330. They bin the confidence in the likelier class; here it
    is the probability of GM, so that too much GM and too little can be told apart.
    """
    soft, reference = np.asarray(soft, float), np.asarray(reference, bool)
    where = np.ones(soft.shape, bool) if where is None else np.asarray(where, bool)
    if not soft.shape == reference.shape == where.shape:
        raise ValueError(f"shapes differ: {soft.shape}, {reference.shape} and {where.shape}")
    if not reference.any():
        raise InputError("the reference labels nothing; give one that marks some gray matter")
    if not where.any():
        raise InputError("no voxel is to be counted; widen the distance to the border")
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
    """Put several scans' tables together, each scan with the same weight.

    Parameters
    ----------
    tables : sequence of Reliability
        From `reliability`, with the same bins.

    Returns
    -------
    Reliability
        Its count is the share of voxels in each bin: a scan of many voxels counts no more
        than one of few.
    """
    if not tables:
        raise InputError("there is no scan to pool; give one at least")
    shares = np.array([table.count / table.count.sum() for table in tables])
    sums = (
        (shares * np.nan_to_num([table[column] for table in tables])).sum(axis=0)
        for column in (1, 2)
    )
    share = shares.sum(axis=0)
    return Reliability(share / len(tables), *(_ratio(total, share) for total in sums))


def expected_calibration_error(table: Reliability) -> float:
    """Expected calibration error: how far soft values are from shares of GM, on the average.

    Parameters
    ----------
    table : Reliability
        From `reliability` or `pooled`.

    Returns
    -------
    float
        0 to 1: the mean over the bins of abs(gm_share - mean_soft), each bin weighted by its
        share of the voxels (Guo et al. 2017, see `reliability`). Empty bins weigh nothing.
    """
    gap = np.nan_to_num(np.abs(table.gm_share - table.mean_soft))
    return float((table.count * gap).sum() / table.count.sum())


def coefficient_of_variation_percent(first: np.ndarray, second: np.ndarray) -> float:
    """Within-subject coefficient of variation of what was measured twice.

    Parameters
    ----------
    first, second : array_like
        (pairs,): the first and the second measurement of each scan-rescan pair, above 0, such
        as areas in mm^2.

    Returns
    -------
    float
        In %: of each pair the standard deviation abs(a - b) / sqrt(2) over the mean
        (a + b) / 2, and of these the root mean square over the pairs.

    Raises
    ------
    gmseg.errors.InputError
        If there is no pair, or one without a mean above 0.

    References
    ----------
    Hyslop, N. P. & White, W. H. (2009). Estimating precision using duplicate measurements.
    J. Air & Waste Manage. Assoc. 59(9), 1032-1039.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"no pairs: shapes {first.shape} and {second.shape}")
    if first.size == 0:
        raise InputError("there is no scan-rescan pair; give one at least")
    mean = (first + second) / 2
    if not (mean > 0).all():
        raise InputError(
            f"pair {np.flatnonzero(~(mean > 0))[0]}, counted from 0, has no mean above 0; "
            f"leave out pairs in which nothing was found"
        )
    return float(100 * np.sqrt(np.mean((first - second) ** 2 / 2 / mean**2)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
