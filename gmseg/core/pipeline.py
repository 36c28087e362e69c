"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from gmseg.core import windows as window
from gmseg.core.model import Model
from gmseg.core.resampling import Frame, WorkingGrid, to_native_grid, to_working_grid
from gmseg.core.standardisation import check_finite, standardised
from gmseg.errors import InputError

BATCH = 4
"""Windows that the network sees at once; slabs hold full batches, so that they are the same."""


def predict_windows(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    *,
    progress: Callable | None = None,
) -> np.ndarray:
    """Run the network over windows, a few at a time.

    Parameters
    ----------
    predict : Predictor or callable
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.

    Returns
    -------
    numpy.ndarray
        float32, the same shape: soft segmentation.
    """
    soft = np.empty(windows.shape, np.float32)
    for start in range(0, len(windows), BATCH):
        soft[start : start + BATCH] = predict(windows[start : start + BATCH])
        if progress is not None:
            progress(min(start + BATCH, len(windows)), len(windows))
    return soft


def _on_native(soft_windows: np.ndarray, centres: np.ndarray, frame: Frame) -> np.ndarray:
    """Paste soft windows and bring them to the scan's own grid; float32, 0 to 1."""
    corner, shape = window.bounds(frame.shape, centres, soft_windows.shape[1])
    part = window.paste(soft_windows, centres - corner, (*shape, frame.shape[2]))
    return np.clip(to_native_grid(part, frame, corner), 0, 1)


@dataclass(frozen=True)
class Prepared:
    """A scan ready for the network.

    Attributes
    ----------
    grid : gmseg.core.resampling.WorkingGrid
    centres : numpy.ndarray
        int, (slices, 2), see `gmseg.core.windows.locate`.
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    """

    grid: WorkingGrid
    centres: np.ndarray
    windows: np.ndarray


def prepare(
    scan: nib.Nifti1Image,
    model: Model,
    *,
    name="the scan",
    standardise: str | None = None,
    centre="auto",
    cord: np.ndarray | None = None,
) -> Prepared:
    """Bring a checked scan to the working grid, cut its windows and standardise them.

    Parameters
    ----------
    scan : nibabel.Nifti1Image
        From `gmseg.io.image.read_scan`.
    model : Model
    name : str or path-like
        What to call the scan in messages.
    standardise : str, optional
        See `segment`.
    centre : {"auto", "image"} or (float, float)
        See `gmseg.core.windows.locate`: without the network, nothing is looked for.
    cord : numpy.ndarray, optional
        bool, the scan's shape.
    """
    data = np.asarray(scan.dataobj)
    bad = np.count_nonzero(~np.isfinite(data))
    grid = to_working_grid(data, scan.affine, model.voxel_size_mm)
    if cord is not None:
        cord = to_working_grid(cord.astype(np.float32), scan.affine, model.voxel_size_mm).data
        cord = window.middles(cord)
    try:
        centres = window.locate(grid, centre=centre, cord=cord)
        windows = window.cut(grid.data, centres, model.window)
        check_finite(windows, bad)
        windows = standardised(windows, model, standardise or model.standardise)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Prepared(grid, centres, windows)


def soft_on_scan(soft_windows: np.ndarray, ready: Prepared) -> np.ndarray:
    """Paste soft windows back and bring them to the scan's own grid.

    Returns
    -------
    numpy.ndarray
        float32 in 0-1, the scan's shape.
    """
    return _on_native(soft_windows, ready.centres, ready.grid)
