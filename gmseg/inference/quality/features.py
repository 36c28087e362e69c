"""Features, slice by slice and over the scan, of whether a segmentation is to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gmseg.inference import planes
from gmseg.inference.localisation import GATHER_MM

CROP_MM = 28.0
"""Side of the square around the cord's way that is looked at."""
RING_MM = (0.5, 1.75)  # from the border of GM: what lies there is white matter, mostly
NEAR_MM = 12.0  # from the cord's way: the cord and the fluid around it
_ANGLES = np.arange(-60, 61, 5)  # degrees
_SHIFTS = np.arange(-8, 9)  # pixels of 0.5 mm
_STEP_MM = 0.5  # of the maps in which the axis of symmetry is looked for
_MOST = 6.0  # spreads: brighter and darker pixels count so much


@dataclass
class Features:
    """What is gathered over the slices; one value per slice, NaN where there is no GM.

    Attributes
    ----------
    soft_dice : list of float
        Dice that the soft segmentation expects of its own mask, were it calibrated.
    second_mm2 : list of float
        Area of the second largest piece of GM.
    contrast : list of float
        Median of GM minus that of the white matter around it, over the latter's spread.
    margin_mm : list of float
        From the cord's middle to the edge of what was scanned.
    clipped : list of float
        Share of the pixels around the cord that have the highest value there.
    soft, bright : numpy.ndarray
        Sums over the slices, centred on the GM, of the soft segmentation and of the contrast.
    """

    soft_dice: list = field(default_factory=list)
    second_mm2: list = field(default_factory=list)
    contrast: list = field(default_factory=list)
    margin_mm: list = field(default_factory=list)
    clipped: list = field(default_factory=list)
    soft: np.ndarray | float = 0.0
    bright: np.ndarray | float = 0.0
    count: int = 0

    def add(self, soft: np.ndarray, scan: np.ndarray, spacing_mm: float, margin_mm: float) -> None:
        """Look at a slice: crops around the cord's way, (n, n), of both, and their pixel size."""
        self.margin_mm.append(margin_mm)
        self.clipped.append(_clipped(scan, spacing_mm))
        inside = soft > 0.5
        if inside.sum() * spacing_mm**2 < 1:
            for values in (self.soft_dice, self.second_mm2, self.contrast):
                values.append(np.nan)
            return
        self.soft_dice.append(2 * float(soft[inside].sum()) / float(soft.sum() + inside.sum()))
        self.second_mm2.append(_second_mm2(inside, spacing_mm))
        nearest, farthest = (planes.within(inside, reach, spacing_mm) for reach in RING_MM)
        ring = scan[farthest & ~nearest]
        level = planes.median(ring)
        spread = 1.4826 * planes.median(np.abs(ring - level))
        if not spread > 0:
            self.contrast.append(np.nan)
            return
        relative = np.clip((scan - level) / spread, -_MOST, _MOST)
        self.contrast.append(float(planes.median(relative[inside])))
        shift = np.rint(planes.middle(soft) - (len(soft) - 1) / 2).astype(int)
        self.soft = self.soft + np.roll(soft, -shift, (0, 1))
        self.bright = self.bright + np.roll(relative, -shift, (0, 1))
        self.count += 1


def _second_mm2(inside: np.ndarray, spacing_mm: float) -> float:
    """Return the area of the second largest piece; halves of a butterfly are one piece."""
    pieces, count = planes.pieces(planes.within(inside, GATHER_MM / 2, spacing_mm))
    if count < 2:
        return 0.0
    return float(np.sort(planes.sums(inside, pieces, count))[-2] * spacing_mm**2)


def _clipped(scan: np.ndarray, spacing_mm: float) -> float:
    """Return the share of pixels near the cord that have the highest value of them all."""
    axis = (np.arange(len(scan)) - (len(scan) - 1) / 2) * spacing_mm
    near = scan[np.hypot(axis[:, None], axis[None]) <= NEAR_MM]
    top = near.max()
    if not top > near.min():
        return np.nan
    return float(np.mean(near >= top - 1e-6 * abs(top)))


@dataclass(frozen=True)
class Symmetry:
    """How alike the left and the right of the cord are, on the mean of its slices.

    Attributes
    ----------
    angle_deg : float
        By which the butterfly's axis is turned from front to back.
    area : float
        Difference of the sides' areas over their sum, 0 to 1.
    contrast : (float, float)
        Of the sides: of GM to the white matter around it, in its spreads.
    """

    angle_deg: float
    area: float
    contrast: tuple[float, float]


def symmetry(signs: Features, spacing_mm: float) -> Symmetry | None:
    """Find the axis of symmetry of the mean soft segmentation, and compare its sides.

    Returns
    -------
    Symmetry or None
        None where no slice shows GM.
    """
    if not signs.count:
        return None
    zoom = spacing_mm / _STEP_MM
    at = np.linspace(0, len(signs.soft) - 1, round(len(signs.soft) * zoom))
    soft, bright = (
        planes.sampled(planes.blurred(part / signs.count, 0.4 / zoom), at, at)
        for part in (signs.soft, signs.bright)
    )
    best = -1.0
    for angle in _ANGLES:
        turned = planes.turned(soft, angle)
        for shift in _SHIFTS:
            alike = float((turned * np.roll(turned[::-1], shift, axis=0)).sum() / (turned**2).sum())
            if alike > best:
                best, found, moved = alike, angle, shift
    axis = (len(soft) - 1 + moved) / 2
    rows = np.arange(len(soft))[:, None]
    turned, relative = planes.turned(soft, found), planes.turned(bright, found)
    sides = [turned * (rows < axis - 0.5), turned * (rows > axis + 0.5)]
    areas = [float(side.sum()) for side in sides]
    contrasts = [
        float((side * relative).sum() / area) if area > 0 else 0.0
        for side, area in zip(sides, areas, strict=True)
    ]
    return Symmetry(float(found), abs(areas[0] - areas[1]) / sum(areas), tuple(contrasts))


def area_jumps(areas: np.ndarray) -> np.ndarray:
    """Return by what factor a slice's area leaps from both of its neighbours', 1 and more.

    Where a neighbour has no GM, or the slice itself, there is nothing to compare: 1.
    """
    areas = np.asarray(areas, float)
    found = np.ones(len(areas))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        before, after = (np.abs(np.log(areas[1:-1] / part)) for part in (areas[:-2], areas[2:]))
    both = np.isfinite(before) & np.isfinite(after)
    found[1:-1] = np.where(both, np.exp(np.clip(np.minimum(before, after), None, 10)), 1)
    return found


def true_pixel(read: Callable[[int], np.ndarray], slices: int) -> float:
    """Return how many pixels wide the finest detail of a scan is, at least 1.

    Interpolated (zero-filled) scans hold nothing in the outer part of k-space.

    Parameters
    ----------
    read : callable
        From a slice's number to its pixels, 2-D.
    slices : int

    Returns
    -------
    float
        1 where the outermost tenth of k-space holds something along both axes.
    """
    profiles = [0.0, 0.0]
    for k in np.unique(np.linspace(0, slices - 1, 9).astype(int)[1:-1] if slices > 2 else [0]):
        plane = np.nan_to_num(np.asarray(read(int(k)), np.float64), posinf=0, neginf=0)
        taper = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
        power = np.abs(np.fft.fft2((plane - plane.mean()) * taper)) ** 2
        profiles = [profiles[axis] + power.sum(axis=1 - axis) for axis in (0, 1)]
    return max(_true_pixel(profile) for profile in profiles)


def _true_pixel(profile: np.ndarray) -> float:
    if len(profile) < 32:  # too few pixels to tell
        return 1.0
    frequency = np.abs(np.fft.fftfreq(len(profile))) * 2
    bands = np.arange(10) / 10
    levels = np.array(
        [profile[(frequency >= low) & (frequency < low + 0.1)].mean() for low in bands]
    )
    if not levels[1] > 0:
        return 1.0
    holds = np.flatnonzero(levels / levels[1] > EMPTY_POWER)
    return float(1 / (bands[holds[-1]] + 0.1))


EMPTY_POWER = 10**-3.9
"""Of the power near the middle of k-space; the outer part of no scan here holds less than 4e-4."""
