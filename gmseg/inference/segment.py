"""From a scan to a gray-matter mask: the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.core import windows as window
from gmseg.core.model import Model
from gmseg.core.pipeline import _on_native
from gmseg.core.resampling import Frame, steps_mm
from gmseg.errors import InputError
from gmseg.inference import localisation
from gmseg.inference.engines import load_predictor
from gmseg.inference.focus import REACH_MM
from gmseg.inference.postprocessing import check_ways, cleaned
from gmseg.inference.quality import checks, expected_dice
from gmseg.inference.quality.features import Features, symmetry
from gmseg.inference.session import Run
from gmseg.inference.summary import Summary
from gmseg.inference.tta import average, changes
from gmseg.io import image as gm_image
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.io.scan_writer import slab_writers
from gmseg.models.registry import DEFAULT_MODEL, load_model

TYPES = {"mask": np.uint8, "soft": np.float32, "spread": np.float32}


@dataclass(frozen=True)
class Segmentation:
    """A scan's gray matter.

    Attributes
    ----------
    mask : nibabel.Nifti1Image
        uint8, 1 is GM, on the scan's grid.
    soft : nibabel.Nifti1Image
        float32, probability of GM, on the scan's grid.
    summary : gmseg.inference.summary.Summary
        What was done and measured.
    spread : nibabel.Nifti1Image or None
        float32, on the scan's grid: the standard deviation over the copies of test-time
        augmentation, where that was asked for.
    """

    mask: nib.Nifti1Image
    soft: nib.Nifti1Image
    summary: Summary
    spread: nib.Nifti1Image | None = None


def segment(
    scan,
    model=DEFAULT_MODEL,
    *,
    threshold: float | None = None,
    standardise: str | None = None,
    centre="auto",
    cord=None,
    within_cord: bool = False,
    clean: Collection[str] = (),
    volume: int | None = None,
    mean: bool = False,
    tta: int = 0,
    seed: int = 0,
    precision: str = "single",
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
        centre does not show it (see `gmseg.inference.localisation`); ``"image"``: at the image's centre, as in
        the paper; or a place (x, y) in mm in the scan's world space. But for ``"image"``, GM
        farther than `REACH_MM` from the cord's way is dropped.
    cord : path-like, optional
        A cord mask on the scan's grid: the window follows it, and nothing is looked for.
    within_cord : bool
        Nothing outside that cord mask is GM.
    clean : collection of str
        What to do with the mask of every slice, see `gmseg.inference.postprocessing`; nothing by default.
    volume, mean : int, bool
        What to take of a 4-D scan: one volume (from 0), or the average.
    tta : int
        So many copies of every slice, changed at random, are averaged (`gmseg.inference.tta`); 0: none.
    seed : int
        Of these changes.
    precision : {"single", "bf16"}
        Of the network's arithmetic, see `gmseg.models.engines.load_predictor`.
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
    source = open_scan(scan, volume=volume, mean=mean)
    kinds = [kind for kind in TYPES if kind != "spread" or tta > 1]
    arrays = {kind: np.empty(source.shape, TYPES[kind]) for kind in kinds}

    def put(first, last, parts):
        for kind, array in arrays.items():
            array[(*[slice(None)] * source.axis, slice(first, last))] = parts[kind]

    summary = _segment(
        source,
        model,
        put,
        threshold=threshold,
        standardise=standardise,
        centre=centre,
        cord=cord,
        within_cord=within_cord,
        clean=clean,
        tta=tta,
        seed=seed,
        precision=precision,
        progress=progress,
    )
    images = {kind: gm_image.like_scan(source.like, array) for kind, array in arrays.items()}
    return Segmentation(**images, summary=summary)


def segment_files(
    scan,
    files: dict[str, Path],
    model=DEFAULT_MODEL,
    *,
    volume=None,
    mean=False,
    mark: str = "",
    **choices,
) -> dict:
    """Segment a scan and write what comes of it, whatever the scan's size.

    Parameters
    ----------
    scan : path-like
    files : dict
        Where to write the ``"mask"`` and, if wanted, the ``"soft"`` segmentation and its
        ``"spread"``. None is put in place before all are written; their folders are made.
    model, volume, mean, **choices
        See `segment`.
    mark : str
        Stands in the files' descriptions, see `gmseg.io.image.mark_of`.

    Returns
    -------
    dict
        The summary of `Segmentation`.
    """
    source = open_scan(scan, volume=volume, mean=mean)
    types = {file: TYPES[kind] for kind, file in files.items()}
    with slab_writers(types, source, mark) as writers:
        write = dict(zip(files, writers, strict=True))

        def put(first, last, parts):
            for kind in files:
                write[kind](first, last, parts[kind])

        return _segment(source, model, put, **choices)


def _segment(
    source: ScanReader,
    model,
    put: Callable,
    *,
    threshold: float | None = None,
    standardise: str | None = None,
    centre="auto",
    cord=None,
    within_cord: bool = False,
    clean: Collection[str] = (),
    tta: int = 0,
    seed: int = 0,
    precision: str = "single",
    progress: Callable | None = None,
) -> Summary:
    """Segment a scan in parts, hand each part over in the array's order, return the summary."""
    started = time.perf_counter()
    if not isinstance(model, Model):
        model = load_model(model)
    threshold = model.threshold if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: {threshold:g} is not between 0 and 1")
    if within_cord and cord is None:
        raise InputError("within_cord: needs a cord mask; give one with --cord")
    check_ways(clean)
    if cord is not None:
        cord = open_mask(cord, source, what="cord mask")
    run = Run(
        source,
        model,
        load_predictor(model, precision),
        standardise or model.standardise,
        progress,
        focused=tta < 2 and centre != "image",  # whole windows are wanted there
    )
    if isinstance(centre, str) and centre == "auto" and cord is None:
        centres, soft_windows, seen, how = run.follow()
    else:
        centres = _centres(run, centre, cord)
        soft_windows, seen = run.segment(centres)
        how = "cord mask" if cord is not None else "as given"

    spread = None
    if tta > 1:
        spread = average(run, centres, soft_windows, changes(tta, seed))
    steps = steps_mm(run.frame)
    path = centres if seen.path is None else seen.path
    gathered, areas, at_border = Features(), [], []
    order = slice(None, None, -1 if geometry.runs_downwards(source.affine) else 1)
    for first, last in run.slabs[order]:
        soft = soft_windows.get(first, last)
        at = centres[first:last]
        if seen.path is not None and centre != "image":  # the paper drops nothing
            soft = localisation.keep_near(soft, at, path[first:last], steps["spacing_mm"], REACH_MM)
        frame = source.part_frame(first, last, model.voxel_size_mm)
        where = source.native_part(first, last)
        parts = {"soft": _on_native(soft, at, frame)}
        if spread is not None:
            parts["spread"] = _on_native(spread.get(first, last), at, frame)
        if within_cord:
            inside = cord.read(*where) > 0.5
            parts = {kind: part * inside for kind, part in parts.items()}
        mask = cleaned(parts["soft"] > threshold, source.affine, clean)
        put(*where, {"mask": mask.astype(np.uint8), **parts})
        areas.append(geometry.slice_areas_mm2(mask, source.affine))
        at_border.append(_at_border(soft > threshold)[order])
        checks.look(gathered, run, (first, last), soft, at, path[first:last], order)
    areas, at_border = np.concatenate(areas), np.concatenate(at_border)
    sides = symmetry(gathered, steps["spacing_mm"])
    expected = expected_dice.predict(gathered.soft_dice, model.confidence)
    flags = checks.flags_of(
        run, gathered, sides, areas, at_border, expected, how=how, seen=seen, centres=centres
    )
    return Summary(
        scan=str(source.name),
        gmseg_version=metadata.version("gmseg"),
        model=model.name,
        model_sha256=model.weights_sha256,
        threshold=threshold,
        standardise=run.standardise,
        tta=tta if tta > 1 else None,
        seed=seed if tta > 1 else None,
        within_cord=within_cord,
        clean=tuple(clean),
        window=how,
        window_centre_mm=_centres_mm(run.frame, centres)[order].round(2).tolist(),
        area_mm2=areas.round(3).tolist(),
        volume_mm3=round(geometry.volume_mm3(areas, source.affine), 3),
        expected_dice=_listed(expected),
        soft_dice=_listed(gathered.soft_dice),
        flags=tuple(flags),
        seconds=round(time.perf_counter() - started, 3),
    )


def _listed(values) -> list[float | None]:
    """Return values for JSON, which knows no NaN."""
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]


def _centres(run: Run, centre, cord: ScanReader | None) -> np.ndarray:
    """Return where the windows lie when nothing is looked for."""
    middles = None
    if cord is not None:
        parts = [cord.working(*slab, run.model.voxel_size_mm).data for slab in run.slabs]
        middles = np.concatenate([window.middles(part) for part in parts])
        if not np.isfinite(middles).any():
            raise InputError(f"{cord.name}: the cord mask is empty; give one that marks something")
    try:
        return window.locate(run.frame, centre=centre, cord=middles)
    except InputError as error:
        raise InputError(f"{run.source.name}: {error}") from None


# ------------------------------------------- the steps, which training and reports use too


def _at_border(inside: np.ndarray) -> np.ndarray:
    """Return in which windows (slices, size, size) GM touches the border."""
    frame = np.ones(inside.shape[1:], bool)
    frame[1:-1, 1:-1] = False
    return (inside & frame).any(axis=(1, 2))


def _centres_mm(frame: Frame, centres: np.ndarray) -> np.ndarray:
    """Return the windows' centres in world space, (slices, 3)."""
    indices = np.column_stack([centres, np.arange(len(centres))])
    return nib.affines.apply_affine(frame.affine, indices)
