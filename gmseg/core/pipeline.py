"""The paper's pipeline on one scan in memory: prepare, predict, restore.

`gmseg.inference.segment` does the same for scans of any size, with the cord localised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from gmseg.core import windows
from gmseg.core.model import Model
from gmseg.core.resampling import GridGeometry, grid_geometry, to_working_grid
from gmseg.core.standardisation import check_finite, mean_and_std, standardised
from gmseg.errors import InputError

BATCH = 4
"""Windows per call of the network."""


@dataclass(frozen=True)
class Prepared:
    """A scan ready for the network.

    Attributes
    ----------
    grid : gmseg.core.resampling.GridGeometry
        Where the scan lies on the working grid.
    centres : numpy.ndarray
        int, (slices, 2): centres of the windows, see `gmseg.core.windows.window_centres`.
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    """

    grid: GridGeometry
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
    centres: np.ndarray | None = None,
) -> Prepared:
    """Cut the windows of a scan on the working grid, and standardise them.

    Parameters
    ----------
    scan : nibabel.Nifti1Image
        Checked scan, from `gmseg.io.image.read_scan`.
    model : Model
        Model whose window, spacing and standardisation are used.
    name : str or path-like
        Name of the scan in messages.
    standardise : {"volume", "training"}, optional
        The model's own by default.
    centre : {"auto", "image"} or (float, float)
        See `gmseg.core.windows.window_centres`. The cord is not localised.
    cord : numpy.ndarray, optional
        Cord mask, bool, in the scan's shape.
    centres : numpy.ndarray, optional
        int, (slices, 2): centres of the windows on the working grid, such as those from
        `gmseg.inference.segment.localise_cord`; instead of `centre` and `cord`.

    Examples
    --------
    >>> from pathlib import Path
    >>> voxels = np.random.default_rng(0).random((64, 64, 2))
    >>> scan = nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 5, 1]))
    >>> ready = prepare(scan, Model("example", Path("example.weights.h5"), "", {}))
    >>> ready.windows.shape
    (2, 200, 200)
    """
    data = np.asarray(scan.dataobj)
    grid = grid_geometry(data.shape, scan.affine, model.voxel_size_mm)
    cord_centres = None
    if cord is not None:
        on_grid = to_working_grid(cord.astype(np.float32), scan.affine, model.voxel_size_mm)
        cord_centres = windows.centres_of_mass(on_grid.data)
    try:
        if centres is None:
            centres = windows.window_centres(grid, centre=centre, cord=cord_centres)
        cut = windows.cut_from_scan(data, scan.affine, centres, model.window, model.voxel_size_mm)
        check_finite(cut, int(np.count_nonzero(~np.isfinite(data))))
        mean, std = mean_and_std(cut, model, standardise or model.standardise)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Prepared(grid, centres, standardised(cut, mean, std))


def predict_windows(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Run the network over windows, a few at a time.

    Parameters
    ----------
    predict : callable
        From windows, float32 (n, size, size), to soft segmentations, float32 (n, outputs, size,
        size); from `gmseg.inference.engines.load_predictor`.
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.

    Returns
    -------
    numpy.ndarray
        float32, (slices, outputs, size, size): soft segmentations of GM and, if the model has a
        second output, of the cord.

    Examples
    --------
    >>> predict_windows(lambda batch: 0.5 * batch[:, None], np.ones((6, 4, 4), np.float32)).shape
    (6, 1, 4, 4)
    """
    parts = []
    for start in range(0, len(windows), BATCH):
        parts.append(predict(windows[start : start + BATCH]))
        if progress is not None:
            progress(min(start + BATCH, len(windows)), len(windows))
    return np.concatenate(parts)


def restore(soft_windows: np.ndarray, centres: np.ndarray, grid: GridGeometry) -> np.ndarray:
    """Paste soft windows where they were cut, and resample them to the native grid.

    Parameters
    ----------
    soft_windows : numpy.ndarray
        (slices, size, size): one output of the network.
    centres : numpy.ndarray
        int, (slices, 2): centres of the windows.
    grid : GridGeometry
        Where the scan lies on the working grid.

    Returns
    -------
    numpy.ndarray
        float32 from 0 to 1, in the scan's shape.
    """
    return np.clip(windows.paste_to_scan(soft_windows, centres, grid), 0, 1)
