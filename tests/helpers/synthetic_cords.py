"""Cross-sections of known areas, made for the tests of measures and independent of the package."""

import numpy as np

STEP_MM = 0.03  # at which shapes are looked up


def butterfly(place_left, place_front, *, grow_left=1.0):
    """Whether places, in mm to the cord's left and front, lie in the gray matter.

    Two oval horns in front, two slanted ones behind, a bridge between them at height 0.
    """
    side = np.where(place_left > 0, grow_left, 1.0)
    x, y = np.abs(place_left) / side, place_front / side
    ahead = ((x - 1.7) / 0.95) ** 2 + ((y - 1.2) / 1.4) ** 2 < 1
    u, v = (x - 2.1) * 0.8 + (y + 1.7) * 0.6, -(x - 2.1) * 0.6 + (y + 1.7) * 0.8
    behind = (u / 0.55) ** 2 + (v / 1.9) ** 2 < 1
    bridge = (x < 1.8) & (np.abs(place_front) < 0.4)
    return ahead | behind | bridge


def truth_mm2(**how) -> dict:
    """Return the areas of the horns on a grid of 0.01 mm."""
    axis = np.arange(-7, 7, 0.01) + 0.005
    x, y = np.meshgrid(axis, axis, indexing="ij")
    inside = butterfly(x, y, **how)
    return {
        (side, half): float((inside & there & ahead).sum() * 1e-4)
        for side, there in (("left", x > 0), ("right", x < 0))
        for half, ahead in (("anterior", y > 0), ("posterior", y < 0))
    }


def drawn(pixel_mm, *, turn_deg=0.0, middle_mm=(0.0, 0.0), field_mm=20.0, **how) -> np.ndarray:
    """Draw a butterfly: the share of every pixel that it covers.

    The first axis runs to the patient's left, the second to the front; the middle of the array
    is at 0. `turn_deg` turns the cord's front towards the left.
    """
    count = round(field_mm / pixel_mm)
    parts = int(np.ceil(pixel_mm / STEP_MM))
    axis = (np.arange(count * parts) + 0.5) * pixel_mm / parts - count * pixel_mm / 2
    left, front = np.meshgrid(axis - middle_mm[0], axis - middle_mm[1], indexing="ij")
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    inside = butterfly(left * cos - front * sin, left * sin + front * cos, **how)
    return inside.reshape(count, parts, count, parts).mean(axis=(1, 3)).astype(np.float32)


def disc(pixel_mm, radius_mm, *, middle_mm=(0.0, 0.0), field_mm=20.0) -> np.ndarray:
    """Draw a disc: the share of every pixel that it covers."""
    count = round(field_mm / pixel_mm)
    parts = int(np.ceil(pixel_mm / STEP_MM))
    axis = (np.arange(count * parts) + 0.5) * pixel_mm / parts - count * pixel_mm / 2
    left, front = np.meshgrid(axis - middle_mm[0], axis - middle_mm[1], indexing="ij")
    inside = np.hypot(left, front) < radius_mm
    return inside.reshape(count, parts, count, parts).mean(axis=(1, 3)).astype(np.float32)
