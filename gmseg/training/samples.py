"""Training samples: labelled scans and phantoms, cut into augmented windows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from gmseg.core import windows as window
from gmseg.core.resampling import to_working_grid
from gmseg.datasets import phantom
from gmseg.datasets.folders import LabelledScan
from gmseg.datasets.labelled import read_labelled
from gmseg.errors import InputError
from gmseg.evaluation.evaluate import majority
from gmseg.io.image import read_mask
from gmseg.training.augmentation import change_intensity, random_coordinates, warp
from gmseg.training.protocol import Protocol
from gmseg.training.template import Sections, paste_section, read_template

INFERENCE_WINDOW = 200
_REACH_WINDOWS = 2.0  # of a scan, so many windows' widths around the cord are kept


@dataclass(frozen=True)
class TrainingScan:
    """A labelled scan on the working grid, its labelled slices only.

    Attributes
    ----------
    slices : numpy.ndarray
        float32, (slices, rows, columns): scan values.
    masks : numpy.ndarray
        float32, (raters, slices, rows, columns): share of GM in 0-1.
    cords : numpy.ndarray or None
        float32, (slices, rows, columns): the same of cord, where its mask is known.
    centres : numpy.ndarray
        (slices, 2), of the windows: the GM's centre or the image's.
    mean, std : float
        Of the windows around those centres, in scan values.
    """

    slices: np.ndarray
    masks: np.ndarray
    cords: np.ndarray | None
    centres: np.ndarray
    mean: float
    std: float


@dataclass(frozen=True)
class TrainingSet:
    """What training samples are made of: all that `prepare_training_set` reads or makes up.

    Attributes
    ----------
    subjects : list of list of TrainingScan
        The scans of each: everybody is seen equally often, however many sessions there are.
    phantoms : list of TrainingScan
    sections : gmseg.training.template.Sections or None
    mean, std : float
        Over the scans, in scan values: the training set's.
    """

    subjects: list[list[TrainingScan]]
    phantoms: list[TrainingScan]
    sections: Sections | None
    mean: float
    std: float


def prepare_training_set(
    items: list[LabelledScan], protocol: Protocol, template=None
) -> TrainingSet:
    """Read labelled scans and a template, and make up phantoms, as a protocol wants them."""
    sections = read_template(template) if template is not None else None
    scans = [prepare_training_scan(item, protocol) for item in items]
    sizes = np.array([len(scan.slices) for scan in scans])
    means, stds = np.array([(scan.mean, scan.std) for scan in scans]).T
    mean = np.average(means, weights=sizes)
    variance = np.average(stds**2 + (means - mean) ** 2, weights=sizes)
    subjects = defaultdict(list)
    for item, scan in zip(items, scans, strict=True):
        subjects[item.subject].append(scan)
    return TrainingSet(
        subjects=list(subjects.values()),
        phantoms=prepare_phantoms(protocol),
        sections=sections,
        mean=float(mean),
        std=float(np.sqrt(variance)),
    )


def prepare_training_scan(item: LabelledScan, protocol: Protocol) -> TrainingScan:
    """Read a labelled scan and bring it to the working grid.

    Slices without GM in the reference are left out: raters often label a part, so that an
    empty slice does not mean that there is no gray matter in it.
    """
    scan, references = read_labelled(item)
    cord = item.cord and read_mask(item.cord, scan, what="cord mask")
    if protocol.windows.raters == "majority":
        references = [majority(references)]
        if not references[0].any():
            raise InputError(f"{item.scan}: its raters agree nowhere; remove it or its raters")
    made = _training_scan(np.asarray(scan.dataobj), references, scan.affine, protocol, cord)
    if len(made.slices) == 0 or made.std == 0:
        raise InputError(f"{item.scan}: has nothing to train on around its GM; remove it")
    return made


def _training_scan(data, references, affine, protocol: Protocol, cord) -> TrainingScan:
    spacing_mm = protocol.windows.spacing_mm

    def on_grid(mask):
        return to_working_grid(mask.astype(np.float32), affine, spacing_mm).data

    grid = to_working_grid(data, affine, spacing_mm)
    masks = [on_grid(mask) for mask in references]
    anybody = np.max(masks, axis=0)
    keep = (anybody > 0.5).any(axis=(0, 1))
    if protocol.windows.centre == "image":
        centres = window.locate(grid, centre="image")
    else:
        centres = window.locate(grid, cord=window.middles(anybody))
    windows = window.cut(grid.data, centres, INFERENCE_WINDOW)  # of all slices, as at inference
    reach = round(_REACH_WINDOWS * INFERENCE_WINDOW)
    low = np.maximum(centres.min(axis=0) - reach // 2, 0)
    high = centres.max(axis=0) + reach // 2

    def kept(volume):
        inner = volume[low[0] : high[0], low[1] : high[1], keep]
        return np.ascontiguousarray(np.moveaxis(inner, 2, 0))

    return TrainingScan(
        slices=kept(grid.data),
        masks=np.stack([kept(mask) for mask in masks]),
        cords=None if cord is None else kept(on_grid(cord)),
        centres=centres[keep] - low,
        mean=float(windows.mean(dtype=np.float64)),
        std=float(windows.std(dtype=np.float64)),
    )


def prepare_phantoms(protocol: Protocol) -> list[TrainingScan]:
    """Make up labelled scans: the label is the true share of GM in each voxel."""
    how, found = protocol.phantoms, []
    for i in range(how.count):
        number = i % len(phantom.SITES)
        site = phantom.SITES[number]
        made = phantom.make_phantom(
            seed=i, site=number + 1, spacing_mm=site.spacing_mm, shape=(*site.shape[:2], how.slices)
        )
        data, cord = (np.asarray(part.dataobj) for part in (made.image, made.mask))
        found.append(
            _training_scan(data, [made.gm_fraction], made.image.affine, protocol, cord > 0)
        )
    return found


def make_sample(
    rng: np.random.Generator, source: TrainingSet, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training pair.

    Returns
    -------
    window, mask : numpy.ndarray
        float32, (size, size) each: standardised and augmented; share of GM in 0-1.
    """
    how, spacing_mm = protocol.windows, protocol.windows.spacing_mm
    pool = source.subjects[rng.integers(len(source.subjects))]
    if rng.random() < protocol.phantoms.share:
        pool = source.phantoms
    scan = pool[rng.integers(len(pool))]
    k = rng.integers(len(scan.slices))
    plane, centre = scan.slices[k], scan.centres[k]
    mask = scan.masks[rng.integers(len(scan.masks)), k]
    painted = rng.random() < protocol.template.share
    if painted and source.sections is not None and scan.cords is not None:
        plane, mask = paste_section(
            rng, plane, mask, scan.cords[k], source.sections, protocol.template, spacing_mm
        )
    if how.centre == "cord" and rng.random() < how.near_cord:
        radius = how.near_cord_mm / spacing_mm * np.sqrt(rng.random())
        angle = rng.uniform(0, 2 * np.pi)
        centre = centre + radius * np.array([np.cos(angle), np.sin(angle)])
    elif how.centre == "cord":
        centre = rng.uniform((0, 0), plane.shape)
    mean, std = scan.mean, scan.std
    if how.standardise == "training":
        mean, std = source.mean, source.std
    small_field = rng.random() < how.small_field
    # a small field changes the mean and s.d. of the whole window: only then all of it is made
    size = INFERENCE_WINDOW if small_field else how.size
    where = random_coordinates(rng, centre, size, protocol.augmentation, spacing_mm)
    plane, mask = warp(plane, where), warp(mask, where)
    if small_field:
        before = plane.mean() + 1e-6, plane.std() + 1e-6
        plane, mask = _blank_outside_field(rng, plane, mask, how.small_field_mm, spacing_mm)
        if how.standardise == "volume":
            # the scan's own mean and std would have changed as this slice's do
            mean *= plane.mean() / before[0]
            std *= max(plane.std() / before[1], 0.1)
    start = size // 2 - how.size // 2
    inner = slice(start, start + how.size)
    plane = (plane[inner, inner] - mean) / std
    return change_intensity(rng, plane, protocol.augmentation, spacing_mm), mask[inner, inner]


def _blank_outside_field(rng, plane, mask, field_mm, spacing_mm):
    """Set everything outside a random rectangle about the middle to scan value 0."""
    size = np.array(plane.shape)
    half = rng.uniform(*field_mm, 2) / spacing_mm / 2
    middle = size / 2 + rng.uniform(-0.3, 0.3, 2) * half
    low, high = np.maximum(middle - half, 0).astype(int), (middle + half).astype(int)
    seen = np.zeros(plane.shape, np.float32)
    seen[low[0] : high[0], low[1] : high[1]] = 1
    return plane * seen, mask * seen


def make_batch(
    source: TrainingSet, protocol: Protocol, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make the batch of one step: it depends on seed and step alone, so runs can resume.

    Returns
    -------
    windows, masks : numpy.ndarray
        float32, (batch, size, size, 1).
    """
    pairs = [
        make_sample(np.random.default_rng([seed, step, i]), source, protocol)
        for i in range(protocol.windows.batch)
    ]
    windows, masks = (np.stack(part)[..., None] for part in zip(*pairs, strict=True))
    return windows, masks
