"""Synthetic sites, and a small model of an MRI scanner."""

from typing import NamedTuple

import numpy as np


class Site(NamedTuple):
    """Grid, acquisition and tissue signals of a synthetic site.

    `noise` (standard deviation) and `bias` are fractions; tissue signals are relative and
    multiplied by `gain` in the end.
    """

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    acquired_mm: float
    noise: float
    bias: float
    gain: float
    csf: float
    gm: float
    wm: float
    muscle: float
    bone: float
    fat: float
    vessel: float
    septum: float


_SITES = {  # a column per site
    "spacing_mm": ((0.5, 0.5, 5.0), (0.65, 0.65, 7.5), (0.25, 0.25, 2.5), (0.3, 0.3, 5.0)),
    "shape": ((128, 128, 8), (112, 112, 6), (224, 224, 12), (200, 200, 8)),
    "acquired_mm": (0.6, 0.65, 0.45, 0.6),
    "noise": (0.022, 0.024, 0.032, 0.026),
    "bias": (0.25, 0.3, 0.2, 0.35),
    "gain": (420, 900, 1500, 250),
    "csf": (1.0, 0.9, 1.0, 1.0),
    "gm": (0.61, 0.63, 0.66, 0.74),
    "wm": (0.48, 0.5, 0.52, 0.57),
    "muscle": (0.37, 0.42, 0.34, 0.45),
    "bone": (0.13, 0.17, 0.1, 0.2),
    "fat": (0.55, 0.5, 0.65, 0.75),
    "vessel": (1.0, 0.95, 0.9, 1.0),
    "septum": (0.15, 0.2, 0.12, 0.18),
}

SITES = tuple(Site._make(column) for column in zip(*_SITES.values(), strict=True))
"""Four synthetic sites."""


def acquire(ideal, rng, site):
    """Return a scan of an ideal object: blurred, shaded by the coils, with Rician noise.

    Parameters
    ----------
    ideal : numpy.ndarray
        (x, y, slices): signal of the tissues.
    rng : numpy.random.Generator
    site : Site
        Voxel size in plane, `acquired_mm`, `bias`, and `noise` as a fraction of the CSF's signal.

    Returns
    -------
    numpy.ndarray
        float64, the same shape.

    Examples
    --------
    >>> disc = np.hypot(*np.mgrid[-16:16, -16:16])[..., None] < 8.0
    >>> quiet = SITES[0]._replace(noise=0.0, bias=0.0)
    >>> scan = acquire(disc.astype(float), np.random.default_rng(0), quiet)
    >>> round(float(scan[16, 16, 0]), 1), round(float(scan[0, 0, 0]), 1)
    (1.0, 0.0)
    """
    padded = np.pad(ideal, [(16, 16), (16, 16), (0, 0)], mode="symmetric")
    kept = np.ones(1)
    for axis, view in enumerate(((slice(None), None), (None, slice(None)))):
        frequency = np.fft.fftfreq(padded.shape[axis], site.spacing_mm[axis])
        edge = np.abs(frequency) * 2 * site.acquired_mm  # 1 at the edge of the sampled k-space
        kept = kept * np.clip((1.08 - edge) / 0.35, 0, 1)[view]

    def limited(volume):
        return np.fft.ifft2(np.fft.fft2(volume, axes=(0, 1)) * kept[..., None], axes=(0, 1))

    sensitivity = _sensitivity(ideal.shape, rng, site.bias)
    noise = rng.standard_normal((2, *padded.shape))
    noise = limited(noise[0] + 1j * noise[1]) / np.sqrt((kept**2).mean())
    inner = (slice(16, -16), slice(16, -16))
    return np.abs(limited(padded)[inner] * sensitivity + site.noise * site.csf * noise[inner])


def _sensitivity(shape, rng, bias):
    """Return a random smooth coil sensitivity, about 1, over a scan."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    c = rng.uniform(-1, 1, 5)
    slope = 0.5 * (c[0] * x + c[1] * z + c[2] * x * y - 0.6 * y) - 0.4 * (1 + 0.4 * c[3]) * (y**2)
    return np.exp(bias * (slope - 0.3 * x**2 + 0.2 * c[4] * z**2))
