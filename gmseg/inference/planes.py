"""Small steps on pictures, by NumPy alone.

SciPy's `ndimage` has all of this, and takes longer to import than a scan takes to segment; the
tests compare each step with it.
"""

from __future__ import annotations

import math

import numpy as np


def sampled(data: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sample a picture at the places of a grid, linearly.

    Parameters
    ----------
    data : numpy.ndarray
        (rows, columns).
    rows, columns : numpy.ndarray
        float, in pixels. Beyond the outermost pixels these count.

    Returns
    -------
    numpy.ndarray
        float64, as many rows and columns as are asked for.
    """
    for axis, at in enumerate((rows, columns)):
        last = data.shape[axis] - 1
        at = np.clip(at, 0, last)
        below = np.floor(at).astype(int)
        above = np.ceil(at).astype(int)
        share = (at - below)[:, None] if axis == 0 else at - below
        with np.errstate(invalid="ignore"):  # infinite pixels
            data = data.take(below, axis) * (1 - share) + data.take(above, axis) * share
    return data


def within(mask: np.ndarray, reach_mm: float, spacing_mm: float) -> np.ndarray:
    """Return which pixels of a picture are no farther than that from a mask."""
    found = np.zeros(mask.shape, bool)
    if not mask.any():
        return found
    reach = math.ceil(reach_mm / spacing_mm)
    some = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1)]
    near = tuple(slice(max(0, at[0] - reach), at[-1] + 1 + reach) for at in some)
    inside = np.pad(mask[near], reach)
    part = found[near]
    rows, columns = part.shape
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if math.sqrt(down**2 + right**2) * spacing_mm <= reach_mm:
                part |= inside[reach + down :, reach + right :][:rows, :columns]
    return found


def pieces(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the pieces of a mask, whose pixels share sides, by 1, 2, ...; and count them."""
    rows, columns = mask.shape
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, begin = np.nonzero(steps == 1)  # runs of pixels, one row after the other
    end = np.nonzero(steps == -1)[1]
    parent = list(range(len(row)))

    def first_of(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    begins, ends = begin.tolist(), end.tolist()
    firsts = np.searchsorted(row, np.arange(rows + 1)).tolist()
    for above, here, after in zip(firsts, firsts[1:], firsts[2:], strict=False):
        k, j = above, here
        while k < here and j < after:
            if begins[k] < ends[j] and begins[j] < ends[k]:
                one, other = sorted((first_of(k), first_of(j)))
                parent[other] = one
            if ends[k] < ends[j]:
                k += 1
            else:
                j += 1
    labels, names = np.zeros((rows, columns), int), {}
    for k, where in enumerate(row.tolist()):
        name = names.setdefault(first_of(k), len(names) + 1)
        labels[where, begins[k] : ends[k]] = name
    return labels, len(names)


def sums(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sum of values over each of so many pieces, from `pieces`."""
    return np.bincount(labels.ravel(), np.ravel(values), count + 1)[1:]


def median(values: np.ndarray) -> float:
    """Return the median, NaN of nothing; NumPy's imports its masked arrays first, for 15 ms."""
    return float(np.quantile(values, 0.5)) if np.size(values) else np.nan


def middle(values: np.ndarray) -> np.ndarray:
    """Return row and column of the centre of mass of a picture."""
    down, across = values.sum(axis=1), values.sum(axis=0)
    return np.array([part @ np.arange(len(part)) / part.sum() for part in (down, across)])


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a picture by a Gaussian, which ends at 4 sigma; it is mirrored at its borders."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for _ in range(2):  # along rows, then columns
        padded = np.pad(picture, ((reach, reach), (0, 0)), "symmetric")
        picture = sum(w * padded[k : k + len(picture)] for k, w in enumerate(weights)).T
    return picture


def turned(plane: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a square picture about its middle, linearly; what comes from beyond it is 0."""
    angle, last = np.deg2rad(degrees), len(plane) - 1
    rows, columns = np.indices(plane.shape) - last / 2
    down = np.cos(angle) * rows - np.sin(angle) * columns + last / 2
    across = np.sin(angle) * rows + np.cos(angle) * columns + last / 2
    inside = (down >= 0) & (down <= last) & (across >= 0) & (across <= last)
    down, across = np.clip(down, 0, last), np.clip(across, 0, last)
    top, left = np.minimum(down.astype(int), last - 1), np.minimum(across.astype(int), last - 1)
    down, across = down - top, across - left
    upper = plane[top, left] * (1 - across) + plane[top, left + 1] * across
    lower = plane[top + 1, left] * (1 - across) + plane[top + 1, left + 1] * across
    return np.where(inside, upper * (1 - down) + lower * down, 0.0)
