"""Features of a segmentation, per slice and over the scan, that QC flags are decided on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from gmseg.inference.localisation import components

CROP_MM = 28.0
"""Side of the square around the centreline that is examined."""
_RING_MM = (0.5, 1.75)  # from the border of GM: mostly white matter
_NEAR_MM = 12.0  # from the centreline: the cord and the CSF around it
_ANGLES_DEG = np.arange(-60, 61, 5)
_SHIFTS_PX = np.arange(-8, 9)
_STEP_MM = 0.5  # pixels of the maps in which the axis of symmetry is searched
_MOST_SPREADS = 6.0  # brighter and darker pixels are clipped
_EMPTY_POWER = 10**-3.9
"""Relative power below which a part of k-space is empty; in real scans it is above 4e-4."""


@dataclass
class Features:
    """Features gathered over the slices; one value per slice, NaN where there is no GM.

    Attributes
    ----------
    soft_dice : list of float
        Dice between the soft segmentation and its mask: the Dice to expect if the soft
        segmentation were calibrated.
    second_mm2 : list of float
        Area of the second largest connected component of GM.
    contrast : list of float
        Median of GM minus that of the white matter around it, over the spread of the latter.
    margin_mm : list of float
        Distance from the centreline to the edge of the scanned field of view.
    clipped : list of float
        Share of the pixels around the cord that have the highest value there.
    soft, relative : numpy.ndarray
        Sums over the slices, centred on the GM, of the soft segmentation and of the intensity
        relative to white matter.
    count : int
        Number of slices in these sums.
    """

    soft_dice: list[float] = field(default_factory=list)
    second_mm2: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    margin_mm: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    soft: np.ndarray = field(default_factory=lambda: np.zeros(()))
    relative: np.ndarray = field(default_factory=lambda: np.zeros(()))
    count: int = 0

    def add(self, soft: np.ndarray, scan: np.ndarray, spacing_mm: float, margin_mm: float) -> None:
        """Add a slice: crops around the centreline, (n, n), of both, and their pixel size."""
        scan = np.asarray(scan, np.float64)  # differences of float32 may overflow
        self.margin_mm.append(margin_mm)
        self.clipped.append(_clipped(scan, spacing_mm))
        inside = soft > 0.5
        if inside.sum() * spacing_mm**2 < 1:
            for values in (self.soft_dice, self.second_mm2, self.contrast):
                values.append(np.nan)
            return
        self.soft_dice.append(2 * float(soft[inside].sum()) / float(soft.sum() + inside.sum()))
        self.second_mm2.append(_second_mm2(inside, spacing_mm))
        distance_mm = ndimage.distance_transform_edt(~inside) * spacing_mm
        ring = scan[(distance_mm > _RING_MM[0]) & (distance_mm <= _RING_MM[1])]
        level = np.median(ring) if ring.size else np.nan
        spread = 1.4826 * np.median(np.abs(ring - level)) if ring.size else np.nan
        if not spread > 0:
            self.contrast.append(np.nan)
            return
        relative = np.clip((scan - level) / spread, -_MOST_SPREADS, _MOST_SPREADS)
        self.contrast.append(float(np.median(relative[inside])))
        shift = np.rint(np.array(ndimage.center_of_mass(soft)) - (len(soft) - 1) / 2).astype(int)
        self.soft = self.soft + np.roll(soft, -shift, (0, 1))
        self.relative = self.relative + np.roll(relative, -shift, (0, 1))
        self.count += 1


def _second_mm2(inside: np.ndarray, spacing_mm: float) -> float:
    """Return the area of the second largest component."""
    labels, count = components(inside, spacing_mm)
    if count < 2:
        return 0.0
    return float(np.sort(np.bincount(labels.ravel())[1:])[-2] * spacing_mm**2)


def _clipped(scan: np.ndarray, spacing_mm: float) -> float:
    """Return the share of pixels near the cord that have the highest value of all."""
    axis = (np.arange(len(scan)) - (len(scan) - 1) / 2) * spacing_mm
    near = scan[np.hypot(axis[:, None], axis[None]) <= _NEAR_MM]
    top = near.max()
    if not top > near.min():
        return np.nan
    return float(np.mean(near >= top - 1e-6 * abs(top)))


@dataclass(frozen=True)
class Symmetry:
    """How similar the left and the right of the cord are, in the mean of its slices.

    Attributes
    ----------
    angle_deg : float
        Angle between the butterfly's axis and the anterior-posterior axis.
    area : float
        Difference of the areas of the sides over their sum, 0 to 1.
    contrast : (float, float)
        Contrast of the sides: of GM to the white matter around it, in spreads of the latter.
    """

    angle_deg: float
    area: float
    contrast: tuple[float, float]


def symmetry(features: Features, spacing_mm: float) -> Symmetry | None:
    """Find the axis of symmetry of the mean soft segmentation, and compare the sides.

    Returns
    -------
    Symmetry or None
        None where no slice shows GM.
    """
    if not features.count:
        return None
    zoom = spacing_mm / _STEP_MM
    soft, relative = (
        ndimage.zoom(ndimage.gaussian_filter(part / features.count, 0.4 / zoom), zoom, order=1)
        for part in (features.soft, features.relative)
    )
    angle, shift = _best_axis(soft)
    axis = (len(soft) - 1 + shift) / 2
    rows = np.arange(len(soft))[:, None]
    soft, relative = _rotated(soft, angle), _rotated(relative, angle)
    sides = [soft * (rows < axis - 0.5), soft * (rows > axis + 0.5)]
    right, left = (float(side.sum()) for side in sides)
    contrasts = [
        float((side * relative).sum() / area) if area > 0 else 0.0
        for side, area in zip(sides, (right, left), strict=True)
    ]
    return Symmetry(angle, abs(right - left) / (right + left), (contrasts[0], contrasts[1]))


def _best_axis(soft: np.ndarray) -> tuple[float, int]:
    """Return the angle and the shift at which a soft segmentation mirrors itself best."""
    best, angle, shift = -1.0, 0.0, 0
    for degrees in _ANGLES_DEG:
        rotated = _rotated(soft, float(degrees))
        for pixels in _SHIFTS_PX:
            mirrored = np.roll(rotated[::-1], pixels, axis=0)
            overlap = float((rotated * mirrored).sum() / (rotated**2).sum())
            if overlap > best:
                best, angle, shift = overlap, float(degrees), int(pixels)
    return angle, shift


def _rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    return ndimage.rotate(image, -degrees, order=1, reshape=False)


def area_jumps(areas: np.ndarray) -> np.ndarray:
    """Return the factor by which the area of a slice differs from both of its neighbours'.

    It is 1 where the slice or a neighbour has no GM.

    Examples
    --------
    >>> area_jumps(np.array([10.0, 20.0, 10.0, 10.0]))
    array([1., 2., 1., 1.])
    """
    areas = np.asarray(areas, float)
    jumps = np.ones(len(areas))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        before, after = (np.abs(np.log(areas[1:-1] / part)) for part in (areas[:-2], areas[2:]))
    both = np.isfinite(before) & np.isfinite(after)
    jumps[1:-1] = np.where(both, np.exp(np.clip(np.minimum(before, after), None, 10)), 1)
    return jumps


def effective_resolution_px(read: Callable[[int], np.ndarray], slices: int) -> float:
    """Return how many pixels wide the finest detail of a scan is, at least 1.

    Interpolated (zero-filled) scans contain nothing in the outer part of k-space.

    Parameters
    ----------
    read : callable
        From the number of a slice to its pixels, 2-D.
    slices : int
        Number of slices.

    Returns
    -------
    float
        1 where the outermost tenth of k-space contains power along both axes.
    """
    profiles = [np.zeros(1), np.zeros(1)]
    for k in np.unique(np.linspace(0, slices - 1, 9).astype(int)[1:-1] if slices > 2 else [0]):
        image = np.nan_to_num(np.asarray(read(int(k)), np.float64), posinf=0, neginf=0)
        taper = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
        power = np.abs(np.fft.fft2((image - image.mean()) * taper)) ** 2
        profiles = [profiles[axis] + power.sum(axis=1 - axis) for axis in (0, 1)]
    return max(_effective_resolution_px(profile) for profile in profiles)


def _effective_resolution_px(profile: np.ndarray) -> float:
    if len(profile) < 32:  # too few pixels to judge
        return 1.0
    frequency = np.abs(np.fft.fftfreq(len(profile))) * 2
    bands = np.arange(10) / 10
    levels = np.array(
        [profile[(frequency >= low) & (frequency < low + 0.1)].mean() for low in bands]
    )
    if not levels[1] > 0:
        return 1.0
    holds = np.flatnonzero(levels / levels[1] > _EMPTY_POWER)
    return float(1 / (bands[holds[-1]] + 0.1))
