"""Template cross-sections: gray matter of known shape, pasted over the cord of a slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from gmseg.core.resampling import to_las
from gmseg.errors import InputError
from gmseg.io.image import read_scan
from gmseg.training.augmentation import smooth_noise

_HALF_MM = 13.0  # half side of the replaced square around the cord
_LEAST_CORD_MM2 = 20.0


@dataclass(frozen=True)
class Template:
    """Limits of the painting: see ``models/protocols/default.toml`` for units."""

    share: float = 0.0
    rotation_deg: float = 10.0
    elastic_strain: float = 0.15
    gm_size: float = 0.25
    contrast: tuple[float, float] = (0.05, 0.5)
    texture: float = 0.12
    brightness: float = 0.25
    blur_mm: tuple[float, float] = (0.08, 0.35)
    noise: float = 0.06


@dataclass(frozen=True)
class Sections:
    """Axial cross-sections of a template.

    Attributes
    ----------
    gm, cord : numpy.ndarray
        float32, (slices, rows, columns), LAS: share of gray matter and of cord, 0 to 1.
    spacing_mm : (float, float)
        Spacing of rows and columns.
    """

    gm: np.ndarray
    cord: np.ndarray
    spacing_mm: tuple[float, float]


def read_template(folder) -> Sections:
    """Read a template's maps of gray and white matter.

    Parameters
    ----------
    folder : path-like
        Folder with one ``*_gm.nii.gz`` and one ``*_wm.nii.gz``, probabilities on one grid, as
        in the templates PAM50 and AMU7T of the Spinal Cord Toolbox.

    Raises
    ------
    gmseg.errors.InputError
        If a map is missing, or their grids differ.
    """
    maps = []
    for tissue in ("gm", "wm"):
        files = sorted(Path(folder).glob(f"*_{tissue}.nii.gz"))
        if len(files) != 1:
            raise InputError(
                f"{folder}: contains {len(files)} files *_{tissue}.nii.gz; give a folder with one "
                f"*_gm.nii.gz and one *_wm.nii.gz"
            )
        maps.append(read_scan(files[0]))
    if maps[0].shape != maps[1].shape or not np.allclose(maps[0].affine, maps[1].affine, atol=1e-3):
        raise InputError(f"{folder}: its gm and wm maps have different grids; download them again")
    (gm, spacing_mm), (wm, _) = (to_las(part) for part in maps)
    gm, wm = (np.clip(np.moveaxis(part, 2, 0), 0, 1) for part in (gm, wm))
    cord = np.minimum(gm + wm, 1)
    keep = (gm > 0.5).any(axis=(1, 2))
    if not keep.any():
        raise InputError(f"{folder}: its gm map contains no gray matter; download it again")
    inside = np.argwhere(cord[keep].max(axis=0) > 0.05)
    low, high = np.maximum(inside.min(0) - 4, 0), inside.max(0) + 5
    box = (keep, slice(low[0], high[0]), slice(low[1], high[1]))
    return Sections(
        np.ascontiguousarray(gm[box], np.float32),
        np.ascontiguousarray(cord[box], np.float32),
        (float(spacing_mm[0]), float(spacing_mm[1])),
    )


def paste_section(
    rng: np.random.Generator,
    plane: np.ndarray,
    mask: np.ndarray,
    cord: np.ndarray,
    sections: Sections,
    limits: Template,
    spacing_mm: float = 0.25,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint a random cross-section of the template over the cord of a slice.

    Parameters
    ----------
    rng : numpy.random.Generator
    plane, mask, cord : numpy.ndarray
        float32, (rows, columns) on the working grid: scan values, share of GM, share of cord.
    sections : Sections
    limits : Template
    spacing_mm : float
        Spacing of the working grid.

    Returns
    -------
    plane, mask, cord : numpy.ndarray
        Changed copies; the arguments themselves if the slice shows too little cord.

    Notes
    -----
    The cross-section takes the place, size and width of the slice's cord, and random shape,
    brightness, contrast, texture, blur and noise, as in SynthSeg (Billot et al., Medical Image
    Analysis 86:102789, 2023). The surroundings of the cord stay real.
    """
    inside = cord > 0.5
    if inside.sum() * spacing_mm**2 < _LEAST_CORD_MM2:
        return plane, mask, cord
    place, size = _moments(inside)
    low = np.maximum(np.rint(place - _HALF_MM / spacing_mm).astype(int), 0)
    high = np.minimum(np.rint(place + _HALF_MM / spacing_mm).astype(int), plane.shape)
    box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    patch, old = plane[box], cord[box]
    gm, new = _deformed_section(rng, place - low, size, patch.shape, sections, limits, spacing_mm)
    ring = ndimage.gaussian_filter((old < 0.05).astype(np.float32), 0.5 / spacing_mm)
    ring *= ndimage.gaussian_filter(old, 1.0 / spacing_mm) > 0.02  # around the cord
    if ring.sum() == 0:
        return plane, mask, cord
    fluid = float((patch * ring).sum() / ring.sum())
    painted = _painted(rng, patch, old, gm, new, fluid, limits, spacing_mm)
    # surroundings are not blurred, so that they keep their noise
    blend = np.clip(3 * ndimage.gaussian_filter(np.maximum(new, old), 0.5 / spacing_mm), 0, 1)
    plane, mask, cord = plane.copy(), mask.copy(), cord.copy()
    plane[box] = painted * blend + patch * (1 - blend)
    mask[box], cord[box] = gm, new
    return plane, mask, cord


def _painted(rng, patch, old, gm, new, fluid: float, limits: Template, spacing_mm) -> np.ndarray:
    """Return a patch with its cord replaced by new GM and white matter in fluid."""
    white = np.median(patch[old > 0.5]) * np.exp(rng.uniform(-1, 1) * limits.brightness)
    cover = np.clip(1.5 * ndimage.gaussian_filter(old, 0.3 / spacing_mm), 0, 1)
    painted = patch * (1 - cover) + fluid * cover  # the slice without its cord
    tissue = white * (1 + rng.uniform(*limits.contrast) * gm / np.maximum(new, 1e-3))
    texture = smooth_noise(rng, patch.shape, rng.uniform(0.6, 3.0) / spacing_mm)
    tissue *= 1 + rng.uniform(0, limits.texture) * np.clip(texture, -2, 2)
    painted = painted * (1 - new) + tissue * new
    noise = ndimage.gaussian_filter(rng.standard_normal(patch.shape), 0.25 / spacing_mm)
    painted += noise * new * rng.uniform(0, limits.noise) * abs(white) / max(noise.std(), 1e-6)
    return ndimage.gaussian_filter(painted, rng.uniform(*limits.blur_mm) / spacing_mm)


def _moments(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a shape's centre and its standard deviations along both axes, in pixels."""
    pixels = np.argwhere(inside)
    return pixels.mean(axis=0), pixels.std(axis=0)


def _deformed_section(rng, place, size, shape, sections: Sections, limits: Template, spacing_mm):
    """Return share of GM and of cord, (rows, columns), of a randomly deformed section."""
    k = rng.integers(len(sections.gm))
    centre, spread = _moments(sections.cord[k] > 0.5)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).astype(float)
    offset = grid - np.reshape(place, (2, 1, 1))
    angle = np.deg2rad(rng.uniform(-1, 1) * limits.rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # in units of the cord's standard deviation along each axis, on average a little larger
    unit = np.tensordot(turn, offset, axes=1) / np.reshape(size, (2, 1, 1))
    unit *= np.exp(rng.uniform(-0.08, 0.03, (2, 1, 1)))
    if rng.random() < 0.5:
        unit[0] = -unit[0]
    smooth = rng.uniform(1.5, 5.0) / spacing_mm
    push = smooth_noise(rng, (2, *shape), smooth) * smooth * rng.uniform(0, limits.elastic_strain)
    unit += push / np.reshape(size, (2, 1, 1))
    # scale GM and not the cord: most in the middle, none at 2 s.d.
    inner = np.clip(1 - (unit**2).sum(axis=0) / 4, 0, 1)
    unit *= np.exp(rng.uniform(-1, 1) * limits.gm_size * inner)
    coordinates = unit * np.reshape(spread, (2, 1, 1)) + np.reshape(centre, (2, 1, 1))
    gm, cord = (
        ndimage.map_coordinates(part[k], coordinates, output=np.float32, order=1, mode="constant")
        for part in (sections.gm, sections.cord)
    )
    return np.minimum(gm, cord), cord
