"""The cord's own axes on a slice: where its middle is, and which way its front looks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from nibabel import orientations
from scipy import ndimage
from scipy.optimize import minimize

from gmseg.core.geometry import slice_axis

REACH_MM = 10.0  # what lies farther from the cord's middle has no say in its axes
_TURNS = np.deg2rad(np.arange(-45, 46, 3))  # of the cord's front from the patient's
_PEAKED = 1.05  # the best turn over the worst: rounder shapes have no direction
_STRIP_MM = 0.4  # around the midline: what of the GM lies there is the commissure
_THICK_MM = 0.5  # about half of it
_LEAST_MM2 = 0.05  # of commissure, to be one
_PART_MM, _MOST_PARTS = 0.08, 8  # a pixel is divided in parts of about this side
_FINE_MM, _BLUR_MM = 0.2, 0.5  # of the pictures that are mirrored
_FAINT = 0.01  # of the highest value: what is less is left out
_SMOOTH_MM = 10.0  # along the cord: it twists slowly


@dataclass(frozen=True)
class Plane:
    """Where the pixels of every slice lie, in mm in the plane of the slices.

    Attributes
    ----------
    steps : numpy.ndarray
        (2, 2): the columns are the steps along the two in-plane axes of the array, in mm to the
        patient's left and to the front, as the image has them.
    turn : float
        By which the patient's front is turned from the image's, in radians, towards the left.
    axes : tuple of int
        The in-plane axes of the array.
    """

    steps: np.ndarray
    turn: float
    axes: tuple[int, int]

    @property
    def pixel_mm2(self) -> float:
        """The area of a pixel."""
        return float(abs(np.linalg.det(self.steps)))


@dataclass(frozen=True)
class Axes:
    """The cord's own axes on one slice.

    Attributes
    ----------
    middle : tuple of float
        Where midline and commissure cross, in mm, see `Plane`; NaN where nothing is known.
    angle : float
        By which the cord's front is turned from the image's, in radians, towards the left.
    weight_mm2 : float
        The area of the shape that they were found on.
    """

    middle: tuple[float, float]
    angle: float
    weight_mm2: float

    @property
    def front(self) -> np.ndarray:
        """Unit vector to the cord's front."""
        return np.array([np.sin(self.angle), np.cos(self.angle)])

    @property
    def left(self) -> np.ndarray:
        """Unit vector to the cord's left."""
        return np.array([np.cos(self.angle), -np.sin(self.angle)])


@dataclass(frozen=True)
class Pixels:
    """The pixels of a shape on one slice.

    Attributes
    ----------
    where : numpy.ndarray
        int32, (n, 2): their indices along the in-plane axes of the array.
    share : numpy.ndarray
        float32, (n,): how much of each lies in the shape, over 0 to 1.
    """

    where: np.ndarray
    share: np.ndarray


def pixels(values: np.ndarray, least: float = 0.0) -> Pixels:
    """Return the pixels of a shape that have more than the least, from a slice of 0 to 1."""
    where = np.argwhere(values > least).astype(np.int32)
    return Pixels(where, values[tuple(where.T)].astype(np.float32))


NOWHERE = Axes((np.nan, np.nan), np.nan, 0.0)


def plane_of(affine: np.ndarray) -> Plane:
    """Return where the pixels of the slices of an image with this affine lie."""
    axis = slice_axis(affine)
    in_plane = [a for a in range(3) if a != axis]
    near = orientations.io_orientation(affine)[in_plane]
    # the array's axes that run closest to right-left and to back-front, and their senses
    order = np.argsort(near[:, 0])
    vectors = affine[:3, in_plane]
    across = vectors[:, order[0]] * near[order[0], 1]
    left = -across / np.linalg.norm(across)
    up = vectors[:, order[1]] * near[order[1], 1]
    up = up - (up @ left) * left
    front = up / np.linalg.norm(up)
    basis = np.stack([left, front])
    to_front = basis @ [0.0, 1.0, 0.0]  # the patient's front, in the plane
    turn = float(np.arctan2(to_front[0], to_front[1])) if np.hypot(*to_front) > 0.1 else 0.0
    return Plane(basis @ vectors, turn, tuple(in_plane))


def find(gray: Pixels, cord: Pixels | None, plane: Plane) -> Axes:
    """Find the cord's axes on one slice: the line by which it mirrors itself best.

    Parameters
    ----------
    gray : Pixels
        Gray matter.
    cord : Pixels, optional
        The cord, where it is known: it joins in.
    plane : Plane

    Returns
    -------
    Axes
        Its middle is where the midline passes the middle of the gray matter. Its angle is NaN
        where the shape has no direction.
    """
    if not gray.share.sum():
        return NOWHERE
    shapes = [gray] if cord is None or not cord.share.sum() else [gray, cord]
    centre, area_mm2 = _middle(gray, plane)
    mirrors = [_mirror(shape, plane, centre) for shape in shapes]

    def likeness(angle, off):
        return sum(mirror(angle, off) for mirror in mirrors)

    alike = [likeness(plane.turn + turn, 0.0) for turn in _TURNS]
    if max(alike) <= _PEAKED * min(alike):
        return Axes(tuple(centre), np.nan, area_mm2)
    start = plane.turn + _TURNS[int(np.argmax(alike))]
    angle, off = minimize(
        lambda at: -likeness(*at),
        [start, 0.0],
        method="Nelder-Mead",
        options={
            "initial_simplex": [[start, 0], [start + np.deg2rad(2), 0], [start, 0.3]],
            "xatol": 1e-3,
            "fatol": 1e-5,
        },
    ).x
    axes = Axes((0.0, 0.0), float(angle), area_mm2)
    return replace(axes, middle=tuple(centre + off * axes.left))


def _near(shape: Pixels, plane: Plane) -> tuple[Pixels, np.ndarray]:
    """Return the pixels within reach of the shape's middle, and where they are, in mm."""
    points = shape.where @ plane.steps.T
    # the pixel that is nearest to the median, which itself may lie far from all of them
    middle = points[np.argmin(np.hypot(*(points - np.median(points, axis=0)).T))]
    near = np.hypot(*(points - middle).T) <= REACH_MM
    return Pixels(shape.where[near], shape.share[near]), points[near]


def _middle(shape: Pixels, plane: Plane) -> tuple[np.ndarray, float]:
    """Return the middle of a shape, in mm, and its area."""
    near, points = _near(shape, plane)
    return np.average(points, axis=0, weights=near.share), float(near.share.sum()) * plane.pixel_mm2


def _mirror(shape: Pixels, plane: Plane, centre: np.ndarray):
    """Return what tells how alike a shape and its mirror image are, 0 to about 1.

    It is asked for the mirror's angle, and how far to the left of `centre` it passes, in mm.
    """
    near, _ = _near(shape, plane)
    points, area_mm2 = _divided(near, plane)
    # on a fine grid and blurred, or mirrors along the rows of pixels would look the best
    bins = np.rint((points - centre) / _FINE_MM).astype(int)
    half = np.abs(bins).max() + round(4 * _BLUR_MM / _FINE_MM)
    size = 2 * half + 1
    flat = np.ravel_multi_index((bins + half).T, (size, size))
    image = np.bincount(flat, area_mm2, size**2).reshape(size, size)
    image = ndimage.gaussian_filter(image, _BLUR_MM / _FINE_MM)
    where = np.argwhere(image > _FAINT * image.max())
    values = image[tuple(where.T)]
    away_mm = (where - half) * _FINE_MM
    own = float(values @ values)

    def likeness(angle: float, off: float) -> float:
        across = np.array([np.cos(angle), -np.sin(angle)])
        moved = 2 * (away_mm @ across - off)[:, None] * across
        there = ndimage.map_coordinates(
            image, (where - moved / _FINE_MM).T, order=1, mode="constant"
        )
        return float(values @ there) / own

    return likeness


def agree(found: list[Axes], grays: list[Pixels], plane: Plane, slice_mm: float) -> list[Axes]:
    """Make the slices' axes agree: turns change slowly, and middles lie on the commissure.

    Parameters
    ----------
    found, grays : list of Axes, list of Pixels
        Slice by slice, in their order along the cord.
    plane : Plane
    slice_mm : float
        From slice to slice.

    Returns
    -------
    list of Axes
        Where a slice shows no commissure, its middle is as far before the middle of the gray
        matter as on the others.
    """
    angles = _smooth_angles(found, slice_mm, plane.turn)
    turned = [replace(one, angle=angle) for one, angle in zip(found, angles, strict=True)]
    ahead = np.array(
        [_commissure_mm(gray, plane, one) for gray, one in zip(grays, turned, strict=True)]
    )
    usual = np.median(ahead[np.isfinite(ahead)]) if np.isfinite(ahead).any() else 0.0
    ahead = np.where(np.isfinite(ahead), ahead, usual)
    return [
        replace(one, middle=tuple(one.middle + far * one.front))
        for one, far in zip(turned, ahead, strict=True)
    ]


def _smooth_angles(found: list[Axes], slice_mm: float, usual: float) -> list[float]:
    angles = np.array([one.angle for one in found])
    weights = np.where(np.isfinite(angles), [one.weight_mm2 for one in found], 0.0)
    if not weights.any():
        return [usual] * len(found)
    steady = _SMOOTH_MM / slice_mm
    total = ndimage.gaussian_filter1d(weights, steady, mode="nearest")
    summed = ndimage.gaussian_filter1d(weights * np.nan_to_num(angles), steady, mode="nearest")
    known = np.flatnonzero(total > 1e-9 * total.max())
    return np.interp(np.arange(len(found)), known, summed[known] / total[known]).tolist()


def _commissure_mm(gray: Pixels, plane: Plane, axes: Axes) -> float:
    """Return how far before the middle the commissure lies, in mm; NaN where there is none."""
    across, along, area_mm2 = _placed(gray, plane, axes)
    strip = np.abs(across) <= _STRIP_MM / 2
    along, area_mm2 = along[strip], area_mm2[strip]
    if area_mm2.sum() <= _LEAST_MM2:
        return np.nan
    # where it is densest: horns that come near the midline have less say
    thick_mm = _THICK_MM + 0.5 * np.sqrt(plane.pixel_mm2)

    def near(middle):
        return np.exp(-0.5 * ((along - middle) / thick_mm) ** 2) * area_mm2

    steps = np.arange(along.min(), along.max() + _FINE_MM, _FINE_MM)
    ahead = steps[int(np.argmax([near(step).sum() for step in steps]))]
    for _ in range(8):
        ahead = np.average(along, weights=near(ahead))
    return float(ahead)


def quarters_mm2(gray: Pixels, plane: Plane, axes: Axes) -> dict[tuple[str, str], float]:
    """Return the areas of the horns: what lies left and right, before and behind the middle.

    Parameters
    ----------
    gray : Pixels
    plane : Plane
    axes : Axes
        From `agree`.

    Returns
    -------
    dict
        From ``("left", "anterior")`` and so on to mm^2; together they are the area of the shape.
        A pixel on a line counts on both sides, by its parts.
    """
    across, along, area_mm2 = _placed(gray, plane, axes)
    sides = {"left": across > 0, "right": across <= 0}
    halves = {"anterior": along > 0, "posterior": along <= 0}
    return {
        (side, half): float(area_mm2[there & ahead].sum())
        for side, there in sides.items()
        for half, ahead in halves.items()
    }


def _placed(gray: Pixels, plane: Plane, axes: Axes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how far pixels lie to the cord's left and front, in mm; and mm^2.

    Those near a line that divides areas are divided in small parts.
    """
    points = gray.where @ plane.steps.T - axes.middle
    across, along = points @ axes.left, points @ axes.front
    reach = np.linalg.norm(np.abs(plane.steps).sum(axis=1)) / 2  # half a pixel, corner to corner
    lines = np.abs(across), np.abs(np.abs(across) - _STRIP_MM / 2), np.abs(along)
    cut = np.min(lines, axis=0) <= reach
    parts, area_mm2 = _divided(Pixels(gray.where[cut], gray.share[cut]), plane)
    parts = parts - axes.middle
    return (
        np.concatenate([across[~cut], parts @ axes.left]),
        np.concatenate([along[~cut], parts @ axes.front]),
        np.concatenate([gray.share[~cut] * plane.pixel_mm2, area_mm2]),
    )


def _divided(shape: Pixels, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Divide pixels into small parts: where they lie, in mm, and their share of the area."""
    count = int(np.clip(np.ceil(np.sqrt(plane.pixel_mm2) / _PART_MM), 2, _MOST_PARTS))
    parts = (np.arange(count) + 0.5) / count - 0.5
    inner = np.stack(np.meshgrid(parts, parts, indexing="ij"), axis=-1).reshape(-1, 2)
    points = ((shape.where[:, None] + inner) @ plane.steps.T).reshape(-1, 2)
    return points, np.repeat(shape.share.astype(float), len(inner)) * plane.pixel_mm2 / len(inner)
