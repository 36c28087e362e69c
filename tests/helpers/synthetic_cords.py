"""Synthetic cross-sections of known areas, independent of the package."""

import numpy as np

STEP_MM = 0.03  # sampling of the shapes within a pixel


def butterfly(left_mm, front_mm, *, grow_left=1.0):
    """Return whether positions to the cord's left and front are in the gray matter.

    Two oval anterior horns, two slanted posterior horns, and a commissure at height 0.
    """
    side = np.where(left_mm > 0, grow_left, 1.0)
    x, y = np.abs(left_mm) / side, front_mm / side
    anterior = ((x - 1.7) / 0.95) ** 2 + ((y - 1.2) / 1.4) ** 2 < 1
    u, v = (x - 2.1) * 0.8 + (y + 1.7) * 0.6, -(x - 2.1) * 0.6 + (y + 1.7) * 0.8
    posterior = (u / 0.55) ** 2 + (v / 1.9) ** 2 < 1
    commissure = (x < 1.8) & (np.abs(front_mm) < 0.4)
    return anterior | posterior | commissure


def truth_mm2(**shape) -> dict:
    """Return the true areas of the horns, from a grid of 0.01 mm."""
    axis = np.arange(-7, 7, 0.01) + 0.005
    x, y = np.meshgrid(axis, axis, indexing="ij")
    inside = butterfly(x, y, **shape)
    return {
        (side, half): float((inside & on_side & in_half).sum() * 1e-4)
        for side, on_side in (("left", x > 0), ("right", x < 0))
        for half, in_half in (("anterior", y > 0), ("posterior", y < 0))
    }


def drawn(pixel_mm, *, turn_deg=0.0, middle_mm=(0.0, 0.0), field_mm=20.0, **shape) -> np.ndarray:
    """Return the fraction of every pixel that a butterfly covers.

    The first axis runs to the patient's left, the second to the front; the centre of the array
    is at 0. `turn_deg` turns the cord's front towards the left.
    """
    left, front, fractions_of = _positions(pixel_mm, middle_mm, field_mm)
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    return fractions_of(butterfly(left * cos - front * sin, left * sin + front * cos, **shape))


def disc(pixel_mm, radius_mm, *, middle_mm=(0.0, 0.0), field_mm=20.0) -> np.ndarray:
    """Return the fraction of every pixel that a disc covers, as `drawn`."""
    left, front, fractions_of = _positions(pixel_mm, middle_mm, field_mm)
    return fractions_of(np.hypot(left, front) < radius_mm)


def _positions(pixel_mm, middle_mm, field_mm):
    """Return fine positions relative to a middle, and a function that averages them per pixel."""
    count = round(field_mm / pixel_mm)
    parts = int(np.ceil(pixel_mm / STEP_MM))
    axis = (np.arange(count * parts) + 0.5) * pixel_mm / parts - count * pixel_mm / 2

    def fractions_of(inside):
        blocks = inside.reshape(count, parts, count, parts)
        return blocks.mean(axis=(1, 3)).astype(np.float32)

    return *np.meshgrid(axis - middle_mm[0], axis - middle_mm[1], indexing="ij"), fractions_of
