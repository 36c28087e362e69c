"""Judge a segmentation while it is made: gather its signs, put questions to the network."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from gmseg.core import windows
from gmseg.core.pipeline import predict_windows
from gmseg.core.resampling import steps_mm
from gmseg.core.standardisation import standardised_by
from gmseg.errors import InputError
from gmseg.inference.quality import features
from gmseg.inference.quality.flags import LIMITS, Flag, area_flags, header_flags, sign_flags
from gmseg.inference.session import Run
from gmseg.io.scan_reader import array_reader

_PROBED = 3  # slices on which the network is asked about the orientation
_PROBE_MM = 16.0  # side of the windows for that: a cord is whole in them, or nearly
_DOUBTFUL = 0.6  # expected Dice: below it, the scan's negative and turned slices are tried
_TRIED = 4  # slices for that


def look(
    gathered: features.Features,
    run: Run,
    part: tuple[int, int],
    soft: np.ndarray,
    centres,
    path,
    order,
) -> None:
    """Gather the signs of some slices.

    Parameters
    ----------
    gathered : signs.Features
        Is added to, in the order in which the slices are stored.
    run : Run
    part : (int, int)
        First slice and last + 1, from foot to head.
    soft : numpy.ndarray
        (n, size, size), their soft windows.
    centres, path : numpy.ndarray
        (n, 2), where these were cut, and the cord's way.
    order : slice
        Turns slices from foot to head into the order in which they are stored.
    """
    spacing_mm = steps_mm(run.frame)["spacing_mm"]
    size = round(features.CROP_MM / spacing_mm)
    at = np.rint(path).astype(int)
    scans = run.cut(*part, at, size)
    corner, shape = windows.bounds(run.frame.shape, centres, soft.shape[1])
    pasted = windows.paste(soft, centres - corner, (*shape, len(soft)))  # nothing beyond the field
    softs = windows.cut(pasted, at - corner, size)
    margins = _margins(run, part, path) * spacing_mm
    for one_soft, scan, margin in list(zip(softs, scans, margins, strict=True))[order]:
        gathered.add(one_soft, scan, spacing_mm, float(margin))


def _margins(run: Run, part: tuple[int, int], path: np.ndarray) -> np.ndarray:
    """Return how far the cord's way is from the edge of what was scanned, in pixels."""
    extent = run.source.scanned_extent(*part, run.model.voxel_size_mm)
    if extent is None:
        return np.full(len(path), np.nan)
    found = []
    for axis, (first, last) in enumerate(extent):
        found += [path[:, axis] - first + 0.5, last + 0.5 - path[:, axis]]
    return np.min(found, axis=0)


def flags_of(
    run: Run,
    gathered: features.Features,
    sides,
    areas,
    at_border,
    expected,
    *,
    how: str,
    seen,
    centres,
) -> list[Flag]:
    """Return all flags of a scan; slices are counted as they are stored.

    Parameters
    ----------
    run : Run
    gathered : signs.Features
    sides : signs.Symmetry or None
    areas, at_border : numpy.ndarray
        (slices,), see `gmseg.inference.quality.flags.area_flags`.
    expected : numpy.ndarray
        (slices,), see `gmseg.inference.quality.expected_dice.predict`.
    how : str
        How the cord was found, see `gmseg.inference.localisation.follow`.
    seen : gmseg.inference.localisation.Seen
    centres : numpy.ndarray
        (slices, 2), of the windows, from foot to head.
    """
    source = run.source
    found = header_flags(source.like, source.shape)
    if source.bad:
        text = f"{source.bad} voxels are NaN or infinite, all outside the window"
        found.append(Flag("bad-voxels", text))
    found += area_flags(areas, searched=how == "not found", at_border=at_border)
    found += sign_flags(gathered, sides)
    pixels = features.true_pixel(
        lambda k: np.take(source.read(k, k + 1), 0, source.axis), source.slices
    )
    if pixels > LIMITS["interpolated"].limit:
        in_plane = np.delete(nib.affines.voxel_sizes(source.affine), source.axis).max()
        text = f"interpolated: the finest detail is {pixels * in_plane:.2g} mm, not a pixel's size"
        found.append(Flag("interpolated", text))
    if seen.path is not None:
        found += _lean(run, seen)
        found += _orientation(run, seen, centres)
    typical_soft_dice = np.nanquantile(gathered.soft_dice, 0.5) if gathered.count else 0.0
    if not seen.plausible or typical_soft_dice < _DOUBTFUL:
        found += _what_if(run, {flag.name for flag in found})
    typical = np.nanquantile(expected, 0.5) if np.isfinite(expected).any() else np.inf
    if typical < LIMITS["low-confidence"].limit:
        text = f"the mask is probably poor: a Dice of about {typical:.2f} is expected"
        found.append(Flag("low-confidence", text))
    return found


def _lean(run: Run, seen) -> list[Flag]:
    """Flag a cord that does not run across the slices."""
    if len(seen.path) < 3 or np.count_nonzero(seen.agree) < 3:
        return []
    steps = steps_mm(run.frame)
    where = np.flatnonzero(seen.agree)
    slopes = [np.polyfit(where, seen.path[where, axis], 1)[0] for axis in (0, 1)]
    degrees = np.rad2deg(np.arctan(np.hypot(*slopes) * steps["spacing_mm"] / steps["slice_mm"]))
    if degrees <= LIMITS["oblique"].limit:
        return []
    return [Flag("oblique", f"the cord leans by {degrees:.0f} degrees against the slices")]


def _orientation(run: Run, seen, centres) -> list[Flag]:
    """Ask the network whether it sees more GM when the slices are turned by quarters."""
    strong = np.flatnonzero(seen.agree)
    chosen = np.unique(strong[np.linspace(0, len(strong) - 1, _PROBED + 2).astype(int)[1:-1]])
    spacing_mm = steps_mm(run.frame)["spacing_mm"]
    size = round(_PROBE_MM / spacing_mm)
    mean, std = run.level(centres)
    at = np.rint(seen.path).astype(int)
    cut = np.concatenate([run.cut(k, k + 1, at[k : k + 1], size) for k in chosen])
    upright = standardised_by(cut, mean, std)
    turned = [np.rot90(upright, quarters, axes=(1, 2)) for quarters in (1, 2, 3)]
    soft = predict_windows(run.predict, np.concatenate(turned))
    pixels = (soft > 0.5).sum(axis=(1, 2)).reshape(3, -1).mean(axis=1)
    areas = np.array([seen.areas_mm2[chosen].mean(), *pixels * spacing_mm**2])
    best = int(np.argmax(areas))
    return [_turned_flag(best)] if areas[best] > LIMITS["orientation"].limit * areas[0] else []


def _turned_flag(quarters: int) -> Flag:
    how = "upside down (front to back)" if quarters == 2 else "turned by 90 degrees"
    text = f"the slices seem to lie {how} against their affine; check the header"
    return Flag("orientation", text)


def _what_if(run: Run, raised: set[str]) -> list[Flag]:
    """Look for the cord in the scan's negative and with its slices turned, on some slices."""
    thin, _ = run.source.thinned(_TRIED)
    voxels = thin.read(0, thin.slices)
    best, found = 0.0, []
    for quarters in (None, 1, 2, 3):
        if quarters is None:
            flag = Flag(
                "inverted",
                "contrast is inverted: gray matter is darker than white matter, as in T1",
            )
            changed, affine = _negative(voxels), thin.affine
        else:
            flag = _turned_flag(quarters)
            changed, affine = _turned(voxels, thin, quarters)
        if flag.name in raised:
            continue
        asked = Run(
            array_reader(thin.name, changed, affine, thin.bad),
            run.model,
            run.predict,
            run.standardise,
        )
        try:
            *_, seen, how = asked.follow()
        except InputError:  # nothing in the window
            continue
        if how != "not found" and seen.plausible and seen.support > best:
            best, found = seen.support, [flag]
            if quarters is None:
                break
    return found


def _negative(voxels: np.ndarray) -> np.ndarray:
    """Turn bright and dark, but for air, which is dark in both."""
    top = np.percentile(voxels[np.isfinite(voxels)], 99)
    return np.where(voxels > 0.1 * top, np.maximum(1.1 * top - voxels, 0), voxels)


def _turned(voxels: np.ndarray, source, quarters: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn slices by quarters; pixels keep their sides."""
    first, second = (axis for axis in range(3) if axis != source.axis)
    affine = source.affine.copy()
    if quarters % 2:
        sizes = nib.affines.voxel_sizes(affine)
        affine[:3, first] *= sizes[second] / sizes[first]
        affine[:3, second] *= sizes[first] / sizes[second]
    return np.ascontiguousarray(np.rot90(voxels, quarters, axes=(first, second))), affine
