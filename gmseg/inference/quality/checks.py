"""Quality control of a segmentation: gather its features, test the network, raise QC flags."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from gmseg.core import windows
from gmseg.core.pipeline import predict_windows
from gmseg.core.resampling import reoriented
from gmseg.core.standardisation import standardised
from gmseg.errors import InputError
from gmseg.inference.localisation import Detections, Localisation
from gmseg.inference.quality import features
from gmseg.inference.quality.flags import (
    LIMITS,
    Flag,
    area_flags,
    confidence_flags,
    feature_flags,
    header_flags,
)
from gmseg.inference.session import Session
from gmseg.io.scan_reader import ScanReader, array_reader

_PROBED_SLICES = 3  # on which the orientation is tested
_PROBE_MM = 16.0  # side of the windows for that: they contain the cord as a whole, or nearly
_DOUBTFUL = 0.6  # soft Dice below which the scan's negative and rotated slices are tried
_TRIED_SLICES = 4
_TRIED_WINDOWS = 24  # each: four variants take a few seconds


def gather(
    gathered: features.Features,
    session: Session,
    slab: tuple[int, int],
    soft: np.ndarray,
    centres: np.ndarray,
    centreline: np.ndarray,
) -> None:
    """Add the features of a slab, in the order in which its slices are stored.

    Parameters
    ----------
    gathered : gmseg.inference.quality.features.Features
        Features that are added to.
    session : Session
        The scan and the model.
    slab : (int, int)
        First slice and last + 1, from inferior to superior.
    soft : numpy.ndarray
        (n, size, size), GM in the windows of the slab.
    centres, centreline : numpy.ndarray
        (n, 2), centres of these windows and centreline of the cord.
    """
    spacing_mm = session.spacing_mm
    size = round(features.CROP_MM / spacing_mm)
    at = np.rint(centreline).astype(int)
    scan_crops = session.cut(*slab, at, size)
    shape = (*session.geometry.shape[:2], 1)
    soft_crops = [
        windows.cut(windows.paste(soft[k][None], centres[k][None], shape), at[k][None], size)[0]
        for k in range(len(soft))
    ]
    margins = _margins_mm(*reoriented(*session.scan.part(*slab)), (centreline + 0.5) * spacing_mm)
    order = slice(None, None, -1 if session.scan.runs_downwards else 1)
    for one_soft, one_scan, margin in list(zip(soft_crops, scan_crops, margins, strict=True))[
        order
    ]:
        gathered.add(one_soft, one_scan, spacing_mm, float(margin))


def _margins_mm(las: np.ndarray, affine: np.ndarray, centreline_mm: np.ndarray) -> np.ndarray:
    """Return how far the centreline is from the edge of what is not empty, slice by slice.

    Parameters
    ----------
    las, affine : numpy.ndarray
        Slices in LAS orientation, and their affine.
    centreline_mm : numpy.ndarray
        (slices, 2), from the corner of the field of view.
    """
    scanned = las != windows.darkest(las)
    margins = np.full(len(centreline_mm), np.nan)
    for k in np.flatnonzero(scanned.any(axis=(0, 1))):
        to_edges = []
        for axis, size_mm in enumerate(nib.affines.voxel_sizes(affine)[:2]):
            first, last = np.flatnonzero(scanned[..., k].any(axis=1 - axis))[[0, -1]]
            at = centreline_mm[k, axis]
            to_edges += [at - first * size_mm, (last + 1) * size_mm - at]
        margins[k] = min(to_edges)
    return margins


def qc_flags(
    session: Session,
    found: Localisation,
    gathered: features.Features,
    areas_mm2: np.ndarray,
    at_border: np.ndarray,
    expected_dice: np.ndarray,
) -> list[Flag]:
    """Return all QC flags of a scan; slices are counted as they are stored.

    Parameters
    ----------
    session : Session
        The scan and the model.
    found : Localisation
        Where the windows lie, and how the cord was localised.
    gathered : gmseg.inference.quality.features.Features
        Features of all slices.
    areas_mm2, at_border : numpy.ndarray
        (slices,), see `gmseg.inference.quality.flags.area_flags`.
    expected_dice : numpy.ndarray
        (slices,), see `gmseg.inference.quality.expected_dice.predict`.
    """
    scan, detections = session.scan, found.detections
    flags = header_flags(scan.like, scan.shape)
    if scan.bad_voxels:
        text = f"{scan.bad_voxels} voxels are NaN or infinite, all outside the window"
        flags.append(Flag("bad-voxels", text))
    flags += area_flags(areas_mm2, searched=found.how == "not found", at_border=at_border)
    flags += feature_flags(gathered, features.symmetry(gathered, session.spacing_mm))
    flags += _interpolation_flags(scan)
    if detections.centreline is not None:
        flags += _oblique_flags(session, detections)
        flags += _orientation_flags(session, found)
    soft_dice = float(np.nanmedian(gathered.soft_dice)) if gathered.count else 0.0
    if not detections.plausible or soft_dice < _DOUBTFUL:
        flags += _variant_flags(session, {flag.name for flag in flags})
    return flags + confidence_flags(expected_dice)


def _interpolation_flags(scan: ScanReader) -> list[Flag]:
    """Flag a scan whose finest detail is larger than its pixels."""
    pixels = features.effective_resolution_px(
        lambda k: np.take(scan.read(k, k + 1), 0, scan.axis), scan.slices
    )
    if pixels <= LIMITS["interpolated"].value:
        return []
    pixel_mm = np.delete(nib.affines.voxel_sizes(scan.affine), scan.axis).max()
    text = f"interpolated: the finest detail is {pixels * pixel_mm:.2g} mm, larger than a pixel"
    return [Flag("interpolated", text)]


def _oblique_flags(session: Session, detections: Detections) -> list[Flag]:
    """Flag a cord that does not run across the slices."""
    where = np.flatnonzero(detections.consistent)
    if detections.centreline is None or where.size < 3:
        return []
    slopes = [np.polyfit(where, detections.centreline[where, axis], 1)[0] for axis in (0, 1)]
    ratio = session.spacing_mm / session.geometry.slice_mm
    degrees = np.rad2deg(np.arctan(np.hypot(*slopes) * ratio))
    if degrees <= LIMITS["oblique"].value:
        return []
    return [Flag("oblique", f"the cord is inclined by {degrees:.0f} degrees to the slices")]


def _orientation_flags(session: Session, found: Localisation) -> list[Flag]:
    """Flag slices in which the network finds more GM when they are rotated by quarter turns."""
    detections = found.detections
    assert detections.centreline is not None
    detected = np.flatnonzero(detections.consistent)
    evenly = np.linspace(0, len(detected) - 1, _PROBED_SLICES + 2).astype(int)[1:-1]
    chosen = np.unique(detected[evenly])
    size = round(_PROBE_MM / session.spacing_mm)
    at = np.rint(detections.centreline).astype(int)
    cut = np.concatenate([session.cut(k, k + 1, at[k : k + 1], size) for k in chosen])
    upright = standardised(cut, *session.mean_and_std(found.centres))
    rotated = [np.rot90(upright, quarters, axes=(1, 2)) for quarters in (1, 2, 3)]
    soft = predict_windows(session.predict, np.concatenate(rotated))[:, 0]
    pixels = (soft > 0.5).sum(axis=(1, 2)).reshape(3, -1).mean(axis=1)
    areas = np.array([detections.areas_mm2[chosen].mean(), *pixels * session.spacing_mm**2])
    best = int(np.argmax(areas))
    more = areas[best] > LIMITS["orientation"].value * areas[0]
    return [_orientation_flag(best)] if more else []


def _orientation_flag(quarters: int) -> Flag:
    degrees = 180 if quarters == 2 else 90
    text = f"the slices seem to be rotated by {degrees} degrees relative to their affine"
    return Flag("orientation", f"{text}; check the header")


def _variant_flags(session: Session, raised: set[str]) -> list[Flag]:
    """Localise the cord after contrast inversion and rotation, and flag what works best."""
    thin, _ = session.scan.thinned(_TRIED_SLICES)
    voxels = thin.read(0, thin.slices)
    best: float = 0.0
    flags: list[Flag] = []
    for quarters in (0, 1, 2, 3):
        flag = _orientation_flag(quarters)
        variant, affine = _rotated(voxels, thin, quarters)
        if quarters == 0:
            text = "contrast is inverted: gray matter is darker than white matter, as in T1"
            flag = Flag("inverted", text)
            variant = _negative(voxels)
        if flag.name in raised:
            continue
        scan = array_reader(thin.name, variant, affine, thin.bad_voxels)
        try:
            variant_session = replace(session, scan=scan, progress=None, _mean_stds={})
            found = variant_session.localise(_TRIED_WINDOWS)
        except InputError:  # nothing in the window
            continue
        detections = found.detections
        if found.how != "not found" and detections.plausible and detections.support > best:
            best, flags = detections.support, [flag]
            if quarters == 0:
                break
    return flags


def _negative(voxels: np.ndarray) -> np.ndarray:
    """Invert the contrast; air stays dark."""
    low, top = np.percentile(voxels[np.isfinite(voxels)], [0, 99])
    voxels, top = voxels - low, top - low
    return np.where(voxels > 0.1 * top, np.maximum(1.1 * top - voxels, 0), voxels)


def _rotated(voxels: np.ndarray, scan: ScanReader, quarters: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotate slices by quarter turns; pixels keep their sides."""
    first, second = (axis for axis in range(3) if axis != scan.axis)
    affine = scan.affine.copy()
    if quarters % 2:
        sizes = nib.affines.voxel_sizes(affine)
        affine[:3, first] *= sizes[second] / sizes[first]
        affine[:3, second] *= sizes[first] / sizes[second]
    return np.ascontiguousarray(np.rot90(voxels, quarters, axes=(first, second))), affine
