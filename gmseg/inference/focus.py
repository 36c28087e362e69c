"""Ask the network about the cord's surroundings alone: the same answer for less arithmetic.

GM farther than `REACH_MM` from the cord's way is none, and is dropped (`gmseg.inference.localisation.keep_near`).
So a region that holds all that is nearer is enough, and where the cord was in one slice tells
where it is in the next. Wherever this does not hold, the whole window is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gmseg.core.pipeline import predict_windows
from gmseg.inference import localisation

REACH_MM = 10.0
"""GM lies no farther from the cord's middle; what does is no GM."""
SLACK_MM = 1.75  # a region is larger by so much: the cord may lie elsewhere than in the last slice
WHOLE_EVERY = 8  # slices: one of so many is looked at whole, lest something else be followed


def region_side(voxel_size_mm: float) -> int:
    """Return how many pixels wide a region must be to hold all GM of a slice."""
    return 2 * math.ceil((REACH_MM + SLACK_MM) / voxel_size_mm) + 2


class Focus:
    """Soft windows of one slice after the other, each looked at where the cord should be.

    Parameters
    ----------
    predict : gmseg.inference.engines.Predictor or callable
    size : int
        Of the windows, in pixels.
    focused : bool
        Whether regions are enough; else, and where the network cannot be computed in parts,
        all windows are looked at whole.
    spacing_mm, slice_mm : float
        Of the working grid, in plane and along the slices.

    Attributes
    ----------
    places, areas_mm2 : list
        The largest piece of GM in each window: row and column in it, and its area.
    """

    def __init__(self, predict, size: int, *, focused: bool, spacing_mm: float, slice_mm: float):
        self._predict, self._size = predict, size
        self._focused = focused and getattr(predict, "region", None) is not None
        self._spacing_mm = spacing_mm
        self._jump = (localisation.NEAR_MM + localisation.SLOPE * slice_mm) / spacing_mm
        self.places: list[np.ndarray] = []
        self.areas_mm2: list[float] = []
        self._corners: list[np.ndarray | None] = []  # of the regions; None: all was looked at
        self._doubted: set[int] = set()

    def add(self, windows: np.ndarray, *, progress: Callable | None = None) -> np.ndarray:
        """Return the soft windows of the next slices; 0 where they were not looked at.

        Parameters
        ----------
        windows : numpy.ndarray
            float32, (n, size, size), standardised.
        progress : callable, optional
            Called with (slices done, slices in all) now and then.
        """
        if not self._focused:
            soft = predict_windows(self._predict, windows, progress=progress)
            for one in soft:
                self._note(*localisation.pick(one, self._spacing_mm), None)
            return soft
        soft = np.empty(windows.shape, np.float32)
        for n, one in enumerate(windows):
            soft[n] = self._next(one)
            if progress is not None:
                progress(n + 1, len(windows))
        return soft

    def _next(self, window: np.ndarray) -> np.ndarray:
        """Return the soft window of the next slice."""
        k = len(self.places)
        corner = None if k % WHOLE_EVERY == 0 else self._expected()
        if corner is not None:
            soft = np.zeros(window.shape, np.float32)
            part = self._predict.region(window, tuple(corner))
            soft[tuple(slice(start, start + self._predict.side) for start in corner)] = part
            place, area = localisation.pick(soft, self._spacing_mm)
            if area and self._covers(corner, place) and not self._cuts(corner, part):
                self._note(place, area, corner)
                return soft
        soft = self._predict(window[None])[0]
        self._note(*localisation.pick(soft, self._spacing_mm), None)
        if k and self.areas_mm2[k] and not self._near(k - 1, k, self._jump):
            self._doubt(k - 1)
        return soft

    def _note(self, place: np.ndarray, area_mm2: float, corner) -> None:
        self.places.append(place)
        self.areas_mm2.append(area_mm2)
        self._corners.append(corner)

    def again(self, k: int, window: np.ndarray) -> np.ndarray:
        """Return the soft window of a slice once more, all of it."""
        soft = self._predict(window[None])[0]
        self.places[k], self.areas_mm2[k] = localisation.pick(soft, self._spacing_mm)
        self._corners[k] = None
        return soft

    def short(self, path: np.ndarray | None) -> list[int]:
        """Return which slices were not looked at everywhere near the cord's way.

        Parameters
        ----------
        path : numpy.ndarray or None
            (slices, 2), row and column in each window.
        """
        return [
            k
            for k, corner in enumerate(self._corners)
            if corner is not None
            and (k in self._doubted or path is None or not self._covers(corner, path[k]))
        ]

    def _expected(self) -> np.ndarray | None:
        """Return the corner of the region where the next slice's cord should be, if it is calm."""
        slack = SLACK_MM / self._spacing_mm
        last = len(self.places) - 1
        if not self.areas_mm2[last] or (last and not self._near(last - 1, last, slack)):
            return None
        corner = np.rint(self.places[last]).astype(int) - self._predict.side // 2
        return np.clip(corner, 0, self._size - self._predict.side)

    def _covers(self, corner, place) -> bool:
        """Return whether a region holds all of the window that GM around a place can be in."""
        reach = REACH_MM / self._spacing_mm
        first = np.maximum(np.ceil(place - reach), 0)
        last = np.minimum(np.floor(place + reach), self._size - 1)
        return bool((corner <= first).all() and (last < corner + self._predict.side).all())

    def _cuts(self, corner, soft: np.ndarray) -> bool:
        """Return whether GM is cut by the border of a region, but where the window ends, too."""
        inside = soft > 0.5
        first, last = corner > 0, corner + len(soft) < self._size
        borders = (inside[0], inside[:, 0]), (inside[-1], inside[:, -1])
        return any(
            within and border.any()
            for some, sides in zip((first, last), borders, strict=True)
            for within, border in zip(some, sides, strict=True)
        )

    def _near(self, k: int, other: int, pixels: float) -> bool:
        """Return whether two slices show GM at places that are not farther apart."""
        return bool(np.abs(self.places[k] - self.places[other]).max() <= pixels)

    def _doubt(self, k: int) -> None:
        """Note that what was followed down to slice k may not have been the cord."""
        while k >= 0 and self._corners[k] is not None:
            self._doubted.add(k)
            k -= 1
