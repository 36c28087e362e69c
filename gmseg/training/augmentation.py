"""Random transforms of slice and mask together, and of the intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Augmentation:
    """Limits of the random transforms: see ``models/protocols/default.toml`` for units."""

    flip: float = 0.0
    rotation_deg: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    elastic_strain: float = 0.0
    elastic_smooth_mm: tuple[float, float] = (2.0, 8.0)
    elastic_alpha: float = 0.0
    elastic_sigma: float = 4.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    bias_field: float = 0.0
    blur: float = 0.0
    blur_mm: tuple[float, float] = (0.1, 0.5)
    sharpen: float = 0.0
    sharpen_amount: float = 0.0
    coarse: float = 0.0
    coarse_mm: tuple[float, float] = (0.4, 0.8)
    noise: float = 0.0
    noise_level: float = 0.0


def random_coordinates(
    rng: np.random.Generator, centre, size: int, limits: Augmentation, spacing_mm: float = 0.25
) -> np.ndarray:
    """Draw a random transform: the position on the slice of every pixel of a window.

    Parameters
    ----------
    rng : numpy.random.Generator
    centre : (float, float)
        Row and column of the window's centre on the slice.
    size : int
        Rows and columns of the window.
    limits : Augmentation
    spacing_mm : float
        Spacing of the working grid.

    Returns
    -------
    numpy.ndarray
        (2, size, size): row and column on the slice, after an affine transform about the
        centre and a smooth displacement. The same array warps slice and mask.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> random_coordinates(rng, (10, 20), 2, Augmentation(), 0.25)[0]
    array([[ 9.,  9.],
           [10., 10.]])
    """

    def within(limit, shape=None):
        return rng.uniform(-limit, limit, shape)

    angle = np.deg2rad(within(limits.rotation_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    skew = np.array([[1, within(limits.shear)], [within(limits.shear), 1]])
    zoom = np.exp(within(limits.scale) + within(limits.stretch, 2))
    mirror = [-1.0 if rng.random() < limits.flip else 1.0, 1.0]
    grid = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 2, indexing="ij"))
    matrix = turn @ skew @ np.diag(zoom * mirror)
    coordinates = np.tensordot(matrix, grid, axes=1)
    if limits.elastic_strain > 0:
        smooth = rng.uniform(*limits.elastic_smooth_mm) / spacing_mm
        push = smooth_noise(rng, (2, size, size), smooth)
        # long waves may be high, short ones must be low, or the transform folds
        coordinates += push * smooth * rng.uniform(0, limits.elastic_strain)
    if limits.elastic_alpha > 0:  # the paper's, of Simard, Steinkraus & Platt, ICDAR 2003
        push = rng.uniform(-1, 1, (2, size, size))
        blurred = ndimage.gaussian_filter(push, (0, limits.elastic_sigma, limits.elastic_sigma))
        coordinates += limits.elastic_alpha * blurred
    coordinates += within(limits.shift * size, (2, 1, 1))
    return coordinates + np.reshape(centre, (2, 1, 1))


def warp(plane: np.ndarray, coordinates: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Sample a slice or mask, (rows, columns), at coordinates, linearly; `fill` outside."""
    return ndimage.map_coordinates(
        plane, coordinates, output=np.float32, order=1, mode="constant", cval=fill
    )


def smooth_noise(rng: np.random.Generator, shape, smooth: float) -> np.ndarray:
    """Return noise of about unit variance, smooth over `smooth` pixels in the last two axes."""
    size = np.array(shape[-2:])
    # enlarged coarse noise is as smooth as after a wide Gaussian filter, and much faster
    coarse = np.maximum(np.ceil(size / smooth).astype(int) + 3, 4)
    noise = rng.standard_normal((*shape[:-2], *coarse))
    positions = np.meshgrid(
        *[np.linspace(1, c - 2, n) for c, n in zip(coarse, size, strict=True)], indexing="ij"
    )
    planes = [
        ndimage.map_coordinates(plane, positions, order=3, mode="mirror")
        for plane in noise.reshape(-1, *coarse)
    ]
    field = np.reshape(planes, shape)
    # a cubic spline through white noise keeps about half of its variance
    return field / 0.8


def change_intensity(
    rng: np.random.Generator, window: np.ndarray, limits: Augmentation, spacing_mm: float = 0.25
) -> np.ndarray:
    """Return a standardised window with the intensities of another scanner.

    Parameters
    ----------
    rng : numpy.random.Generator
    window : numpy.ndarray
        (rows, columns), standardised.
    limits : Augmentation
    spacing_mm : float

    Returns
    -------
    numpy.ndarray
        float32, the same shape.
    """
    if rng.random() < limits.blur:
        window = ndimage.gaussian_filter(window, rng.uniform(*limits.blur_mm) / spacing_mm)
    elif rng.random() < limits.sharpen:
        soft = ndimage.gaussian_filter(window, 0.3 / spacing_mm)
        window = window + rng.uniform(0, limits.sharpen_amount) * (window - soft)
    low, high = np.percentile(window, (1, 99))
    width = max(float(high - low), 1e-3)
    if limits.gamma > 0:
        unit = np.clip((window - low) / width, 0, 2)
        window = low + width * unit ** np.exp(rng.uniform(-limits.gamma, limits.gamma))
    if limits.bias_field > 0:
        log_field = smooth_noise(rng, window.shape, rng.uniform(40, 120))
        window = low + (window - low) * np.exp(rng.uniform(0, 2) * limits.bias_field * log_field)
    window = window * np.exp(rng.uniform(-limits.contrast, limits.contrast))
    window = window + rng.uniform(-limits.brightness, limits.brightness)
    level = rng.uniform(0, limits.noise_level) if rng.random() < limits.noise else 0.0
    if rng.random() < limits.coarse:
        window = _acquired_coarser(rng, window, rng.uniform(*limits.coarse_mm) / spacing_mm, level)
    elif level > 0:
        noise = rng.standard_normal(window.shape)
        if rng.random() < 0.5:  # as coarse as pixels before resampling
            grain = rng.uniform(0.4, 1.2)
            noise = ndimage.gaussian_filter(noise, grain) * 2 * np.sqrt(np.pi) * grain
        window = window + noise * level
    return window.astype(np.float32)


def _acquired_coarser(rng, window: np.ndarray, step: float, noise: float) -> np.ndarray:
    """Sample a window every `step` pixels, add noise, and interpolate back linearly."""
    shape = np.ceil(np.array(window.shape) / step).astype(int) + 1
    start = -rng.uniform(0, 1, 2) * step / 2
    blurred = ndimage.gaussian_filter(window, 0.35 * step)
    coarse = ndimage.affine_transform(
        blurred, [step, step], start, output_shape=tuple(shape), order=1, mode="nearest"
    )
    coarse += noise * rng.standard_normal(coarse.shape)
    return ndimage.affine_transform(
        coarse, [1 / step] * 2, -start / step, output_shape=window.shape, order=1, mode="nearest"
    )
