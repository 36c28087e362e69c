"""QC flags: reasons not to trust a segmentation, each with its limit."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from gmseg.core.geometry import slice_axis, slice_lean_deg
from gmseg.inference.quality.features import Features, Symmetry, area_jumps
from gmseg.io.voxel_sizes import unit_of
from gmseg.morphometry.anatomy import OBLIQUE_DEG, OUTSIDE_CORD


@dataclass(frozen=True)
class Limit:
    """When a flag is raised.

    Attributes
    ----------
    limit : float or None
        Value that decides; None where none does.
    meaning : str
        Unit of the limit, and what is measured.
    reason : str
        Why this matters.
    """

    limit: float | None
    meaning: str
    reason: str

    @property
    def value(self) -> float:
        """The limit of a flag that has one."""
        assert self.limit is not None
        return self.limit


_UNEVEN_DIFFERENCE = 0.4  # smallest difference of contrasts that counts as uneven
_MOST_LEAN_DEG = 45.0  # between the normal of axial slices and inferior-superior
_SIZE_TOLERANCE = 0.01  # of the smallest voxel size
_WRONG_SLICE = 0.7  # expected Dice of a slice that is named
_SEVERAL_SLICES = 0.1  # share of the slices that must have several components

LIMITS = {
    "no-gm": Limit(None, "", "the cord was missed, or the slice lies beyond it or is degraded"),
    "small-area": Limit(2.0, "mm^2, least area in a slice", "no human cord has so little GM"),
    "large-area": Limit(45.0, "mm^2, largest area in a slice", "no human cord has so much GM"),
    "area-jump": Limit(
        1.45,
        "times larger or smaller than both neighbouring slices",
        "the cord changes slowly; a jump is an error or movement",
    ),
    "components": Limit(
        1.5,
        "mm^2 of a second connected component, in more than a tenth of the slices",
        "the butterfly is one connected component",
    ),
    "window-border": Limit(None, "", "GM at the border of the window is cut off there"),
    "edge": Limit(
        6.0,
        "mm from the centreline to the edge of the field of view",
        "part of the cord is missing",
    ),
    "asymmetry": Limit(
        0.12,
        "difference of left and right areas, over their sum",
        "left and right are nearly equal in health: an artefact, a lesion or an error",
    ),
    "uneven": Limit(
        0.25,
        "difference of left and right contrasts, over their sum; at least 0.4",
        "one side is visible, the other is not reliable",
    ),
    "coarse": Limit(1.0, "mm, largest pixel in plane", "the horns are thinner than a pixel"),
    "interpolated": Limit(
        1.25, "pixels, finest detail", "the resolution is lower than the pixel size"
    ),
    "contrast": Limit(
        0.4,
        "robust standard deviations of white matter, from its median to that of GM",
        "where GM does not differ from white matter, its shape is not reliable",
    ),
    "inverted": Limit(
        None,
        "GM is found in the negative only",
        "the network expects GM brighter than white matter",
    ),
    "not-axial": Limit(
        1.5, "pixel size over slice spacing", "the network expects slices across the cord"
    ),
    "oblique": Limit(
        OBLIQUE_DEG,
        "degrees between the cord and the normal of the slices",
        "areas of oblique slices are too large",
    ),
    "orientation": Limit(
        1.15,
        "times as much GM when the slices are rotated by quarter turns",
        "the voxel order contradicts the affine; the mask is worse, and sides may be swapped",
    ),
    "turned": Limit(
        15.0,
        "degrees between the butterfly's axis and the anterior-posterior axis",
        "the network expects cords with the anterior side up",
    ),
    "clipped": Limit(
        0.004,
        "of the pixels within 12 mm of the cord have the highest value",
        "clipped intensities contain no contrast",
    ),
    "bad-voxels": Limit(None, "", "NaN or infinite voxels, all of them outside the window"),
    "geometry": Limit(1.0, "mm between qform and sform", "the position of the scan is ambiguous"),
    "voxel-size": Limit(
        None,
        "area of GM or cord, or slice thickness, implausible for an adult cervical cord",
        "a wrong voxel size in the header changes all areas",
    ),
    "outside-cord": Limit(
        OUTSIDE_CORD,
        "of the GM outside the cord mask",
        "the cord mask does not fit; with `within_cord`, GM is lost",
    ),
    "low-confidence": Limit(
        0.8,
        "expected Dice, median of the slices (0.7 of a single slice)",
        "on degraded scans below it, Dice was low",
    ),
}
"""The table of flags: name to limit and reason."""


@dataclass(frozen=True)
class Flag:
    """A QC flag that was raised.

    Attributes
    ----------
    name : str
        Key of `LIMITS`.
    text : str
        What is wrong, in words.
    slices : tuple of int
        Slices concerned, counted from 0 as stored; empty for the whole scan.
    """

    name: str
    text: str
    slices: tuple[int, ...] = ()


def header_flags(scan, shape: tuple[int, ...]) -> list[Flag]:
    """Return the flags that a scan's geometry raises.

    Parameters
    ----------
    scan : nibabel.Nifti1Image or nibabel.Nifti2Image
        Image with the scan's header.
    shape : tuple of int
        Shape of the scan.
    """
    flags = []
    codes = [int(scan.header[field]) for field in ("qform_code", "sform_code")]
    if codes == [0, 0]:
        text = "the header does not say how the scan lies: left and right are unknown"
        flags.append(Flag("geometry", text))
    if all(codes):
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
        q, s = (nib.affines.apply_affine(a, corners) for a in (scan.get_qform(), scan.get_sform()))
        limit = LIMITS["geometry"].value
        if np.abs(q - s).max() > limit:
            text = f"qform and sform differ by more than {limit:g} mm: the sform was used"
            flags.append(Flag("geometry", text))
    sizes = nib.affines.voxel_sizes(scan.affine)
    flags += _unit_flags(scan, sizes)
    axis = slice_axis(scan.affine)
    if (lean_deg := slice_lean_deg(scan.affine)) > _MOST_LEAN_DEG:
        flags.append(Flag("not-axial", f"the slices lean {lean_deg:.0f} degrees from axial"))
    pixel_mm = max(np.delete(sizes, axis))
    if pixel_mm > LIMITS["not-axial"].value * sizes[axis]:
        text = "the scan does not look axial: its slices are thinner than its pixels"
        flags.append(Flag("not-axial", text))
    if pixel_mm > LIMITS["coarse"].value + 1e-4:
        flags.append(Flag("coarse", f"pixels of {pixel_mm:.2g} mm are too coarse for gray matter"))
    return flags


def _unit_flags(scan, sizes: np.ndarray) -> list[Flag]:
    """Return the flags of units and of sizes that contradict the affine, which counts."""
    flags = []
    if unit := unit_of(scan):
        text = f"the header's unit is {unit[0]}, which the voxel size rules out: mm was used"
        flags.append(Flag("voxel-size", text))
    if isinstance(scan, nib.Nifti1Pair):
        stated = np.abs(np.array(scan.header["pixdim"][1:4], float))
        if np.abs(stated - sizes).max() > _SIZE_TOLERANCE * sizes.min():
            texts = (" x ".join(f"{size:.3g}" for size in each) for each in (stated, sizes))
            text = "pixdim of {} mm contradicts the affine: {} mm was used".format(*texts)
            flags.append(Flag("voxel-size", text))
    return flags


def area_flags(areas_mm2, *, at_border, searched: bool = False) -> list[Flag]:
    """Return the flags that the areas of GM raise.

    Parameters
    ----------
    areas_mm2 : array_like
        GM area per slice.
    at_border : numpy.ndarray
        bool (slices,): GM reaches the border of the window.
    searched : bool
        Whether the whole field of view was searched.

    Examples
    --------
    >>> [flag] = area_flags([14.0, 0.0, 15.0], at_border=np.zeros(3, bool))
    >>> flag.name, flag.slices
    ('no-gm', (1,))
    """
    areas_mm2 = np.asarray(areas_mm2)
    empty = areas_mm2 == 0
    if empty.all():
        where = "the cord may lie outside the window; give its place with `centre=(x, y)` or `cord`"
        if searched:
            where = "nowhere in the field of view; is it an axial T2*-weighted scan of the cord?"
        return [Flag("no-gm", f"no gray matter found: {where}", tuple(range(len(areas_mm2))))]
    least, most = LIMITS["small-area"].value, LIMITS["large-area"].value
    small, large = ~empty & (areas_mm2 < least), areas_mm2 > most
    jumps = area_jumps(np.where(small, 0, areas_mm2)) > LIMITS["area-jump"].value
    return [
        flag
        for name, wrong, text in (
            ("no-gm", empty, "no gray matter found"),
            ("small-area", small, f"area below {least:g} mm^2"),
            ("large-area", large, f"area above {most:g} mm^2"),
            ("area-jump", jumps & ~small & ~large, "area jumps between neighbouring slices"),
            ("window-border", at_border, "gray matter at the border of the window"),
        )
        for flag in _in_slices(name, wrong, text)
    ]


def feature_flags(features: Features, sides: Symmetry | None) -> list[Flag]:
    """Return the flags that the features of the slices raise.

    Parameters
    ----------
    features : Features
        In the order in which the slices are stored.
    sides : Symmetry or None
        From `gmseg.inference.quality.features.symmetry`.
    """
    second, margin, clipped = (
        np.array(values, float)
        for values in (features.second_mm2, features.margin_mm, features.clipped)
    )
    flags = []
    with np.errstate(invalid="ignore"):
        several = second >= LIMITS["components"].value
        if several.sum() > _SEVERAL_SLICES * len(several):
            text = "two or more connected components of gray matter"
            flags += _in_slices("components", several, text)
        near = margin < LIMITS["edge"].value
        flags += _in_slices("edge", near, "the cord lies at the edge of the field of view")
        at_top = clipped > LIMITS["clipped"].value
        if 2 * at_top.sum() >= len(at_top):
            flags.append(Flag("clipped", "intensities are clipped around the cord"))
    return flags if sides is None else flags + _symmetry_flags(sides)


def _symmetry_flags(sides: Symmetry) -> list[Flag]:
    flags = []
    left, right = sides.contrast
    if sides.area > LIMITS["asymmetry"].value:
        text = f"left and right differ in area by {200 * sides.area:.0f} % of their mean"
        flags.append(Flag("asymmetry", text))
    difference = abs(left - right)
    if difference > _UNEVEN_DIFFERENCE and difference > LIMITS["uneven"].value * (
        abs(left) + abs(right)
    ):
        text = "gray matter is much more visible on one side than on the other"
        flags.append(Flag("uneven", text))
    elif (left + right) / 2 < LIMITS["contrast"].value:
        text = "gray matter hardly differs from the white matter around it"
        flags.append(Flag("contrast", text))
    if abs(sides.angle_deg) > LIMITS["turned"].value:
        text = f"the cord is rotated by about {abs(sides.angle_deg):.0f} degrees in the slices"
        flags.append(Flag("turned", text))
    return flags


def confidence_flags(expected_dice: np.ndarray) -> list[Flag]:
    """Return the flags of a low expected Dice: of the scan, and of single slices.

    Parameters
    ----------
    expected_dice : numpy.ndarray
        (slices,), NaN where nothing is expected.

    Examples
    --------
    >>> [flag] = confidence_flags(np.array([0.9, 0.46, np.nan, 0.9]))
    >>> flag.text, flag.slices
    ('the mask is probably wrong (expected Dice below 0.7, lowest 0.46) in slice 1', (1,))
    """
    if not np.isfinite(expected_dice).any():
        return []
    flags = []
    typical, lowest = np.nanmedian(expected_dice), np.nanmin(expected_dice)
    if typical < LIMITS["low-confidence"].value:
        text = f"the mask is probably poor: its expected Dice is about {typical:.2f}"
        flags.append(Flag("low-confidence", text))
    wrong = np.nan_to_num(expected_dice, nan=1.0) < _WRONG_SLICE
    text = f"the mask is probably wrong (expected Dice below {_WRONG_SLICE:g}, lowest {lowest:.2f})"
    return flags + _in_slices("low-confidence", wrong, text)


def _in_slices(name: str, wrong: np.ndarray, text: str) -> list[Flag]:
    """Return a flag for the slices in which something is wrong, if there are any."""
    which = np.flatnonzero(wrong)
    if not which.size:
        return []
    return [Flag(name, f"{text} in slice {ranges(which)}", tuple(int(k) for k in which))]


def ranges(numbers: np.ndarray) -> str:
    """Return sorted numbers as text.

    Examples
    --------
    >>> ranges(np.array([0, 1, 2, 5]))
    '0-2, 5'
    """
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)
