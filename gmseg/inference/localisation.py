"""Find the cord: where the network sees gray matter, and a calm way through it.

The network is its own detector: in windows without a cord it is silent. So the image's centre is
tried first, which costs nothing where the cord is there; only where nothing consistent is found
are windows over the whole field looked at, on a few slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gmseg.inference import planes

GATHER_MM = 1.5  # parts of GM so near to each other are of one cord
LEAST_MM2 = 4.0  # of GM in a slice, to count as a sign of the cord
MOST_MM2 = 60.0
COUNTED_MM2 = 20.0  # a slice speaks for a place by its area, up to so much
NEAR_MM, SLOPE = 6.0, 0.7  # slices agree that lie so close, and mm more per mm along the cord
SMOOTH_MM = 12.0  # along the cord
OFF_CENTRE_MM = 10.0  # a window farther from the cord is moved; nearer ones score the same
STEP_MM = 36.0  # between windows of a search: a cord is whole in one of them
MOVES = 3


@dataclass(frozen=True)
class Seen:
    """What the network saw in each slice, and what of it belongs together.

    Attributes
    ----------
    places : numpy.ndarray
        (slices, 2), row and column on the working grid of the largest piece of GM; NaN where
        there is none.
    areas_mm2 : numpy.ndarray
        (slices,), its area.
    agree : numpy.ndarray
        bool, (slices,): which of them form one cord.
    path : numpy.ndarray or None
        (slices, 2), the cord's way, smooth; None where nothing was seen.
    """

    places: np.ndarray
    areas_mm2: np.ndarray
    agree: np.ndarray
    path: np.ndarray | None

    @property
    def support(self) -> float:
        """How much speaks for this cord, in mm^2 summed over the slices."""
        return float(np.minimum(self.areas_mm2[self.agree], COUNTED_MM2).sum())

    @property
    def plausible(self) -> bool:
        """Whether half of what was seen, in two slices or more, forms one cord of fair size."""
        signs = np.count_nonzero(self.areas_mm2 >= LEAST_MM2)
        count = np.count_nonzero(self.agree)
        return (
            count >= min(2, len(self.areas_mm2))
            and 2 * count >= signs
            and (planes.median(self.areas_mm2[self.agree]) <= MOST_MM2)
        )


def see(places: np.ndarray, areas_mm2: np.ndarray, spacing_mm: float, slice_mm: float) -> Seen:
    """Find the cord in what the network says.

    Parameters
    ----------
    places, areas_mm2 : numpy.ndarray
        (slices, 2), (slices,): the largest piece of GM in every slice, from `pick`; row and
        column on the working grid.
    spacing_mm, slice_mm : float
        Of the working grid, in plane and along the slices.
    """
    agree = _agreeing(places * spacing_mm, areas_mm2, slice_mm)
    path = None
    if agree.any():
        path = _smooth(places, areas_mm2, agree, slice_mm)
    return Seen(places, areas_mm2, agree, path)


def pick(soft: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, float]:
    """Return row and column of the largest piece of GM in a window, and its area in mm^2."""
    inside = soft > 0.5
    if not inside.any():
        return np.full(2, np.nan), 0.0
    margin = int(GATHER_MM / spacing_mm)
    some = (np.flatnonzero(inside.any(axis=1 - axis)) for axis in (0, 1))
    where = tuple(slice(max(0, at[0] - margin), at[-1] + 1 + margin) for at in some)
    inside = inside[where]
    # a butterfly in two halves is one piece
    pieces, count = planes.pieces(planes.within(inside, GATHER_MM / 2, spacing_mm))
    pieces = np.where(inside, pieces, 0)
    mass = planes.sums(soft[where], pieces, count)
    chosen = pieces == 1 + int(np.argmax(mass))
    middle = np.argwhere(chosen).mean(axis=0) + [part.start for part in where]
    return middle, float(chosen.sum() * spacing_mm**2)


def _agreeing(places_mm: np.ndarray, areas: np.ndarray, slice_mm: float) -> np.ndarray:
    """Return which slices form one cord: the largest set that one of them lies close to."""
    signs = np.flatnonzero(areas >= LEAST_MM2)
    agree = np.zeros(len(areas), bool)
    if signs.size == 0:
        return agree
    weights = np.minimum(areas[signs], COUNTED_MM2)

    def close_to(k):  # one by one: a table of all pairs of a long scan fills the memory
        apart = np.linalg.norm(places_mm[signs] - places_mm[k], axis=1)
        return apart <= NEAR_MM + SLOPE * np.abs(signs - k) * slice_mm

    best = max(signs, key=lambda k: weights[close_to(k)].sum())
    agree[signs[close_to(best)]] = True
    return agree


def _smooth(places, areas, agree, slice_mm: float) -> np.ndarray:
    """Return a calm way through the slices that agree; beyond them it goes straight on."""
    at = np.flatnonzero(agree) * slice_mm
    values, weights = places[agree], np.minimum(areas[agree], COUNTED_MM2)
    every = np.clip(np.arange(len(places)) * slice_mm, at[0], at[-1])
    path = np.empty((len(places), 2))
    for k, z in enumerate(every):
        near = weights * np.exp(-0.5 * ((at - z) / SMOOTH_MM) ** 2)
        middle = np.average(at, weights=near)
        level = np.average(values, axis=0, weights=near)
        spread = np.average((at - middle) ** 2, weights=near)
        slope = np.average((at - middle)[:, None] * values, axis=0, weights=near)
        path[k] = level + (slope / spread * (z - middle) if spread > 1e-6 else 0)
    return path


def follow(
    shape,
    segment: Callable[[np.ndarray], np.ndarray | None],
    look: Callable[[int, np.ndarray], np.ndarray],
    *,
    size: int,
    spacing_mm: float,
    slice_mm: float,
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Find the cord and let the windows follow it.

    Parameters
    ----------
    shape : (int, int, int)
        Of the working grid: rows, columns, slices.
    segment : callable
        From centres, int (slices, 2), to soft windows (slices, size, size) and what is `Seen` in
        them; None and nothing where the windows cannot be used.
    look : callable
        From a slice's number and centres, int (n, 2), on it to soft windows (n, size, size).
    size : int
        Of the windows, in pixels.
    spacing_mm, slice_mm : float
        Of the working grid.

    Returns
    -------
    centres : numpy.ndarray
        int, (slices, 2).
    soft_windows : numpy.ndarray or None
    seen : Seen
        What `segment` said of them.
    how : str
        ``"image centre"``, ``"moved to the cord"``, ``"found by a search"``, ``"not found"``.
    """

    def settle(centres, soft, seen):
        """Move the windows onto what they show, until they lie on it."""
        for _ in range(MOVES):
            if seen.path is None or _off_mm(centres, seen, spacing_mm) <= OFF_CENTRE_MM:
                break
            moved = np.rint(seen.path).astype(int)
            moved_soft, moved_seen = segment(moved)
            if moved_seen.support < 0.8 * seen.support:
                break
            centres, soft, seen = moved, moved_soft, moved_seen
        return centres, soft, seen

    middle = np.tile([shape[0] // 2, shape[1] // 2], (shape[2], 1))
    at_middle = middle, *segment(middle)
    first = settle(*at_middle)
    if first[2].plausible:
        moved = not np.array_equal(first[0], middle)
        return *first, "moved to the cord" if moved else "image centre"
    place = search(shape, look, size=size, spacing_mm=spacing_mm, slice_mm=slice_mm)
    if place is not None:
        centres = np.tile(place, (shape[2], 1))
        second = settle(centres, *segment(centres))
        if second[2].support > first[2].support:
            return *second, "found by a search"
    if first[2].support > 0:
        return *first, "moved to the cord"
    return *at_middle, "not found"


def nothing(slices: int) -> Seen:
    """Return what is seen where there is nothing."""
    return Seen(np.full((slices, 2), np.nan), np.zeros(slices), np.zeros(slices, bool), None)


def _off_mm(centres, seen: Seen, spacing_mm: float) -> float:
    """Return how far the windows lie from the cord, at the worst of the slices that show it."""
    off = np.linalg.norm(seen.path - centres, axis=1)
    return float(off[seen.agree].max() * spacing_mm)


def search(shape, look, *, size: int, spacing_mm: float, slice_mm: float):
    """Look for the cord in windows over the whole field, on a few slices.

    Returns
    -------
    numpy.ndarray or None
        int, (2,): row and column. What one slice shows, another must confirm.
    """
    slices = shape[2]
    # from the image's centre outwards: the cord is more often near it
    centres = [_along(n, spacing_mm) for n in shape[:2]]
    grid = np.array(np.meshgrid(*centres, indexing="ij")).reshape(2, -1).T
    middle = np.array(shape[:2]) / 2
    grid = grid[np.argsort(np.linalg.norm(grid - middle, axis=1), kind="stable")]
    left = max(2 * slices, len(grid))  # windows: about as much as segmenting the scan
    for k in dict.fromkeys((slices // 2, slices // 4, (3 * slices) // 4)):
        for begin in range(0, len(grid), 4):
            some = grid[begin : begin + min(4, left)]
            left -= len(some)
            if not len(some):
                return None
            for soft, centre in zip(look(k, some), some, strict=True):
                place, area = pick(soft, spacing_mm)
                if not LEAST_MM2 <= area <= MOST_MM2:
                    continue
                place = np.rint(place + centre - size // 2).astype(int)
                if _confirmed(place, k, slices, look, size, spacing_mm, slice_mm):
                    return place
    return None


def _along(pixels: int, spacing_mm: float) -> np.ndarray:
    """Return the centres of a search's windows along one side of the field, in pixels."""
    length = pixels * spacing_mm
    count = max(1, int(np.ceil(length / STEP_MM)))
    return np.rint((np.arange(count) + 0.5) * pixels / count).astype(int)


def _confirmed(place, k: int, slices: int, look, size, spacing_mm, slice_mm) -> bool:
    """Return whether other slices show GM at a place, too."""
    step = max(1, round(5 / slice_mm))
    others = [j for j in (k - step, k + step) if 0 <= j < slices]
    if not others:
        return slices == 1
    for j in others:
        there, area = pick(look(j, place[None])[0], spacing_mm)
        off = np.linalg.norm(there - size // 2) * spacing_mm
        if LEAST_MM2 <= area <= MOST_MM2 and off <= NEAR_MM + SLOPE * abs(j - k) * slice_mm:
            return True
    return False


def keep_near(soft_windows, centres, path, spacing_mm: float, reach_mm: float) -> np.ndarray:
    """Silence GM that is farther from the cord's way than any GM can be.

    Parameters
    ----------
    soft_windows : numpy.ndarray
        (slices, size, size).
    centres, path : numpy.ndarray
        (slices, 2): the windows' centres and the cord's way.
    spacing_mm, reach_mm : float

    Returns
    -------
    numpy.ndarray
        A copy, 0 where a pixel is farther than `reach_mm` from the way.
    """
    size = soft_windows.shape[1]
    rows, columns = np.ogrid[:size, :size]
    kept = soft_windows.copy()
    for soft, (row, column) in zip(kept, path - centres + size // 2, strict=True):
        soft[np.hypot(rows - row, columns - column) * spacing_mm > reach_mm] = 0
    return kept
