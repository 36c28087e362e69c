"""Training samples: labelled scans and phantoms, cut into augmented windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmseg import image as gm_image
from gmseg import phantom, window
from gmseg.augment import change_intensity, random_coordinates, warp
from gmseg.datasets import LabelledScan
from gmseg.errors import InputError
from gmseg.grid import WORKING_SPACING_MM, to_working_grid
from gmseg.protocol import Phantoms, Protocol

INFERENCE_WINDOW = 200


@dataclass(frozen=True)
class TrainingScan:
    """A labelled scan on the working grid, its labelled slices only.

    Attributes
    ----------
    slices, masks : numpy.ndarray
        float32, (slices, rows, columns): scan values; share of GM in 0-1.
    centres : numpy.ndarray
        (slices, 2), the GM's centre.
    mean, std : float
        Of the windows around those centres, in scan values.
    """

    slices: np.ndarray
    masks: np.ndarray
    centres: np.ndarray
    mean: float
    std: float


def read_labelled(item: LabelledScan):
    """Read a scan and its reference: nibabel image and bool mask on one grid."""
    scan = gm_image.read_scan(item.scan)
    return scan, gm_image.read_mask(item.reference, scan, what="reference")


def prepare_training_scan(item: LabelledScan) -> TrainingScan:
    """Read a labelled scan and bring it to the working grid.

    Slices without GM in the reference are left out: raters often label a part, so that an
    empty slice does not mean that there is no gray matter in it.
    """
    scan, reference = read_labelled(item)
    data = np.asarray(scan.dataobj)
    if not np.isfinite(data).all():
        raise InputError(f"{item.scan}: holds NaN or infinite voxels; replace them to train on it")
    made = _training_scan(data, reference, scan.affine)
    if len(made.slices) == 0 or made.std == 0:
        raise InputError(f"{item.scan}: has nothing to train on around its GM; remove it")
    return made


def _training_scan(data: np.ndarray, gm: np.ndarray, affine: np.ndarray) -> TrainingScan:
    grid = to_working_grid(data, affine)
    mask = to_working_grid(gm.astype(np.float32), affine).data
    keep = (mask > 0.5).any(axis=(0, 1))
    centres = window.locate(grid, cord=mask)
    windows = window.cut(grid.data, centres, INFERENCE_WINDOW)
    return TrainingScan(
        slices=np.ascontiguousarray(np.moveaxis(grid.data, 2, 0)[keep]),
        masks=np.ascontiguousarray(np.moveaxis(mask, 2, 0)[keep]),
        centres=centres[keep],
        mean=float(windows.mean(dtype=np.float64)),
        std=float(windows.std(dtype=np.float64)),
    )


def prepare_phantoms(how: Phantoms) -> list[TrainingScan]:
    """Make up labelled scans: the label is the true share of GM in each voxel."""
    found = []
    for i in range(how.count):
        number = i % len(phantom.SITES)
        site = phantom.SITES[number]
        made = phantom.make_phantom(
            seed=i, site=number + 1, spacing_mm=site.spacing_mm, shape=(*site.shape[:2], how.slices)
        )
        image = made.image
        found.append(_training_scan(np.asarray(image.dataobj), made.gm_fraction, image.affine))
    return found


def make_sample(
    rng: np.random.Generator,
    scans: list[TrainingScan],
    phantoms: list[TrainingScan],
    protocol: Protocol,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training pair.

    Returns
    -------
    window, mask : numpy.ndarray
        float32, (size, size) each: standardised and augmented; share of GM in 0-1.
    """
    how, spacing_mm = protocol.windows, WORKING_SPACING_MM
    pool = phantoms if rng.random() < protocol.phantoms.share else scans
    scan = pool[rng.integers(len(pool))]
    k = rng.integers(len(scan.slices))
    plane, mask, centre = scan.slices[k], scan.masks[k], scan.centres[k]
    if rng.random() < how.near_cord:
        radius = how.near_cord_mm / spacing_mm * np.sqrt(rng.random())
        angle = rng.uniform(0, 2 * np.pi)
        centre = centre + radius * np.array([np.cos(angle), np.sin(angle)])
    else:
        centre = rng.uniform((0, 0), plane.shape)
    where = random_coordinates(rng, centre, INFERENCE_WINDOW, protocol.augmentation)
    plane, mask = warp(plane, where), warp(mask, where)
    mean, std = scan.mean, scan.std
    if rng.random() < how.small_field:
        before = plane.mean() + 1e-6, plane.std() + 1e-6
        plane, mask = _blank_outside_field(rng, plane, mask, how.small_field_mm)
        # the scan's own mean and std would have changed as this slice's do
        mean *= plane.mean() / before[0]
        std *= max(plane.std() / before[1], 0.1)
    start = (INFERENCE_WINDOW - how.size) // 2
    inner = slice(start, start + how.size)
    plane = (plane[inner, inner] - mean) / std
    return change_intensity(rng, plane, protocol.augmentation), mask[inner, inner]


def _blank_outside_field(rng, plane, mask, field_mm):
    """Set everything outside a random rectangle about the middle to scan value 0."""
    size = np.array(plane.shape)
    half = rng.uniform(*field_mm, 2) / WORKING_SPACING_MM / 2
    middle = size / 2 + rng.uniform(-0.3, 0.3, 2) * half
    low, high = np.maximum(middle - half, 0).astype(int), (middle + half).astype(int)
    seen = np.zeros(plane.shape, np.float32)
    seen[low[0] : high[0], low[1] : high[1]] = 1
    return plane * seen, mask * seen


def make_batch(
    scans: list[TrainingScan],
    phantoms: list[TrainingScan],
    protocol: Protocol,
    seed: int,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the batch of one step: it depends on seed and step alone, so runs can resume.

    Returns
    -------
    windows, masks : numpy.ndarray
        float32, (batch, size, size, 1).
    """
    pairs = [
        make_sample(np.random.default_rng([seed, step, i]), scans, phantoms, protocol)
        for i in range(protocol.windows.batch)
    ]
    windows, masks = (np.stack(part)[..., None] for part in zip(*pairs, strict=True))
    return windows, masks
