"""Training samples: augmented windows of labelled scans and synthetic phantoms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from gmseg.core.resampling import to_working_grid
from gmseg.core.windows import centres_of_mass, cut, darkest, window_centres
from gmseg.datasets.folders import LabelledScan
from gmseg.datasets.labelled import read_labelled
from gmseg.datasets.phantom import make_phantom
from gmseg.datasets.scanner import SITES
from gmseg.errors import InputError
from gmseg.evaluation.evaluate import majority
from gmseg.io.image import read_mask
from gmseg.training.augmentation import change_intensity, random_coordinates, warp
from gmseg.training.protocol import Protocol, Windows
from gmseg.training.template import Sections, paste_section, read_template

_KEPT_MM = 100.0  # side of the part of a scan around the cord that is kept


@dataclass(frozen=True)
class TrainingScan:
    """A labelled scan on the working grid, its labelled slices only.

    Attributes
    ----------
    slices : numpy.ndarray
        float32, (slices, rows, columns): scan values.
    darkest : numpy.ndarray
        (slices,): what windows are filled with beyond the scan, see `gmseg.core.windows.darkest`.
    masks : numpy.ndarray
        float32, (raters, slices, rows, columns): share of GM, 0 to 1.
    cords : numpy.ndarray or None
        float32, (slices, rows, columns): share of cord, if there is a cord mask.
    centres : numpy.ndarray
        (slices, 2): centres of the windows, on the GM or the image.
    mean, std : float
        Mean and standard deviation of the windows around those centres, in scan values.
    """

    slices: np.ndarray
    darkest: np.ndarray
    masks: np.ndarray
    cords: np.ndarray | None
    centres: np.ndarray
    mean: float
    std: float


@dataclass(frozen=True)
class TrainingSet:
    """All data that training samples are drawn from.

    Attributes
    ----------
    subjects : list of list of TrainingScan
        Scans of each subject; subjects are drawn equally often, whatever their number of scans.
    phantoms : list of TrainingScan
    sections : gmseg.training.template.Sections or None
    mean, std : float
        Mean and standard deviation over the scans, in scan values.
    """

    subjects: list[list[TrainingScan]]
    phantoms: list[TrainingScan]
    sections: Sections | None
    mean: float
    std: float


def prepare_training_set(
    items: list[LabelledScan], protocol: Protocol, template=None
) -> TrainingSet:
    """Read labelled scans and a template, and make the phantoms, for a protocol."""
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
    """Read a labelled scan and resample it to the working grid.

    Slices without reference GM are left out: raters often label a part of the slices, so an
    empty slice may contain gray matter.
    """
    scan, references = read_labelled(item)
    cord = read_mask(item.cord, scan, what="cord mask") if item.cord is not None else None
    if protocol.windows.raters == "majority":
        references = [majority(references)]
        if not references[0].any():
            raise InputError(f"{item.scan}: its raters agree nowhere; remove the scan")
    prepared = _training_scan(np.asarray(scan.dataobj), references, scan.affine, protocol, cord)
    if len(prepared.slices) == 0 or prepared.std == 0:
        raise InputError(f"{item.scan}: has nothing to train on around its GM; remove it")
    return prepared


def _training_scan(data, references, affine, protocol: Protocol, cord) -> TrainingScan:
    spacing_mm = protocol.windows.spacing_mm

    def on_grid(mask):
        return to_working_grid(mask.astype(np.float32), affine, spacing_mm).data

    grid = to_working_grid(data, affine, spacing_mm)
    masks = [on_grid(mask) for mask in references]
    any_rater = np.max(masks, axis=0)
    keep = (any_rater > 0.5).any(axis=(0, 1))
    if protocol.windows.centre == "image":
        centres = window_centres(grid, centre="image")
    else:
        centres = window_centres(grid, cord=centres_of_mass(any_rater))
    size = protocol.windows.inference_size
    fills = darkest(grid.data)
    windows = cut(grid.data, centres, size, fills)  # of all slices, as at inference
    reach = round(_KEPT_MM / spacing_mm) // 2
    low, high = np.maximum(centres.min(axis=0) - reach, 0), centres.max(axis=0) + reach

    def kept(volume):
        inner = volume[low[0] : high[0], low[1] : high[1], keep]
        return np.ascontiguousarray(np.moveaxis(inner, 2, 0))

    return TrainingScan(
        slices=kept(grid.data),
        darkest=fills[keep],
        masks=np.stack([kept(mask) for mask in masks]),
        cords=None if cord is None else kept(on_grid(cord)),
        centres=centres[keep] - low,
        mean=float(windows.mean(dtype=np.float64)),
        std=float(windows.std(dtype=np.float64)),
    )


def prepare_phantoms(protocol: Protocol) -> list[TrainingScan]:
    """Make synthetic phantoms; their label is the exact share of GM in each voxel."""
    scans = []
    for i in range(protocol.phantoms.count):
        number = i % len(SITES)
        spacing_mm, shape = SITES[number].spacing_mm, SITES[number].shape[:2]
        phantom = make_phantom(
            seed=i, site=number + 1, spacing_mm=spacing_mm, shape=(*shape, protocol.phantoms.slices)
        )
        data, labels = (np.asarray(part.dataobj) for part in (phantom.image, phantom.mask))
        gm, affine = phantom.gm_fraction, phantom.image.affine
        scans.append(_training_scan(data, [gm], affine, protocol, labels > 0))
    return scans


def make_sample(
    rng: np.random.Generator, training_set: TrainingSet, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training pair.

    Returns
    -------
    window : numpy.ndarray
        float32, (size, size): standardised and augmented.
    masks : numpy.ndarray
        float32, (size, size, outputs): share of GM, and of cord where the network has that output,
        0 to 1; NaN where it is unknown.
    """
    windows, spacing_mm = protocol.windows, protocol.windows.spacing_mm
    scan, k, plane, mask, cord = _draw_slice(rng, training_set, protocol)
    centre, fill = scan.centres[k], float(scan.darkest[k])
    if windows.centre == "cord":
        centre = _draw_centre(rng, centre, plane.shape, windows)
    mean, std = scan.mean, scan.std
    if windows.standardise == "training":
        mean, std = training_set.mean, training_set.std
    small_field = rng.random() < windows.small_field
    # a small field changes mean and s.d. of the whole window, so all of it is needed
    size = windows.inference_size if small_field else windows.size
    coordinates = random_coordinates(rng, centre, size, protocol.augmentation, spacing_mm)
    labels = [mask, cord][: protocol.outputs]
    plane, masks = warp(plane, coordinates, fill), _warped(labels, coordinates)
    if small_field:
        before = plane.mean() + 1e-6, plane.std() + 1e-6
        plane, masks = _blank_outside_field(
            rng, plane, masks, windows.small_field_mm, spacing_mm, fill
        )
        if windows.standardise == "volume":
            # mean and s.d. of the scan would change like those of this slice
            mean *= plane.mean() / before[0]
            std *= max(plane.std() / before[1], 0.1)
    start = size // 2 - windows.size // 2
    inner = slice(start, start + windows.size)
    plane = (plane[inner, inner] - mean) / std
    return change_intensity(rng, plane, protocol.augmentation, spacing_mm), masks[inner, inner]


def _warped(labels, coordinates) -> np.ndarray:
    """Return labels at coordinates, (rows, columns, labels); NaN for None, an unknown label."""
    unknown = np.full(coordinates.shape[1:], np.nan, np.float32)
    return np.stack(
        [unknown if label is None else warp(label, coordinates) for label in labels], axis=-1
    )


def _draw_slice(rng, training_set: TrainingSet, protocol: Protocol):
    """Draw a slice, with a template section pasted in for some; return its scan and number too.

    The cord is None where it is unknown: without a mask, or in slices that the mask leaves out.
    """
    scans = training_set.subjects[rng.integers(len(training_set.subjects))]
    if rng.random() < protocol.phantoms.share:
        scans = training_set.phantoms
    scan = scans[rng.integers(len(scans))]
    k = rng.integers(len(scan.slices))
    plane, mask = scan.slices[k], scan.masks[rng.integers(len(scan.masks)), k]
    cord = None if scan.cords is None else scan.cords[k]
    pasted = rng.random() < protocol.template.share
    if pasted and training_set.sections is not None and cord is not None:
        spacing_mm = protocol.windows.spacing_mm
        sections, template = training_set.sections, protocol.template
        plane, mask, cord = paste_section(rng, plane, mask, cord, sections, template, spacing_mm)
    if cord is not None and not (cord > 0.5).any():
        cord = None
    return scan, k, plane, mask, cord


def _draw_centre(rng, centre, shape, windows: Windows):
    """Draw the centre of a window: near the cord, or anywhere in the slice."""
    if rng.random() >= windows.near_cord:
        return rng.uniform((0, 0), shape)
    radius = windows.near_cord_mm / windows.spacing_mm * np.sqrt(rng.random())
    angle = rng.uniform(0, 2 * np.pi)
    return centre + radius * np.array([np.cos(angle), np.sin(angle)])


def _blank_outside_field(rng, plane, masks, field_mm, spacing_mm, fill):
    """Set everything outside a random rectangle near the middle to the value of filling."""
    size = np.array(plane.shape)
    half = rng.uniform(*field_mm, 2) / spacing_mm / 2
    middle = size / 2 + rng.uniform(-0.3, 0.3, 2) * half
    low, high = np.maximum(middle - half, 0).astype(int), (middle + half).astype(int)
    field = np.zeros(plane.shape, np.float32)
    field[low[0] : high[0], low[1] : high[1]] = 1
    return np.where(field > 0, plane, np.float32(fill)), masks * field[..., None]


def make_batch(
    training_set: TrainingSet, protocol: Protocol, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the batch of one step, which depends on seed and step alone, so that runs can resume.

    Returns
    -------
    windows, masks : numpy.ndarray
        float32, (batch, size, size, 1) and (batch, size, size, outputs).
    """
    pairs = [
        make_sample(np.random.default_rng([seed, step, i]), training_set, protocol)
        for i in range(protocol.windows.batch)
    ]
    windows, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    return windows[..., None], masks
