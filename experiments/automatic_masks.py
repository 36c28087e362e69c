"""Automatic masks of the scans without manual ones, by the published network."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from gmseg.core import geometry, pipeline
from gmseg.core.model import Model
from gmseg.datasets.folders import bids_scans
from gmseg.inference import engines
from gmseg.io import image

CHANGES = 8  # changed copies of each slice, averaged with its own soft segmentation
THRESHOLD = 0.55  # gives the average the same areas as 0.5 gives a single segmentation
AREA_MM2 = 5, 30  # slices outside this range are not trained on


def label(data: Path, model: Model, out: Path) -> None:
    """Copy the scans without masks into a BIDS folder, with automatic masks."""
    predict = engines.load_predictor(model)
    for name, path, beside, cord_path in tqdm(list(without_masks(data)), desc="labelling"):
        scan, first = image.read_scan(path), image.read_scan(beside)
        cord = image.read_mask(cord_path, first, what="cord mask")
        # a second run has no cord mask: its window is at the cord of the first run
        centre = nib.affines.apply_affine(first.affine, np.argwhere(cord).mean(axis=0))
        prepared = pipeline.prepare(scan, model, name=path, centre=(centre[0], centre[1]))
        soft_windows = averaged(predict, prepared.windows)
        soft = pipeline.restore(soft_windows, prepared.centres, prepared.grid)
        mask = (soft > THRESHOLD).astype(np.uint8)
        areas = geometry.slice_areas_mm2(mask, scan.affine)
        implausible = (areas < AREA_MM2[0]) | (areas > AREA_MM2[1])
        np.moveaxis(mask, geometry.slice_axis(scan.affine), 0)[implausible] = 0
        scans = out / name.split("_")[0] / "anat"
        labels = out / "derivatives" / "labels" / name.split("_")[0] / "anat"
        for folder in (scans, labels):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, scans / f"{name}.nii.gz")
        image.write_image(image.like_scan(scan, mask), labels / f"{name}_gmseg-auto.nii.gz")
        if beside == path:
            shutil.copy(cord_path, labels / f"{name}_seg-manual.nii.gz")


def without_masks(data: Path):
    """Yield name and path of every scan without mask, and a scan with its cord mask."""
    for item in bids_scans(data / "t2starw-multicentre"):
        second = item.scan.with_name(item.scan.name.replace("_run-1_", "_run-2_"))
        yield item.name.replace("_run-1_", "_run-2_"), second, item.scan, item.cord
    for path in sorted((data / "t2star-unlabelled").glob("sub-*_T2star.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        yield name, path, path, path.with_name(f"{name}_seg-manual.nii.gz")


def averaged(predict, windows: np.ndarray) -> np.ndarray:
    """Return the mean soft segmentation of windows and of slightly changed copies of them."""
    rng, total = np.random.default_rng(0), pipeline.predict_windows(predict, windows)[:, 0]
    for _ in range(CHANGES):
        angle, scale = np.deg2rad(rng.normal(0, 6)), np.exp(rng.normal(0, 0.08))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.diag([scale * rng.choice([-1, 1]), scale])
        gain, level = np.exp(rng.normal(0.1, 0.25)), rng.normal(0, 0.2)
        changed = (moved(windows, matrix) * gain + level).astype(np.float32)
        total += moved(pipeline.predict_windows(predict, changed)[:, 0], np.linalg.inv(matrix))
    return total / (CHANGES + 1)


def moved(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform planes (n, rows, columns) by a matrix about their centre."""
    centre = (np.array(planes.shape[1:]) - 1) / 2
    offset = centre - matrix @ centre
    return np.stack(
        [ndimage.affine_transform(p, matrix, offset, order=1, mode="nearest") for p in planes]
    )
