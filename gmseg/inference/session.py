"""One scan and one model: windows and predictions in slabs, so that memory stays bounded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gmseg.core import standardisation, windows
from gmseg.core.model import Model
from gmseg.core.pipeline import predict_windows
from gmseg.core.resampling import GridGeometry
from gmseg.core.standardisation import check_finite, standardised
from gmseg.errors import InputError
from gmseg.inference import localisation
from gmseg.inference.localisation import Detections, Localisation
from gmseg.io.scan_reader import ScanReader

IN_MEMORY_BYTES = 64 * 2**20
"""What is computed for a scan is kept in memory up to this size; the rest goes to disk."""
_THINNED_SLICES = 64  # on which the cord of a longer scan is localised

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Session:
    """State of one segmentation.

    Attributes
    ----------
    scan : gmseg.io.scan_reader.ScanReader
        The scan.
    model : gmseg.core.model.Model
        The model.
    predict : callable
        From standardised windows to soft windows, (n, outputs, size, size), from
        `gmseg.inference.engines.load_predictor`.
    standardise : {"volume", "training"}
        Source of mean and standard deviation.
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.
    """

    scan: ScanReader
    model: Model
    predict: Callable[[np.ndarray], np.ndarray]
    standardise: str
    progress: Progress | None = None
    _mean_stds: dict[bytes, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def geometry(self) -> GridGeometry:
        """Where the scan lies on the working grid."""
        return self.scan.working_geometry(self.model.voxel_size_mm)

    @property
    def outputs(self) -> int:
        """Number of soft segmentations: GM, and the cord if the model has it."""
        return 2 if self.model.has_cord else 1

    @property
    def spacing_mm(self) -> float:
        """Spacing of the working grid in plane."""
        return self.geometry.spacing_mm

    @cached_property
    def slabs(self) -> list[tuple[int, int]]:
        """First slices and last + 1 of the slabs of the scan, from inferior to superior."""
        window_bytes = 4 * (2 + 2 * self.outputs) * self.model.window**2
        return self.scan.slabs((2 + 2 * self.outputs) * self.scan.slice_bytes + window_bytes)

    def cut(self, first: int, last: int, centres: np.ndarray, size: int) -> np.ndarray:
        """Return windows in scan values, see `gmseg.core.windows.cut_from_scan`."""
        data, affine = self.scan.part(first, last)
        return windows.cut_from_scan(data, affine, centres, size, self.model.voxel_size_mm)

    def windows(self, first: int, last: int, centres: np.ndarray) -> np.ndarray:
        """Return the network's windows of a slab, (n, size, size); centres of all slices."""
        cut = self.cut(first, last, centres[first:last], self.model.window)
        try:
            check_finite(cut, self.scan.bad_voxels)
        except InputError as error:
            raise InputError(f"{self.scan.name}: {error}") from None
        return cut

    def mean_and_std(self, centres: np.ndarray) -> tuple[float, float]:
        """Return the mean and standard deviation to standardise the windows at centres with."""
        key = centres.tobytes()
        if key not in self._mean_stds:  # a large scan is read as a whole for it
            try:
                self._mean_stds[key] = self._mean_and_std(centres)
            except InputError as error:
                raise InputError(f"{self.scan.name}: {error}") from None
        return self._mean_stds[key]

    def _mean_and_std(self, centres: np.ndarray) -> tuple[float, float]:
        if self.standardise != "volume":
            return standardisation.training_mean_std(self.model, self.standardise)
        moments = [
            standardisation.slice_moments(self.windows(first, last, centres))
            for first, last in self.slabs
        ]
        return standardisation.mean_std_from_moments(np.concatenate(moments))

    def segment(self, centres: np.ndarray) -> tuple[np.ndarray, Detections]:
        """Return soft windows at centres, int (slices, 2), and the detections in them."""
        mean, std = self.mean_and_std(centres)
        soft = allocate((len(centres), self.outputs, self.model.window, self.model.window))
        found = []
        for first, last in self.slabs:
            slab = standardised(self.windows(first, last, centres), mean, std)
            progress = self.progress_of_slab(first, len(centres))
            soft[first:last] = predict_windows(self.predict, slab, progress=progress)
            found += [
                localisation.largest_component(one[0], self.spacing_mm) for one in soft[first:last]
            ]
        places, areas = (np.array(part) for part in zip(*found, strict=True))
        return soft, localisation.group_detections(
            places + centres - self.model.window // 2,
            areas,
            self.spacing_mm,
            self.geometry.slice_mm,
        )

    def progress_of_slab(self, done: int, total: int) -> Progress | None:
        """Return a function that reports the progress within a slab as that of the scan."""
        progress = self.progress
        return None if progress is None else lambda count, _: progress(done + count, total)

    def predict_at(self, k: int, centres: np.ndarray) -> np.ndarray:
        """Return GM in windows at several centres, int (n, 2), of slice k, each standardised alone.

        Windows without contrast, or with voxels that are not finite, are 0.
        """
        size = self.model.window
        cut = self.cut(k, k + 1, centres, size)
        soft = np.zeros(cut.shape, np.float32)
        usable = np.isfinite(cut).all(axis=(1, 2))
        usable[usable] = np.ptp(cut[usable], axis=(1, 2)) > 0
        if usable.any():
            levels = [
                standardisation.mean_and_std(one[None], self.model, self.standardise)
                for one in cut[usable]
            ]
            alone = [standardised(one, *how) for one, how in zip(cut[usable], levels, strict=True)]
            soft[usable] = predict_windows(self.predict, np.array(alone))[:, 0]
        return soft

    def localise(self, most_windows: int | None = None) -> Localisation:
        """Localise the cord and segment there; in a long scan it is localised on some slices.

        Parameters
        ----------
        most_windows : int, optional
            See `gmseg.inference.localisation.search`.
        """
        if self.scan.slices > 2 * _THINNED_SLICES:
            scan, numbers = self.scan.thinned(_THINNED_SLICES)
            found = replace(self, scan=scan, progress=None, _mean_stds={}).localise()
            slices = np.arange(self.scan.slices)
            lines = [np.interp(slices, numbers, line) for line in found.centres.T]
            centres = np.rint(np.stack(lines, axis=1)).astype(int)
            return Localisation(centres, *self.segment(centres), found.how)
        faults: list[InputError] = []

        def predict(centres):
            try:
                return self.segment(centres)
            except InputError as error:  # the windows at other centres may be usable
                faults.append(error)
                return np.zeros(0), localisation.no_detections(len(centres))

        found = localisation.localise(
            self.geometry.shape,
            predict,
            self.predict_at,
            size=self.model.window,
            spacing_mm=self.spacing_mm,
            slice_mm=self.geometry.slice_mm,
            most_windows=most_windows,
        )
        if not found.soft_windows.size:
            raise faults[0]
        return found


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array of zeros: in memory, or in an anonymous temporary file if large.

    Raises
    ------
    gmseg.errors.InputError
        If the temporary folder has too little room.
    """
    size = 4 * int(np.prod(shape))
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, np.float32)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{folder}: {size / 2**30:.1f} GiB are needed for a while and {free / 2**30:.1f} "
            f"GiB are free; set TMPDIR to a folder with more room"
        )
    with tempfile.TemporaryFile(prefix="gmseg-") as file:  # the mapping keeps it alive
        return np.memmap(file, np.float32, "w+", shape=shape)
