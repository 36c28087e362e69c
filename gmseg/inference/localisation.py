"""Localise the cord: where the network detects gray matter, and the centreline through it.

The GM network also serves to localise the cord: in windows without a cord it detects almost
nothing. The centre of the image is tried first, at no extra cost if the cord lies there. Only if
nothing consistent is detected, windows over the whole field of view are tried, on a few slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

JOIN_HALVES_MM = 1.5
"""Components of GM that are this close belong to one cord."""
REACH_MM = 10.0
"""What is farther than this from the centreline is removed."""
_MIN_DETECTION_MM2, _MAX_DETECTION_MM2 = 4.0, 60.0  # of GM in a slice, to count as a detection
_COUNTED_MM2 = 20.0  # the area of a slice counts up to this
_NEAR_MM, _SLOPE = 6.0, 0.7  # slices agree within this distance, plus mm per mm along the cord
_SMOOTH_MM = 12.0  # standard deviation along the cord
_OFF_CENTRE = (
    0.2  # of the window: if farther from the cord, it is moved; nearer ones score the same
)
_CORD_MM = (
    14.0  # width of a cord: windows of a search overlap by it, so that one contains all of it
)
_MOVES = 3

Predict = Callable[[np.ndarray], "tuple[np.ndarray, Detections]"]
"""From window centres, int (slices, 2), to soft windows and detections in them."""
PredictAt = Callable[[int, np.ndarray], np.ndarray]
"""From a slice number and window centres on it, int (n, 2), to GM in windows (n, size, size)."""


@dataclass(frozen=True)
class Detections:
    """What the network detected in every slice, and which detections form one cord.

    Attributes
    ----------
    centres : numpy.ndarray
        (slices, 2), row and column on the working grid of the largest component of GM; NaN
        without GM.
    areas_mm2 : numpy.ndarray
        (slices,), its area.
    consistent : numpy.ndarray
        bool, (slices,): which detections form one cord.
    centreline : numpy.ndarray or None
        (slices, 2), smooth; None without detections.
    """

    centres: np.ndarray
    areas_mm2: np.ndarray
    consistent: np.ndarray
    centreline: np.ndarray | None

    @property
    def support(self) -> float:
        """Area that supports this cord, in mm^2, summed over the slices."""
        return float(np.minimum(self.areas_mm2[self.consistent], _COUNTED_MM2).sum())

    @property
    def plausible(self) -> bool:
        """Whether half of the detections, in two or more slices, form a cord of plausible size."""
        detected = np.count_nonzero(self.areas_mm2 >= _MIN_DETECTION_MM2)
        count = np.count_nonzero(self.consistent)
        return bool(
            count >= max(1, min(2, len(self.areas_mm2)))
            and 2 * count >= detected
            and float(np.median(self.areas_mm2[self.consistent])) <= _MAX_DETECTION_MM2
        )


@dataclass(frozen=True)
class Localisation:
    """Where the windows lie, and what was predicted in them.

    Attributes
    ----------
    centres : numpy.ndarray
        int, (slices, 2), of the windows.
    soft_windows : numpy.ndarray
        (slices, outputs, size, size).
    detections : Detections
        Detections in these windows.
    how : str
        ``"image centre"``, ``"moved to the cord"``, ``"found by a search"``, ``"not found"``,
        ``"cord mask"`` or ``"as given"``.
    keep_far : bool
        Keep GM far from the centreline, as the paper does.
    """

    centres: np.ndarray
    soft_windows: np.ndarray
    detections: Detections
    how: str = ""
    keep_far: bool = False

    def keep_near(
        self, soft_windows: np.ndarray, spacing_mm: float, slices: slice = slice(None)
    ) -> np.ndarray:
        """Return soft windows without what is farther than `REACH_MM` from the centreline.

        Parameters
        ----------
        soft_windows : numpy.ndarray
            (slices, outputs, size, size), cut at `centres`.
        spacing_mm : float
            Spacing of the working grid in plane.
        slices : slice
            The slices that the windows belong to; all by default.

        Returns
        -------
        numpy.ndarray
            The windows as they are if there is no centreline, or if all GM is to be kept.
        """
        line = self.detections.centreline
        if line is None or self.keep_far:
            return soft_windows
        return remove_far(soft_windows, self.centres[slices], line[slices], spacing_mm)


def group_detections(
    centres: np.ndarray, areas_mm2: np.ndarray, spacing_mm: float, slice_mm: float
) -> Detections:
    """Return which detections form one cord, and its centreline.

    Parameters
    ----------
    centres, areas_mm2 : numpy.ndarray
        (slices, 2), (slices,): row and column on the working grid, and area, of the largest
        component of GM in every slice, from `largest_component`.
    spacing_mm, slice_mm : float
        Spacing of the working grid, in plane and along the slices.
    """
    consistent = _consistent(centres * spacing_mm, areas_mm2, slice_mm)
    centreline = None
    if consistent.any():
        centreline = _centreline(centres, areas_mm2, consistent, slice_mm)
    return Detections(centres, areas_mm2, consistent, centreline)


def largest_component(soft: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, float]:
    """Return row and column of the largest component of GM in a window, and its area in mm^2.

    Examples
    --------
    >>> soft = np.zeros((40, 40))
    >>> soft[10:20, 5:15] = 1
    >>> largest_component(soft, 0.25)
    (array([14.5,  9.5]), 6.25)
    """
    inside = soft > 0.5
    if not inside.any():
        return np.full(2, np.nan), 0.0
    labels, count = components(inside, spacing_mm)
    mass = ndimage.sum_labels(soft, labels, range(1, count + 1))
    chosen = labels == 1 + int(np.argmax(mass))
    return np.argwhere(chosen).mean(axis=0), float(chosen.sum() * spacing_mm**2)


def components(mask: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, int]:
    """Label the connected components of a 2-D mask; the halves of one butterfly are one.

    Returns
    -------
    labels : numpy.ndarray
        int, 0 outside the mask.
    count : int
        Number of components.
    """
    near = ndimage.distance_transform_edt(~mask) * spacing_mm <= JOIN_HALVES_MM / 2
    labels, count = ndimage.label(near)
    return np.where(mask, labels, 0), count


def _consistent(centres_mm: np.ndarray, areas: np.ndarray, slice_mm: float) -> np.ndarray:
    """Return which slices form one cord: the largest set that one of them lies close to."""
    detected = np.flatnonzero(areas >= _MIN_DETECTION_MM2)
    consistent = np.zeros(len(areas), bool)
    if detected.size == 0:
        return consistent
    weights = np.minimum(areas[detected], _COUNTED_MM2)

    def close_to(k):  # one by one: a table of all pairs of a long scan fills the memory
        distance = np.linalg.norm(centres_mm[detected] - centres_mm[k], axis=1)
        return distance <= _NEAR_MM + _SLOPE * np.abs(detected - k) * slice_mm

    best = max(detected, key=lambda k: weights[close_to(k)].sum())
    consistent[detected[close_to(best)]] = True
    return consistent


def _centreline(centres, areas, consistent, slice_mm: float) -> np.ndarray:
    """Return a smooth line through consistent detections; beyond them it continues straight."""
    at = np.flatnonzero(consistent) * slice_mm
    values, weights = centres[consistent], np.minimum(areas[consistent], _COUNTED_MM2)
    positions = np.clip(np.arange(len(centres)) * slice_mm, at[0], at[-1])
    line = np.empty((len(centres), 2))
    for k, z in enumerate(positions):  # a local linear fit
        near = weights * np.exp(-0.5 * ((at - z) / _SMOOTH_MM) ** 2)
        middle = np.average(at, weights=near)
        level = np.average(values, axis=0, weights=near)
        spread = np.average((at - middle) ** 2, weights=near)
        slope = np.average((at - middle)[:, None] * values, axis=0, weights=near)
        line[k] = level + (slope / spread * (z - middle) if spread > 1e-6 else 0)
    return line


def localise(
    shape: tuple[int, int, int],
    predict: Predict,
    predict_at: PredictAt,
    *,
    size: int,
    spacing_mm: float,
    slice_mm: float,
    most_windows: int | None = None,
) -> Localisation:
    """Localise the cord and move the windows onto it.

    Parameters
    ----------
    shape : (int, int, int)
        Rows, columns and slices of the working grid.
    predict, predict_at : callable
        See `Predict`, `PredictAt`.
    size : int
        Rows and columns of the windows, in pixels.
    spacing_mm, slice_mm : float
        Spacing of the working grid.
    most_windows : int, optional
        See `search`.
    """

    def settled(start: Localisation) -> Localisation:
        """Move the windows onto what is detected in them, until they lie on it."""
        best = start
        for _ in range(_MOVES):
            line = best.detections.centreline
            if line is None or _off_mm(best, spacing_mm) <= _OFF_CENTRE * size * spacing_mm:
                break
            centres = np.rint(line).astype(int)
            moved = Localisation(centres, *predict(centres))
            if moved.detections.support < 0.8 * best.detections.support:
                break
            best = moved
        return best

    middle = np.tile([shape[0] // 2, shape[1] // 2], (shape[2], 1))
    at_middle = Localisation(middle, *predict(middle))
    first = settled(at_middle)
    if first.detections.plausible:
        moved = not np.array_equal(first.centres, middle)
        return _labelled(first, "moved to the cord" if moved else "image centre")
    position = search(
        shape,
        predict_at,
        size=size,
        spacing_mm=spacing_mm,
        slice_mm=slice_mm,
        most_windows=most_windows,
    )
    if position is not None:
        centres = np.tile(position, (shape[2], 1))
        second = settled(Localisation(centres, *predict(centres)))
        if second.detections.support > first.detections.support:
            return _labelled(second, "found by a search")
    if first.detections.support > 0:
        return _labelled(first, "moved to the cord")
    return _labelled(at_middle, "not found")


def _labelled(found: Localisation, how: str) -> Localisation:
    return Localisation(found.centres, found.soft_windows, found.detections, how)


def no_detections(slices: int) -> Detections:
    """Return the detections of a scan in which nothing is detected."""
    return Detections(np.full((slices, 2), np.nan), np.zeros(slices), np.zeros(slices, bool), None)


def _off_mm(found: Localisation, spacing_mm: float) -> float:
    """Return how far the windows lie from the cord, at the worst slice that shows it."""
    assert found.detections.centreline is not None
    off = np.linalg.norm(found.detections.centreline - found.centres, axis=1)
    return float(off[found.detections.consistent].max() * spacing_mm)


def search(
    shape,
    predict_at: PredictAt,
    *,
    size: int,
    spacing_mm: float,
    slice_mm: float,
    most_windows: int | None = None,
) -> np.ndarray | None:
    """Search for the cord in windows over the whole field of view, on a few slices.

    Parameters
    ----------
    most_windows : int, optional
        Windows to try, from the centre outwards. By default the whole field of view twice, since
        one slice may show nothing, or twice as many windows as there are slices, whichever is more.

    Returns
    -------
    numpy.ndarray or None
        int, (2,): row and column. A detection in one slice must be confirmed by another.
    """
    slices = shape[2]
    grid = _search_grid(shape, spacing_mm, size * spacing_mm - _CORD_MM)
    budget = most_windows or 2 * max(slices, len(grid))
    for k in dict.fromkeys((slices // 2, slices // 4, (3 * slices) // 4)):
        for begin in range(0, len(grid), 4):
            centres = grid[begin : begin + min(4, budget)]
            budget -= len(centres)
            if not len(centres):
                return None
            for soft, centre in zip(predict_at(k, centres), centres, strict=True):
                position, area = largest_component(soft, spacing_mm)
                if not _MIN_DETECTION_MM2 <= area <= _MAX_DETECTION_MM2:
                    continue
                position = np.rint(position + centre - size // 2).astype(int)
                if _confirmed(position, k, slices, predict_at, size, spacing_mm, slice_mm):
                    return position
    return None


def _search_grid(shape, spacing_mm: float, step_mm: float) -> np.ndarray:
    """Return the window centres of a search, (n, 2), from the image's centre outwards."""
    axes = []
    for pixels in shape[:2]:
        count = max(1, int(np.ceil(pixels * spacing_mm / step_mm)))
        axes.append(np.rint((np.arange(count) + 0.5) * pixels / count).astype(int))
    grid = np.array(np.meshgrid(*axes, indexing="ij")).reshape(2, -1).T
    distance = np.linalg.norm(grid - np.array(shape[:2]) / 2, axis=1)
    return grid[np.argsort(distance, kind="stable")]


def _confirmed(position, k: int, slices: int, predict_at, size, spacing_mm, slice_mm) -> bool:
    """Return whether a slice nearby shows GM at a position as well."""
    step = max(1, round(5 / slice_mm))
    neighbours = [j for j in (k - step, k + step) if 0 <= j < slices]
    if not neighbours:
        return slices == 1
    for j in neighbours:
        centre, area = largest_component(predict_at(j, position[None])[0], spacing_mm)
        off = np.linalg.norm(centre - size // 2) * spacing_mm
        if (
            _MIN_DETECTION_MM2 <= area <= _MAX_DETECTION_MM2
            and off <= _NEAR_MM + _SLOPE * abs(j - k) * slice_mm
        ):
            return True
    return False


def remove_far(soft_windows, centres, centreline, spacing_mm: float) -> np.ndarray:
    """Return soft windows with 0 farther than `REACH_MM` from the centreline.

    Parameters
    ----------
    soft_windows : numpy.ndarray
        (slices, outputs, size, size).
    centres, centreline : numpy.ndarray
        (slices, 2): centres of the windows and centreline of the cord.
    spacing_mm : float
        Spacing of the working grid in plane.
    """
    size = soft_windows.shape[-1]
    rows, columns = np.ogrid[:size, :size]
    kept = soft_windows.copy()
    for soft, (row, column) in zip(kept, centreline - centres + size // 2, strict=True):
        soft[:, np.hypot(rows - row, columns - column) * spacing_mm > REACH_MM] = 0
    return kept
