"""Segment a scan: from its voxels to a gray-matter mask on its native grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.core import geometry, windows
from gmseg.core.model import Model
from gmseg.core.pipeline import restore
from gmseg.core.resampling import grid_geometry, reoriented, to_working_grid
from gmseg.errors import InputError
from gmseg.inference.engines import load_predictor
from gmseg.inference.localisation import Localisation
from gmseg.inference.options import SegmentOptions
from gmseg.inference.postprocessing import cleaned
from gmseg.inference.quality import checks, expected_dice
from gmseg.inference.quality.anatomy import CordFit, size_flags
from gmseg.inference.quality.features import Features
from gmseg.inference.segmentation import OF_CORD, TYPES, Segmentation, tissues
from gmseg.inference.session import Session
from gmseg.inference.summary import Summary
from gmseg.inference.tta import average, random_transforms
from gmseg.io.image import like_scan
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.io.scan_writer import part_writers
from gmseg.models.registry import DEFAULT_MODEL, load_model

WritePart = Callable[[int, int, dict[str, np.ndarray]], None]
"""Takes a part of the results: first stored slice, last + 1, and voxels by kind."""


def segment(
    scan,
    model=DEFAULT_MODEL,
    *,
    threshold: float | None = None,
    standardise: str | None = None,
    centre: str | tuple[float, float] = "auto",
    cord=None,
    within_cord: bool = False,
    clean: Collection[str] = (),
    tta: int = 0,
    seed: int = 0,
    volume: int | None = None,
    mean: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Segment the gray matter of an axial scan of the spinal cord, and the cord.

    Parameters
    ----------
    scan : path-like, nibabel image or (numpy.ndarray, numpy.ndarray)
        The scan, of any orientation and voxel size; an array with its affine in mm.
    model : str, path-like or Model
        See `gmseg.load_model`.
    threshold : float, optional
        From 0 to 1; the model's own by default. Applied on the native grid.
    standardise : {"volume", "training"}, optional
        Source of mean and standard deviation; that of the model by default.
    centre : {"auto", "image"} or (float, float)
        Where the windows lie. ``"auto"``: on the cord, which is localised where the centre of
        the image does not show it (see `gmseg.inference.localisation`); ``"image"``: at the
        centre of the image, as in the paper; or a position (x, y) in mm in the scan's world
        space. GM farther than 10 mm from the centreline is removed, except with ``"image"``.
    cord : path-like or nibabel image, optional
        Cord mask on the scan's grid, in any orientation. The windows lie on it, and the cord is
        not localised.
    within_cord : bool
        Remove GM outside the cord mask.
    clean : collection of str
        Steps of post-processing, see `gmseg.inference.postprocessing`; none by default.
    tta : int
        Number of copies to average in test-time augmentation (`gmseg.inference.tta`); 0: none.
    seed : int
        Seed of the random transforms of these copies.
    volume : int, optional
        Volume of a 4-D scan, counted from 0.
    mean : bool
        Average the volumes of a 4-D scan.
    progress : callable, optional
        Called with (slices done, slices in all) after every batch.

    Returns
    -------
    Segmentation
        Mask, soft segmentation and summary.

    Raises
    ------
    gmseg.errors.InputError
        If the scan or an option cannot be used.

    Notes
    -----
    Paper, "Methods". Two things differ: the threshold is 0.5 on the native grid instead of 0.999
    before resampling, and the windows lie on the cord.

    Examples
    --------
    >>> import gmseg
    >>> from gmseg.io.resources import bundled
    >>> result = gmseg.segment(bundled("data/sample/phantom_t2s.nii.gz"))
    >>> result.mask.shape == result.soft.shape
    True
    """
    reader = open_scan(scan, volume=volume, mean=mean)
    model = model if isinstance(model, Model) else load_model(model)
    options = SegmentOptions(threshold, standardise, centre, cord, within_cord, clean, tta, seed)
    arrays = {
        kind: np.empty(reader.shape, TYPES[kind])
        for kind, wanted in (
            ("mask", True),
            ("soft", True),
            ("spread", options.tta > 1),
            ("cord_soft", model.has_cord),
        )
        if wanted
    }

    def write(first, last, parts):
        for kind, array in arrays.items():
            array[(*[slice(None)] * reader.axis, slice(first, last))] = parts[kind]

    summary = _segment(reader, model, write, options, progress)
    images = {kind: like_scan(reader.like, array) for kind, array in arrays.items()}
    return Segmentation(**images, summary=summary)


def localise_cord(scan, model=DEFAULT_MODEL) -> Localisation:
    """Return where the windows of `segment` lie by default: on the cord.

    Parameters
    ----------
    scan, model
        See `segment`.

    Returns
    -------
    gmseg.inference.localisation.Localisation
        Centres of the windows on the working grid, soft segmentations in them, and how the cord
        was localised.

    Examples
    --------
    >>> from gmseg.io.resources import bundled
    >>> found = localise_cord(bundled("data/sample/phantom_t2s.nii.gz"))
    >>> found.centres.shape, found.how
    ((10, 2), 'image centre')
    """
    model = model if isinstance(model, Model) else load_model(model)
    return Session(open_scan(scan), model, load_predictor(model), model.standardise).localise()


def segment_files(
    scan,
    files: dict[str, Path],
    model=DEFAULT_MODEL,
    *,
    volume: int | None = None,
    mean: bool = False,
    description: str = "",
    overwrite: bool = True,
    progress: Callable[[int, int], None] | None = None,
    **options,
) -> Summary:
    """Segment a scan of any size and write the results.

    Parameters
    ----------
    scan : path-like
        The scan.
    files : dict
        Files of the ``"mask"`` and, if wanted, of other outputs, see
        `gmseg.inference.segmentation.TYPES`. None is moved to its final path before all are
        written; their folders are created.
    model, volume, mean, progress, **options
        See `segment`.
    description : str
        Text for the description field of the files, see `gmseg.io.image.description_of`.
    overwrite : bool
        Whether files that exist when the results are complete may be replaced.
    """
    reader = open_scan(scan, volume=volume, mean=mean)
    model = model if isinstance(model, Model) else load_model(model)
    if not model.has_cord and set(files) & set(OF_CORD):
        raise InputError(
            f"model {model.name} segments GM only; for WM and cord choose a model with a cord "
            f"output (gmseg models list), or leave out `tissues`"
        )
    types = {file: TYPES[kind] for kind, file in files.items()}
    with part_writers(types, reader, description, overwrite=overwrite) as writers:
        by_kind = dict(zip(files, writers, strict=True))

        def write(first, last, parts):
            for kind, write_one in by_kind.items():
                write_one(first, last, parts[kind])

        return _segment(reader, model, write, SegmentOptions(**options), progress)


def _segment(
    reader: ScanReader, model: Model, write: WritePart, options: SegmentOptions, progress
) -> Summary:
    """Segment a scan in slabs, hand each over in the order of storage, return the summary."""
    started = time.perf_counter()
    options.check()
    cord = None if options.cord is None else open_mask(options.cord, reader, what="cord mask")
    session = Session(
        reader, model, load_predictor(model), options.standardise or model.standardise, progress
    )
    found = _localised(session, options.centre, cord)
    spread = None
    if options.tta > 1:
        transforms = random_transforms(options.tta, options.seed)
        spread = average(session, found.centres, found.soft_windows, transforms)
    threshold = model.threshold if options.threshold is None else options.threshold
    features, cord_fit = Features(), CordFit()
    areas, cord_areas, at_border = [], [], []
    order = slice(None, None, -1 if reader.runs_downwards else 1)
    for slab in session.slabs[order]:
        soft, parts, mask = _restored_slab(
            session, found, spread, slab, options, cord, threshold, cord_fit
        )
        write(*reader.stored_range(*slab), {"mask": mask.astype(np.uint8), **parts})
        if model.has_cord:
            cord_areas.append(geometry.slice_areas_mm2(parts["cord"], reader.affine))
        areas.append(geometry.slice_areas_mm2(mask, reader.affine))
        at_border.append(_at_border(soft > threshold)[order])
        line = _centreline(found)[slice(*slab)]
        checks.gather(features, session, slab, soft, found.centres[slice(*slab)], line)
    areas_mm2 = np.concatenate(areas)
    expected = expected_dice.predict(features.soft_dice, model.confidence)
    flags = checks.qc_flags(
        session, found, features, areas_mm2, np.concatenate(at_border), expected
    )
    misfits = cord_fit.flags(removed=options.within_cord)
    cords_mm2 = np.concatenate(cord_areas) if cord_areas else None
    of_cord = cord_fit.cord_mm2 if cords_mm2 is None else cords_mm2
    flags += misfits or size_flags(areas_mm2, reader.affine, of_cord)
    return Summary(
        scan=str(reader.name),
        gmseg_version=metadata.version("gmseg"),
        model=model.name,
        model_sha256=model.weights_sha256,
        threshold=threshold,
        standardise=session.standardise,
        tta=options.tta if options.tta > 1 else None,
        seed=options.seed if options.tta > 1 else None,
        within_cord=options.within_cord,
        clean=tuple(options.clean),
        window=found.how,
        window_centre_mm=_centres_mm(session, found.centres)[order].round(2).tolist(),
        area_mm2=areas_mm2.round(3).tolist(),
        cord_area_mm2=None if cords_mm2 is None else cords_mm2.round(3).tolist(),
        volume_mm3=round(geometry.volume_mm3(areas_mm2, reader.affine), 3),
        expected_dice=_rounded(expected),
        soft_dice=_rounded(features.soft_dice),
        flags=tuple(flags),
        seconds=round(time.perf_counter() - started, 3),
    )


def _localised(session: Session, centre, cord: ScanReader | None) -> Localisation:
    """Return where the windows lie, and what is predicted in them."""
    if isinstance(centre, str) and centre == "auto" and cord is None:
        return session.localise()
    cord_centres = None
    if cord is not None:
        cord_centres = np.concatenate(
            [_cord_centres(session, cord, slab) for slab in session.slabs]
        )
        if not np.isfinite(cord_centres).any():
            raise InputError(f"{cord.name}: the cord mask is empty; give a non-empty mask")
    try:
        centres = windows.window_centres(session.geometry, centre=centre, cord=cord_centres)
    except InputError as error:
        raise InputError(f"{session.scan.name}: {error}") from None
    soft_windows, detections = session.segment(centres)
    if isinstance(centre, str) and centre == "image":
        how = "image centre"
    else:
        how = "as given" if cord is None else "cord mask"
    return Localisation(centres, soft_windows, detections, how, keep_far=how == "image centre")


def _cord_centres(session: Session, cord: ScanReader, slab: tuple[int, int]) -> np.ndarray:
    """Return the centres of a cord mask on the slices of a slab, one resampled after the other."""
    las, affine = reoriented(*cord.part(*slab))
    grids = (
        to_working_grid(las[..., k : k + 1], affine, session.model.voxel_size_mm)
        for k in range(las.shape[2])
    )
    return np.concatenate([windows.centres_of_mass(grid.data) for grid in grids])


def _centreline(found: Localisation) -> np.ndarray:
    line = found.detections.centreline
    return found.centres if line is None else line


def _restored_slab(
    session: Session,
    found: Localisation,
    spread,
    slab,
    options: SegmentOptions,
    cord,
    threshold: float,
    cord_fit: CordFit,
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return GM in the windows, results on the native grid, and the mask of a slab."""
    first, last = slab
    reader, centres = session.scan, found.centres[first:last]
    part = slice(first, last)
    soft = found.keep_near(found.soft_windows[part], session.spacing_mm, part)
    start, stop = reader.stored_range(first, last)
    shape = list(reader.shape)
    shape[reader.axis] = last - first
    grid = grid_geometry(tuple(shape), reader.part_affine(start), session.model.voxel_size_mm)
    parts = {"soft": restore(soft[:, 0], centres, grid)}
    if spread is not None:
        parts["spread"] = restore(spread[first:last, 0], centres, grid)
    if cord is not None:
        inside = cord.read(start, stop) > 0.5
        cord_fit.add(parts["soft"] > threshold, inside, reader.affine)
        if options.within_cord:
            parts = {kind: part * inside for kind, part in parts.items()}
    mask = cleaned(parts["soft"] > threshold, reader.affine, options.clean)
    if session.model.has_cord:
        parts["cord_soft"] = restore(soft[:, 1], centres, grid)
        parts |= tissues(mask, parts["soft"], parts["cord_soft"])
    return soft[:, 0], parts, mask


def _at_border(inside: np.ndarray) -> np.ndarray:
    """Return in which windows (slices, size, size) GM touches the border."""
    border = np.ones(inside.shape[1:], bool)
    border[1:-1, 1:-1] = False
    return np.any(inside & border, axis=(1, 2))


def _centres_mm(session: Session, centres: np.ndarray) -> np.ndarray:
    """Return the centres of the windows in world space, (slices, 3)."""
    indices = np.column_stack([centres, np.arange(len(centres))])
    return nib.affines.apply_affine(session.geometry.affine, indices)


def _rounded(values) -> list[float | None]:
    """Return values for JSON, which has no NaN."""
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
