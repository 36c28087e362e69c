"""Flags: what says that a segmentation should not be trusted, each with its limit and reason."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from gmseg.core.geometry import slice_axis
from gmseg.inference.quality.features import Features, Symmetry, area_jumps


@dataclass(frozen=True)
class Limit:
    """When a flag is raised.

    Attributes
    ----------
    limit : float or None
        The figure that decides; None where none does.
    unit : str
        Of it, and of what it is.
    reason : str
        Why this matters.
    """

    limit: float | None
    unit: str
    reason: str


LIMITS = {
    "no-gm": Limit(None, "", "the cord was missed, or the slice is beyond it or spoiled"),
    "small-area": Limit(2.0, "mm^2, least area in a slice", "no human cord has so little GM"),
    "large-area": Limit(45.0, "mm^2, largest area in a slice", "no human cord has so much GM"),
    "area-jump": Limit(
        1.45,
        "times the area of both neighbours, or less by it",
        "a cord changes slowly; a leap is a mistake or movement",
    ),
    "pieces": Limit(
        1.5, "mm^2 of a second piece, in over a tenth of the slices", "the butterfly is one piece"
    ),
    "window-border": Limit(None, "", "GM at the border of the window is cut off there"),
    "edge": Limit(
        6.0, "mm from the cord's middle to the edge of the field", "part of the cord is missing"
    ),
    "asymmetry": Limit(
        0.12,
        "difference of left and right areas, over their sum",
        "left and right are nearly equal in health: an artefact, a lesion or a mistake",
    ),
    "uneven": Limit(
        0.25,
        "difference of left and right contrasts, over their sum, and 0.4 in all",
        "one side was seen, the other guessed",
    ),
    "coarse": Limit(1.0, "mm, largest pixel in plane", "the butterfly's arms are thinner"),
    "interpolated": Limit(1.25, "pixels, finest detail", "the scan is coarser than its pixels say"),
    "contrast": Limit(
        0.4,
        "spreads of the white matter, from its median to that of GM",
        "where GM cannot be told from white matter, its shape is guessed",
    ),
    "inverted": Limit(
        None, "GM is found in the negative only", "the network knows GM brighter than white matter"
    ),
    "not-axial": Limit(1.5, "pixel over slice spacing", "the network knows slices across the cord"),
    "oblique": Limit(
        35.0,
        "degrees between the cord and the slices' normal",
        "areas of slanted slices are too large",
    ),
    "orientation": Limit(
        1.15,
        "times as much GM is seen when the slices are turned by quarters",
        "the voxels do not lie as the affine says; the mask is worse, and sides may be swapped",
    ),
    "turned": Limit(
        15.0,
        "degrees between the butterfly's axis and front to back",
        "the network knows upright cords",
    ),
    "clipped": Limit(
        0.004,
        "of the pixels within 12 mm of the cord have the highest value",
        "what was cut off cannot be compared",
    ),
    "bad-voxels": Limit(None, "", "NaN or infinite voxels; all of them outside the window"),
    "geometry": Limit(1.0, "mm between qform and sform", "nobody can say where the scan lies"),
    "low-confidence": Limit(
        0.8, "Dice foretold, median of the slices", "on spoiled scans so foretold, it was low"
    ),
}
"""The one table of flags: name to limit and reason."""


@dataclass(frozen=True)
class Flag:
    """A flag that was raised.

    Attributes
    ----------
    name : str
        In `LIMITS`.
    text : str
        What is wrong, in words.
    slices : tuple of int
        Which slices, counted from 0 as they are stored; empty where it is all of the scan.
    """

    name: str
    text: str
    slices: tuple[int, ...] = ()


def header_flags(scan: nib.Nifti1Image, shape) -> list[Flag]:
    """Say what is suspicious about where a scan's header puts its voxels.

    Parameters
    ----------
    scan : nibabel.Nifti1Image
        An image with the scan's header.
    shape : tuple of int
        The scan's.
    """
    flags = []
    codes = [int(scan.header[field]) for field in ("qform_code", "sform_code")]
    if codes == [0, 0]:
        text = "the header does not say how the scan lies: left and right are a guess"
        flags.append(Flag("geometry", text))
    if all(codes):
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
        q, s = (nib.affines.apply_affine(a, corners) for a in (scan.get_qform(), scan.get_sform()))
        limit = LIMITS["geometry"].limit
        if np.abs(q - s).max() > limit:
            text = f"qform and sform differ by more than {limit:g} mm: the sform was used"
            flags.append(Flag("geometry", text))
    sizes = nib.affines.voxel_sizes(scan.affine)
    axis = slice_axis(scan.affine)
    pixel_mm = max(np.delete(sizes, axis))
    if pixel_mm > LIMITS["not-axial"].limit * sizes[axis]:
        text = "the scan does not look axial: its slices are thinner than its pixels"
        flags.append(Flag("not-axial", text))
    if pixel_mm > LIMITS["coarse"].limit + 1e-4:
        flags.append(Flag("coarse", f"pixels of {pixel_mm:.2g} mm are too coarse for gray matter"))
    return flags


def area_flags(areas_mm2, *, at_border, searched: bool = False) -> list[Flag]:
    """Say what is suspicious about the areas of GM.

    Parameters
    ----------
    areas_mm2 : numpy.ndarray
        GM area per slice.
    at_border : numpy.ndarray
        bool (slices,): GM reaches the border of the window.
    searched : bool
        Whether the whole field of view was looked at.

    Returns
    -------
    list of Flag
        Slices are counted from 0.
    """
    areas_mm2 = np.asarray(areas_mm2)
    empty = areas_mm2 == 0
    if empty.all():
        where = "the cord may lie outside the window; give its place with --centre X,Y or --cord"
        if searched:
            where = "nowhere in the field of view; is it an axial T2*-weighted scan of the cord?"
        return [Flag("no-gm", f"no gray matter found: {where}", tuple(range(len(areas_mm2))))]
    least, most = LIMITS["small-area"].limit, LIMITS["large-area"].limit
    small, large = ~empty & (areas_mm2 < least), areas_mm2 > most
    leaps = (
        (area_jumps(np.where(small, 0, areas_mm2)) > LIMITS["area-jump"].limit) & ~small & ~large
    )
    return [
        flag
        for name, wrong, text in (
            ("no-gm", empty, "no gray matter found"),
            ("small-area", small, f"area below {least:g} mm^2"),
            ("large-area", large, f"area above {most:g} mm^2"),
            ("area-jump", leaps, "area leaps between neighbours"),
            ("window-border", at_border, "gray matter at the border of the window"),
        )
        for flag in _in_slices(name, wrong, text)
    ]


def sign_flags(signs: Features, sides: Symmetry | None) -> list[Flag]:
    """Say what is suspicious about what the slices show.

    Parameters
    ----------
    signs : Features
        In the order in which the slices are stored.
    sides : Symmetry or None
    """
    second, margin, clipped = (
        np.array(values, float) for values in (signs.second_mm2, signs.margin_mm, signs.clipped)
    )
    flags = []
    with np.errstate(invalid="ignore"):
        pieces = second >= LIMITS["pieces"].limit
        if pieces.sum() > 0.1 * len(pieces):
            flags += _in_slices("pieces", pieces, "two or more pieces of gray matter")
        near = margin < LIMITS["edge"].limit
        flags += _in_slices("edge", near, "the cord lies at the edge of the field of view")
        top = clipped > LIMITS["clipped"].limit
        if 2 * top.sum() >= len(top):
            flags.append(Flag("clipped", "intensities are cut off around the cord"))
    if sides is None:
        return flags
    left, right = sides.contrast
    if sides.area > LIMITS["asymmetry"].limit:
        text = f"left and right differ in area by {200 * sides.area:.0f} % of their mean"
        flags.append(Flag("asymmetry", text))
    apart = abs(left - right)
    if apart > 0.4 and apart > LIMITS["uneven"].limit * (abs(left) + abs(right)):
        text = "gray matter is seen much better on one side than on the other"
        flags.append(Flag("uneven", text))
    elif (left + right) / 2 < LIMITS["contrast"].limit:
        text = "gray matter hardly differs from the white matter around it"
        flags.append(Flag("contrast", text))
    if abs(sides.angle_deg) > LIMITS["turned"].limit:
        text = f"the cord is turned by about {abs(sides.angle_deg):.0f} degrees within the slices"
        flags.append(Flag("turned", text))
    return flags


def _in_slices(name: str, wrong: np.ndarray, text: str) -> list[Flag]:
    """Return a flag for the slices in which something is wrong, if there are any."""
    which = np.flatnonzero(wrong)
    if not which.size:
        return []
    return [Flag(name, f"{text} in slice {ranges(which)}", tuple(int(k) for k in which))]


def ranges(numbers: np.ndarray) -> str:
    """Return 0, 1, 2, 5 as ``0-2, 5``."""
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)
