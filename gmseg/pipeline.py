"""From a scan to a gray-matter mask: the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import nibabel as nib
import numpy as np

from gmseg import finder, measure, window
from gmseg import image as gm_image
from gmseg.errors import InputError
from gmseg.grid import WorkingGrid, to_native_grid, to_working_grid
from gmseg.pretrained import DEFAULT_MODEL, STANDARDISATIONS, Model, load_model, load_predictor

_BATCH = 4
REACH_MM = 10.0
"""GM lies no farther from the cord's middle; what does is no GM."""


@dataclass(frozen=True)
class Segmentation:
    """A scan's gray matter.

    Attributes
    ----------
    mask : nibabel.Nifti1Image
        uint8, 1 is GM, on the scan's grid.
    soft : nibabel.Nifti1Image
        float32, probability of GM, on the scan's grid.
    summary : dict
        What was done and measured, ready for JSON: model, threshold, standardisation, area
        per slice, volume, flags, seconds.
    """

    mask: nib.Nifti1Image
    soft: nib.Nifti1Image
    summary: dict


def segment(
    scan,
    model=DEFAULT_MODEL,
    *,
    threshold: float | None = None,
    standardise: str | None = None,
    centre="auto",
    cord=None,
    volume: int | None = None,
    mean: bool = False,
    progress: Callable | None = None,
) -> Segmentation:
    """Segment the gray matter of an axial scan of the spinal cord.

    Parameters
    ----------
    scan : path-like or nibabel image
        Any orientation and voxel size.
    model : str, path-like or Model
        See `gmseg.load_model`.
    threshold : float, optional
        0 to 1; the model's own by default. Applied once, on the scan's grid.
    standardise : {"volume", "training"}, optional
        The model's own by default.
    centre : {"auto", "image"} or (float, float)
        Where the window lies. ``"auto"``: on the cord, which is looked for where the image's
        centre does not show it (see `gmseg.finder`); ``"image"``: at the image's centre, as in
        the paper; or a place (x, y) in mm in the scan's world space. But for ``"image"``, GM
        farther than `REACH_MM` from the cord's way is dropped.
    cord : path-like, optional
        A cord mask on the scan's grid: the window follows it, and nothing is looked for.
    volume, mean : int, bool
        What to take of a 4-D scan: one volume (from 0), or the average.
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.

    Returns
    -------
    Segmentation

    Raises
    ------
    gmseg.errors.InputError
        If the scan or a choice cannot be used.

    Notes
    -----
    Paper, "Methods"; standardisation by the volume as in its table, threshold 0.5 on the
    resampled soft segmentation instead of 0.999 before resampling, windows that follow the cord.
    """
    started = time.perf_counter()
    if not isinstance(model, Model):
        model = load_model(model)
    threshold = model.threshold if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: {threshold:g} is not between 0 and 1")
    standardise = standardise or model.standardise
    name = scan
    if isinstance(scan, nib.spatialimages.SpatialImage):
        name = scan.get_filename() or "the scan"
        scan = gm_image.check_scan(scan, name=name, volume=volume, mean=mean)
    else:
        scan = gm_image.read_scan(scan, volume=volume, mean=mean)
    if cord is not None:
        cord = gm_image.read_mask(cord, scan, what="cord mask")

    predict = load_predictor(model)
    if isinstance(centre, str) and centre == "auto" and cord is None:
        ready, soft_windows, how = _follow(scan, model, predict, name, standardise, progress)
    else:
        ready = prepare(scan, model, name=name, standardise=standardise, centre=centre, cord=cord)
        soft_windows = predict_windows(predict, ready.windows, progress=progress)
        how = "cord mask" if cord is not None else "as told"
    if centre != "image":  # the paper's way: nothing is moved, nothing dropped
        soft_windows = _near_the_cord(soft_windows, ready)
    soft = soft_on_scan(soft_windows, ready)
    mask = (soft > threshold).astype(np.uint8)

    areas = measure.slice_areas_mm2(mask, scan.affine)
    order = slice(None, None, -1) if measure.runs_downwards(scan.affine) else slice(None)
    flags = list(ready.flags)
    flags += measure.find_flags(
        areas, searched=how == "not found", at_border=_at_border(soft_windows > threshold)[order]
    )
    summary = {
        "scan": str(name),
        "gmseg_version": metadata.version("gmseg"),
        "model": model.name,
        "model_sha256": model.weights_sha256,
        "threshold": threshold,
        "standardise": standardise,
        "window": how,
        "window_centre_mm": _centres_mm(ready)[order].round(2).tolist(),
        "area_mm2": areas.round(3).tolist(),
        "volume_mm3": round(measure.volume_mm3(mask, scan.affine), 3),
        "flags": flags,
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Segmentation(gm_image.like_scan(scan, mask), gm_image.like_scan(scan, soft), summary)


# ------------------------------------------- the steps, which training and reports use too


@dataclass(frozen=True)
class Prepared:
    """A scan ready for the network.

    Attributes
    ----------
    grid : gmseg.grid.WorkingGrid
    centres : numpy.ndarray
        int, (slices, 2), see `gmseg.window.locate`.
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    flags : list of str
        What was odd about the scan.
    """

    grid: WorkingGrid
    centres: np.ndarray
    windows: np.ndarray
    flags: list[str]


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
        From `gmseg.image.read_scan`.
    model : Model
    name : str or path-like
        What to call the scan in messages.
    standardise : str, optional
        See `segment`.
    centre : {"auto", "image"} or (float, float)
        See `gmseg.window.locate`: without the network, nothing is looked for.
    cord : numpy.ndarray, optional
        bool, the scan's shape.
    """
    grid, bad, flags = _on_working_grid(scan, model)
    if cord is not None:
        cord = to_working_grid(cord.astype(np.float32), scan.affine, model.voxel_size_mm).data
    try:
        centres = window.locate(grid, centre=centre, cord=cord)
        windows = _windows_at(grid, bad, centres, model, standardise or model.standardise)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Prepared(grid, centres, windows, flags)


def _on_working_grid(scan, model: Model) -> tuple[WorkingGrid, int, list[str]]:
    """Return a scan on the working grid, how many voxels are no numbers, and what is odd."""
    data = np.asarray(scan.dataobj)
    flags = measure.header_flags(scan)
    if bad := np.count_nonzero(~np.isfinite(data)):
        flags.append(f"{bad} voxels are NaN or infinite, all outside the window")
    return to_working_grid(data, scan.affine, model.voxel_size_mm), bad, flags


def _windows_at(grid: WorkingGrid, bad: int, centres, model: Model, standardise: str) -> np.ndarray:
    """Cut windows and standardise them; refuse those that cannot be segmented."""
    windows = window.cut(grid.data, centres, model.window)
    if bad and not np.isfinite(windows).all():
        raise InputError(
            f"{bad} voxels are NaN or infinite, some of them where the network looks; replace "
            f"them before segmenting"
        )
    return standardised(windows, model, standardise)


def _follow(scan, model: Model, predict, name, standardise: str, progress):
    """Find the cord and segment it: what is prepared, soft windows, and how it was found."""
    grid, bad, flags = _on_working_grid(scan, model)
    faults: list[InputError] = []

    def segment_at(centres):
        try:
            windows = _windows_at(grid, bad, centres, model, standardise)
        except InputError as error:
            faults.append(error)
            return None
        return predict_windows(predict, windows, progress=progress)

    def look(k, centres):
        one = grid.data[..., k : k + 1]
        windows = np.concatenate([window.cut(one, [centre], model.window) for centre in centres])
        soft = np.zeros(windows.shape, np.float32)
        usable = np.isfinite(windows).all(axis=(1, 2))
        usable[usable] = np.ptp(windows[usable], axis=(1, 2)) > 0
        if usable.any():
            each = [standardised(one[None], model, standardise)[0] for one in windows[usable]]
            soft[usable] = predict_windows(predict, np.array(each))
        return soft

    centres, soft_windows, how = finder.follow(
        grid.data.shape, segment_at, look, size=model.window, **_steps_mm(grid)
    )
    if soft_windows is None:
        raise InputError(f"{name}: {faults[0]}")
    windows = _windows_at(grid, bad, centres, model, standardise)
    return Prepared(grid, centres, windows, flags), soft_windows, how


def _steps_mm(grid: WorkingGrid) -> dict[str, float]:
    sizes = nib.affines.voxel_sizes(grid.affine)
    return {"spacing_mm": float(sizes[0]), "slice_mm": float(sizes[2])}


def _near_the_cord(soft_windows: np.ndarray, ready: Prepared) -> np.ndarray:
    """Drop GM where no GM can be: far from the way of what was found."""
    steps = _steps_mm(ready.grid)
    path = finder.see(soft_windows, ready.centres, **steps).path
    if path is None:
        return soft_windows
    return finder.keep_near(soft_windows, ready.centres, path, steps["spacing_mm"], REACH_MM)


def standardised(windows: np.ndarray, model: Model, standardise: str) -> np.ndarray:
    """Subtract a mean and divide by a standard deviation, `volume`'s or `training`'s.

    Parameters
    ----------
    windows : numpy.ndarray
        (slices, size, size), scan values, filling included.
    model : Model
    standardise : {"volume", "training"}

    Returns
    -------
    numpy.ndarray
        float32, the same shape.
    """
    if standardise == "volume":
        mean, std = windows.mean(dtype=np.float64), windows.std(dtype=np.float64)
        if std == 0:
            raise InputError(
                "every voxel in the window is the same; give the cord's place with --centre X,Y"
            )
    elif standardise == "training":
        mean, std = model.mean, model.std
        if mean is None or std is None:
            raise InputError(
                f"model {model.name} has no training mean and std; use --standardise volume"
            )
    else:
        raise InputError(
            f"standardise: {standardise!r} is unknown; choose {' or '.join(STANDARDISATIONS)}"
        )
    return ((windows - mean) / std).astype(np.float32)


def predict_windows(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    *,
    progress: Callable | None = None,
) -> np.ndarray:
    """Run the network over windows, a few at a time.

    Parameters
    ----------
    predict : callable
        From `gmseg.pretrained.load_predictor`.
    windows : numpy.ndarray
        float32, (slices, size, size), standardised.
    progress : callable, optional
        See `segment`.

    Returns
    -------
    numpy.ndarray
        float32, the same shape: soft segmentation.
    """
    soft = np.empty(windows.shape, np.float32)
    for start in range(0, len(windows), _BATCH):
        soft[start : start + _BATCH] = predict(windows[start : start + _BATCH])
        if progress is not None:
            progress(min(start + _BATCH, len(windows)), len(windows))
    return soft


def soft_on_scan(soft_windows: np.ndarray, ready: Prepared) -> np.ndarray:
    """Paste soft windows back and bring them to the scan's own grid.

    Returns
    -------
    numpy.ndarray
        float32 in 0-1, the scan's shape.
    """
    working = window.paste(soft_windows, ready.centres, ready.grid.data.shape)
    return np.clip(to_native_grid(working, ready.grid), 0, 1)


def _at_border(inside: np.ndarray) -> np.ndarray:
    """Return in which windows (slices, size, size) GM touches the border."""
    frame = np.ones(inside.shape[1:], bool)
    frame[1:-1, 1:-1] = False
    return (inside & frame).any(axis=(1, 2))


def _centres_mm(ready: Prepared) -> np.ndarray:
    """Return the windows' centres in world space, (slices, 3)."""
    indices = np.column_stack([ready.centres, np.arange(len(ready.centres))])
    return nib.affines.apply_affine(ready.grid.affine, indices)
