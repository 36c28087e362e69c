"""Axes of the cord on every slice: its centre and its anterior direction.

Positions are in mm within the slice, towards left and anterior of the image (`InPlaneGrid`).
Angles are in radians from the anterior direction of the image, positive towards the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize

from gmseg.core.geometry import orientation, slice_axis

_REACH_MM = 10.0  # pixels farther from the middle of the shape are ignored
_TURNS = np.deg2rad(np.arange(-45, 46, 3))  # first guesses, from anterior
_MIN_PEAK = 1.05  # best similarity over the worst: below, the shape has no direction
_GRID_MM, _BLUR_MM = 0.2, 0.5  # of the image that is mirrored
_MIN_VALUE = 0.01  # of that image, relative to its maximum
_SMOOTH_MM = 10.0  # along the cord, which twists slowly
_STRIP_MM = 0.4  # width around the midline where GM is taken as the commissure
_COMMISSURE_MM = 0.5  # about half of its thickness
_MIN_COMMISSURE_MM2 = 0.05
_PART_MM, _MAX_PARTS = 0.08, 8  # size of the parts of a divided pixel; most parts per side


@dataclass(frozen=True)
class InPlaneGrid:
    """Positions of the pixels of every slice.

    Attributes
    ----------
    steps_mm : numpy.ndarray
        (2, 2): the columns are the steps along the two in-plane axes of the array, in mm
        towards left and anterior of the image.
    patient_angle : float
        Angle of the patient's anterior direction.
    array_axes : tuple of int
        In-plane axes of the array.
    """

    steps_mm: np.ndarray
    patient_angle: float
    array_axes: tuple[int, int]

    @property
    def pixel_mm2(self) -> float:
        """Area of a pixel."""
        return float(abs(np.linalg.det(self.steps_mm)))


@dataclass(frozen=True)
class CordAxes:
    """The cord's axes on one slice.

    Attributes
    ----------
    centre_mm : tuple of float
        Where the midline crosses the commissure; NaN if unknown.
    angle : float
        Angle of the cord's anterior direction; NaN if unknown.
    area_mm2 : float
        Area of GM to which the axes are fitted.
    """

    centre_mm: tuple[float, float]
    angle: float
    area_mm2: float

    @property
    def front(self) -> np.ndarray:
        """Unit vector in the cord's anterior direction."""
        return np.array([np.sin(self.angle), np.cos(self.angle)])

    @property
    def left(self) -> np.ndarray:
        """Unit vector towards the cord's left."""
        return np.array([np.cos(self.angle), -np.sin(self.angle)])


@dataclass(frozen=True)
class Pixels:
    """The pixels of a shape on one slice.

    Attributes
    ----------
    indices : numpy.ndarray
        int32, (n, 2): along the in-plane axes of the array.
    fractions : numpy.ndarray
        float32, (n,): how much of each pixel is in the shape, 0 to 1.
    """

    indices: np.ndarray
    fractions: np.ndarray


def pixels_above(values: np.ndarray, threshold: float = 0.0) -> Pixels:
    """Return the pixels of a slice, 0 to 1, whose values are above a threshold."""
    indices = np.argwhere(values > threshold).astype(np.int32)
    return Pixels(indices, values[tuple(indices.T)].astype(np.float32))


def in_plane_grid(affine: np.ndarray) -> InPlaneGrid:
    """Return where the pixels of the slices of an image are."""
    axis = slice_axis(affine)
    first, second = (a for a in range(3) if a != axis)
    closest = orientation(affine)[[first, second]]
    # in-plane array axes that are closest to right-left and to posterior-anterior, and their signs
    order = np.argsort(closest[:, 0])
    vectors = affine[:3, [first, second]]
    right = vectors[:, order[0]] * closest[order[0], 1]
    left = -right / np.linalg.norm(right)
    ahead = vectors[:, order[1]] * closest[order[1], 1]
    ahead = ahead - (ahead @ left) * left
    basis = np.stack([left, ahead / np.linalg.norm(ahead)])
    front = basis @ [0.0, 1.0, 0.0]  # the patient's, projected on the slice
    angle = float(np.arctan2(front[0], front[1])) if np.hypot(*front) > 0.1 else 0.0
    return InPlaneGrid(basis @ vectors, angle, (first, second))


# --------------------------------------------------------------------------------- one slice


def fit_axes(gm: Pixels, cord: Pixels | None, grid: InPlaneGrid) -> CordAxes:
    """Fit the cord's axes on one slice: the midline is the line of best mirror symmetry.

    Parameters
    ----------
    gm : Pixels
        Gray matter.
    cord : Pixels or None
        The cord, where it is known; its symmetry counts as well.
    grid : InPlaneGrid

    Returns
    -------
    CordAxes
        The centre is the point of the midline next to the centroid of the GM. The angle is NaN
        if the shape has no direction; the centre is NaN, too, without GM.

    Examples
    --------
    >>> gm = np.zeros((20, 20))
    >>> gm[[5, 6, 13, 14], 4:16] = gm[5:15, 9:11] = 1  # an H, symmetric about row 9.5
    >>> axes = fit_axes(pixels_above(gm), None, in_plane_grid(np.diag([-0.5, 0.5, 5, 1])))
    >>> np.round(axes.centre_mm, 2).tolist(), round(np.rad2deg(axes.angle))
    ([4.75, 4.75], 0)
    """
    if not gm.fractions.sum():
        return CordAxes((np.nan, np.nan), np.nan, 0.0)
    shapes = [gm] if cord is None or not cord.fractions.sum() else [gm, cord]
    near, points = _within_reach(gm, grid)
    centroid = np.average(points, axis=0, weights=near.fractions)
    area_mm2 = float(near.fractions.sum()) * grid.pixel_mm2
    symmetries = [_mirror_symmetry(shape, grid, centroid) for shape in shapes]

    def symmetry(angle: float, offset_mm: float) -> float:
        return sum(of_shape(angle, offset_mm) for of_shape in symmetries)

    values = [symmetry(grid.patient_angle + turn, 0.0) for turn in _TURNS]
    if max(values) <= _MIN_PEAK * min(values):
        return CordAxes(tuple(centroid), np.nan, area_mm2)
    start = grid.patient_angle + _TURNS[int(np.argmax(values))]
    angle, offset_mm = minimize(
        lambda line: -symmetry(*line),
        [start, 0.0],
        method="Nelder-Mead",
        options={
            "initial_simplex": [[start, 0], [start + np.deg2rad(2), 0], [start, 0.3]],
            "xatol": 1e-3,
            "fatol": 1e-5,
        },
    ).x
    axes = CordAxes((0.0, 0.0), float(angle), area_mm2)
    return replace(axes, centre_mm=tuple(centroid + offset_mm * axes.left))


def _within_reach(shape: Pixels, grid: InPlaneGrid) -> tuple[Pixels, np.ndarray]:
    """Return the pixels near the middle of a shape, and their positions in mm."""
    points = shape.indices @ grid.steps_mm.T
    # the pixel nearest to the median, which itself may be far from every pixel
    middle = points[np.argmin(np.hypot(*(points - np.median(points, axis=0)).T))]
    near = np.hypot(*(points - middle).T) <= _REACH_MM
    return Pixels(shape.indices[near], shape.fractions[near]), points[near]


def _mirror_symmetry(
    shape: Pixels, grid: InPlaneGrid, centre: np.ndarray
) -> Callable[[float, float], float]:
    """Return a function that compares a shape with its mirror image: 0 to about 1.

    Its arguments are the angle of the mirror line, and how far left of `centre` it is, in mm.
    """
    near, _ = _within_reach(shape, grid)
    points, area_mm2 = _subdivided(near, grid)
    # fine and blurred: otherwise lines along the rows of pixels look most symmetric
    bins = np.rint((points - centre) / _GRID_MM).astype(int)
    half = np.abs(bins).max() + round(4 * _BLUR_MM / _GRID_MM)
    size = 2 * half + 1
    flat = np.ravel_multi_index((bins + half).T, (size, size))
    image = np.bincount(flat, area_mm2, size**2).reshape(size, size)
    image = ndimage.gaussian_filter(image, _BLUR_MM / _GRID_MM)
    indices = np.argwhere(image > _MIN_VALUE * image.max())
    values = image[tuple(indices.T)]
    points_mm = (indices - half) * _GRID_MM
    norm = float(values @ values)

    def symmetry(angle: float, offset_mm: float) -> float:
        normal = np.array([np.cos(angle), -np.sin(angle)])
        shift_mm = 2 * (points_mm @ normal - offset_mm)[:, None] * normal
        mirrored = ndimage.map_coordinates(
            image, (indices - shift_mm / _GRID_MM).T, order=1, mode="constant"
        )
        return float(values @ mirrored) / norm

    return symmetry


# --------------------------------------------------------------------------- along the cord


def regularise_axes(
    axes: Sequence[CordAxes], gm: Sequence[Pixels], grid: InPlaneGrid, slice_mm: float
) -> list[CordAxes]:
    """Return axes that turn smoothly along the cord, with their centres on the commissure.

    Parameters
    ----------
    axes : sequence of CordAxes
        From `fit_axes`, in order along the cord.
    gm : sequence of Pixels
        Gray matter of the same slices.
    grid : InPlaneGrid
    slice_mm : float
        Slice spacing.

    Returns
    -------
    list of CordAxes
        On slices without a commissure, the centre is shifted from that of `fit_axes` by the
        median of the other slices.
    """
    angles = _smooth_angles(axes, slice_mm, grid.patient_angle)
    turned = [replace(each, angle=angle) for each, angle in zip(axes, angles, strict=True)]
    shifts_mm = np.array(
        [_commissure_mm(shape, grid, each) for shape, each in zip(gm, turned, strict=True)]
    )
    known = np.isfinite(shifts_mm)
    shifts_mm = np.where(known, shifts_mm, np.median(shifts_mm[known]) if known.any() else 0.0)
    return [
        replace(each, centre_mm=tuple(each.centre_mm + shift_mm * each.front))
        for each, shift_mm in zip(turned, shifts_mm, strict=True)
    ]


def _smooth_angles(axes: Sequence[CordAxes], slice_mm: float, default: float) -> list[float]:
    angles = np.array([each.angle for each in axes])
    weights = np.where(np.isfinite(angles), [each.area_mm2 for each in axes], 0.0)
    if not weights.any():
        return [default] * len(axes)
    sigma = _SMOOTH_MM / slice_mm
    total = ndimage.gaussian_filter1d(weights, sigma, mode="nearest")
    summed = ndimage.gaussian_filter1d(weights * np.nan_to_num(angles), sigma, mode="nearest")
    known = np.flatnonzero(total > 1e-9 * total.max())
    return np.interp(np.arange(len(axes)), known, summed[known] / total[known]).tolist()


def _commissure_mm(gm: Pixels, grid: InPlaneGrid, axes: CordAxes) -> float:
    """Return how far anterior to the centre the commissure is, in mm; NaN if there is none."""
    left_mm, front_mm, area_mm2 = _in_cord_axes(gm, grid, axes)
    strip = np.abs(left_mm) <= _STRIP_MM / 2
    front_mm, area_mm2 = front_mm[strip], area_mm2[strip]
    if area_mm2.sum() <= _MIN_COMMISSURE_MM2:
        return np.nan
    # its densest part: horns that come near the midline have little weight
    sigma_mm = _COMMISSURE_MM + 0.5 * np.sqrt(grid.pixel_mm2)

    def weights(middle_mm: float) -> np.ndarray:
        return np.exp(-0.5 * ((front_mm - middle_mm) / sigma_mm) ** 2) * area_mm2

    steps = np.arange(front_mm.min(), front_mm.max() + _GRID_MM, _GRID_MM)
    middle_mm = steps[int(np.argmax([weights(step).sum() for step in steps]))]
    for _ in range(8):
        middle_mm = np.average(front_mm, weights=weights(middle_mm))
    return float(middle_mm)


# ------------------------------------------------------------------------------------- horns


def horn_areas_mm2(gm: Pixels, grid: InPlaneGrid, axes: CordAxes) -> dict[tuple[str, str], float]:
    """Return the areas of the four horns of one slice, in mm^2.

    Parameters
    ----------
    gm : Pixels
        Gray matter.
    grid : InPlaneGrid
    axes : CordAxes
        From `regularise_axes`. Horns are divided by the midline, and by the line across it
        through the centre.

    Returns
    -------
    dict of (str, str) to float
        ``("left", "anterior")`` and so on to area. The parts of a pixel on a line are counted
        apart, so the areas add up to that of the shape.

    Examples
    --------
    >>> gm = pixels_above(np.ones((4, 4)))
    >>> axes = CordAxes((1.0, 1.5), 0.0, 16.0)  # the midline divides the row with index 1
    >>> areas = horn_areas_mm2(gm, in_plane_grid(np.diag([-1.0, 1.0, 5.0, 1.0])), axes)
    >>> {" ".join(horn): round(area, 3) for horn, area in areas.items()}
    {'left anterior': 5.0, 'left posterior': 5.0, 'right anterior': 3.0, 'right posterior': 3.0}
    """
    left_mm, front_mm, area_mm2 = _in_cord_axes(gm, grid, axes)
    sides = {"left": left_mm > 0, "right": left_mm <= 0}
    halves = {"anterior": front_mm > 0, "posterior": front_mm <= 0}
    return {
        (side, half): float(area_mm2[on_side & in_half].sum())
        for side, on_side in sides.items()
        for half, in_half in halves.items()
    }


def _in_cord_axes(
    gm: Pixels, grid: InPlaneGrid, axes: CordAxes
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions to the cord's left and anterior in mm, and areas in mm^2.

    Pixels near a line that divides areas are subdivided.
    """
    points = gm.indices @ grid.steps_mm.T - axes.centre_mm
    left_mm, front_mm = points @ axes.left, points @ axes.front
    half_mm = np.linalg.norm(np.abs(grid.steps_mm).sum(axis=1)) / 2  # of a pixel's diagonal
    lines = np.abs(left_mm), np.abs(np.abs(left_mm) - _STRIP_MM / 2), np.abs(front_mm)
    cut = np.min(lines, axis=0) <= half_mm
    parts, area_mm2 = _subdivided(Pixels(gm.indices[cut], gm.fractions[cut]), grid)
    parts = parts - axes.centre_mm
    return (
        np.concatenate([left_mm[~cut], parts @ axes.left]),
        np.concatenate([front_mm[~cut], parts @ axes.front]),
        np.concatenate([gm.fractions[~cut] * grid.pixel_mm2, area_mm2]),
    )


def _subdivided(shape: Pixels, grid: InPlaneGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in mm of small parts of the pixels, and their areas in mm^2."""
    count = int(np.clip(np.ceil(np.sqrt(grid.pixel_mm2) / _PART_MM), 2, _MAX_PARTS))
    offsets = (np.arange(count) + 0.5) / count - 0.5
    inner = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
    points = ((shape.indices[:, None] + inner) @ grid.steps_mm.T).reshape(-1, 2)
    fractions = np.repeat(shape.fractions.astype(float), len(inner))
    return points, fractions * grid.pixel_mm2 / len(inner)
