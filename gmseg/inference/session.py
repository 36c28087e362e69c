"""One scan and one model: windows, slab by slab, so that memory is bounded for any scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gmseg.core import windows as window
from gmseg.core.model import Model
from gmseg.core.pipeline import predict_windows
from gmseg.core.resampling import Frame, steps_mm
from gmseg.core.standardisation import (
    _training_level,
    check_finite,
    check_level,
    standardised,
    standardised_by,
)
from gmseg.errors import InputError
from gmseg.inference import localisation
from gmseg.inference.engines import Predictor
from gmseg.inference.focus import Focus
from gmseg.inference.stack import HELD_BYTES, Stack
from gmseg.io.scan_reader import ScanReader

_THIN = 64  # slices on which the cord of a longer scan is looked for


@dataclass(frozen=True)
class Run:
    """What a segmentation works with.

    Attributes
    ----------
    source : gmseg.io.scan_reader.ScanReader
    model : gmseg.core.model.Model
    predict : gmseg.inference.engines.Predictor or callable
        From `gmseg.models.engines.load_predictor`.
    standardise : {"volume", "training"}
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.
    focused : bool
        Whether soft windows are wanted near the cord alone, see `gmseg.inference.focus`.
    """

    source: ScanReader
    model: Model
    predict: Predictor | Callable[[np.ndarray], np.ndarray]
    standardise: str
    progress: Callable | None = None
    focused: bool = True
    _kept: dict = field(default_factory=dict)
    _levels: dict = field(default_factory=dict)

    @cached_property
    def frame(self) -> Frame:
        """Where the scan lies on the working grid."""
        return self.source.frame(self.model.voxel_size_mm)

    @cached_property
    def slabs(self) -> list[tuple[int, int]]:
        """The scan in parts: first slices and last + 1, from foot to head."""
        return self.source.slabs(self.model.window)

    def cut(self, first: int, last: int, centres: np.ndarray, size: int) -> np.ndarray:
        """Return windows of some slices at centres, int (n, 2), in scan values.

        Nothing but the part of the slices that they lie in is resampled.
        """
        corner, shape = window.bounds(self.frame.shape, centres, size)
        part = self.source.working_part(first, last, self.model.voxel_size_mm, corner, shape)
        return window.cut(part, centres - corner, size)

    def windows(self, first: int, last: int, centres: np.ndarray) -> np.ndarray:
        """Return the windows of a slab, (n, size, size); they are kept where all are few."""
        key = first, last, centres.tobytes()
        if key in self._kept:
            return self._kept[key]
        cut = self.cut(first, last, centres[first:last], self.model.window)
        check_finite(cut, self.source.bad, self.source.name)
        if 4 * self.source.slices * self.model.window**2 <= HELD_BYTES:
            self._kept[key] = cut
        return cut

    def level(self, centres: np.ndarray) -> tuple[float, float]:
        """Return the mean and standard deviation to standardise all windows with."""
        if self.standardise != "volume":
            return _training_level(self.model, self.standardise, self.source.name)
        key = centres.tobytes()
        if key not in self._levels:  # of a large scan, all has to be read for it
            self._levels[key] = self._level(centres)
        return self._levels[key]

    def _level(self, centres: np.ndarray) -> tuple[float, float]:
        moments = []
        for first, last in self.slabs:
            cut = self.windows(first, last, centres)
            moments += [(one.mean(dtype=np.float64), one.var(dtype=np.float64)) for one in cut]
        means, variances = np.array(moments).T
        return check_level(means.mean(), np.sqrt(variances.mean() + means.var()), self.source.name)

    def segment(self, centres: np.ndarray) -> tuple[Stack, localisation.Seen]:
        """Return the soft windows at centres, int (slices, 2), and what is seen in them."""
        size, steps = self.model.window, steps_mm(self.frame)
        soft = Stack(len(centres), (size, size))
        focus = Focus(self.predict, size, focused=self.focused, **steps)
        for first, windows in self._standardised(centres):
            tell = self.told(first, len(centres))
            soft.put(first, focus.add(windows, progress=tell))
        while True:
            corners = centres - size // 2
            seen = localisation.see(
                corners + np.array(focus.places), np.array(focus.areas_mm2), **steps
            )
            short = focus.short(None if seen.path is None else seen.path - corners)
            if not short:
                return soft, seen
            for first, windows in self._standardised(centres, short):
                for k in range(first, first + len(windows)):
                    if k in short:
                        soft.put(k, focus.again(k, windows[k - first])[None])

    def _standardised(self, centres: np.ndarray, wanted=None):
        """Yield the first slice and the standardised windows of one slab after the other."""
        mean, std = self.level(centres)
        for first, last in self.slabs:
            if wanted is None or any(first <= k < last for k in wanted):
                yield first, standardised_by(self.windows(first, last, centres), mean, std)

    def told(self, first: int, total: int):
        """Return what tells of the slices done in a slab."""
        progress = self.progress
        return None if progress is None else lambda done, _: progress(first + done, total)

    def look(self, k: int, centres: np.ndarray) -> np.ndarray:
        """Return soft windows at several places, int (n, 2), of one slice, each by itself."""
        size = self.model.window
        cut = np.concatenate([self.cut(k, k + 1, centre[None], size) for centre in centres])
        soft = np.zeros(cut.shape, np.float32)
        usable = np.isfinite(cut).all(axis=(1, 2))
        usable[usable] = np.ptp(cut[usable], axis=(1, 2)) > 0
        if usable.any():
            each = [
                standardised(part[None], self.model, self.standardise)[0] for part in cut[usable]
            ]
            soft[usable] = predict_windows(self.predict, np.array(each))
        return soft

    def follow(self) -> tuple[np.ndarray, Stack, localisation.Seen, str]:
        """Find the cord: the windows' centres, soft windows, what is seen, how it was found.

        See `gmseg.inference.localisation.follow`. In a long scan it is looked for on some of the slices.
        """
        if self.source.slices > 2 * _THIN:
            source, at = self.source.thinned(_THIN)
            thin = replace(self, source=source, progress=None, _kept={}, _levels={})
            found, *_, how = thin.follow()
            every = np.arange(self.source.slices)
            centres = np.stack([np.rint(np.interp(every, at, one)) for one in found.T], axis=1)
            centres = centres.astype(int)
            return centres, *self.segment(centres), how
        faults: list[InputError] = []

        def segment_at(centres):
            try:
                return self.segment(centres)
            except InputError as error:
                faults.append(error)
                return None, localisation.nothing(len(centres))

        found = localisation.follow(
            self.frame.shape, segment_at, self.look, size=self.model.window, **steps_mm(self.frame)
        )
        if found[1] is None:
            raise faults[0]
        return found


# ---------------------------------------------------------------------- windows by themselves
