"""What the networks are trained on: scans on the working grid with labels, and cord sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core import windows
from gmseg.core.resampling import WORKING_SPACING_MM, to_working_grid
from gmseg.core.standardisation import volume_mean_std
from gmseg.io.image import read_scan

WINDOW = 128
"""Pixels of the window over which scans are standardised: 32 mm."""
FIELD = 400
"""Pixels around the cord that are kept: 100 mm."""
_SHEET_PX = 60  # around the template's maps, so that a section near the edge can be cut


@dataclass(frozen=True)
class TrainingScan:
    """Slices of one scan around the cord.

    Attributes
    ----------
    name, subject : str
        Name of the scan, and the subject that decides on its fold.
    kind : {"labelled", "unlabelled"}
        Whether the GM labels were drawn, or are automatic.
    image, gm, cord : numpy.ndarray
        float32, (slices, FIELD, FIELD): scan values, 0 beyond the scan; labels from 0 to 1, NaN in
        slices without a label.
    mean, std : float
        Of the windows around the cord.
    """

    name: str
    subject: str
    kind: str
    image: np.ndarray
    gm: np.ndarray
    cord: np.ndarray
    mean: float
    std: float


def load_scans(data: Path, soft_folders: Sequence[Path]) -> list[TrainingScan]:
    """Load all scans.

    Parameters
    ----------
    data : pathlib.Path
        Folder with ``t2starw-multicentre``, ``t2star-13-scanners``, ``t2star-derived-labels`` and
        ``t2star-unlabelled``.
    soft_folders : sequence of pathlib.Path
        Folders of soft segmentations of the unlabelled second runs; they are averaged.
    """
    scans = []
    root = data / "t2starw-multicentre"
    for scan in sorted(root.glob("sub-*/anat/*_T2starw.nii.gz")):
        stem = scan.name.removesuffix(".nii.gz")
        subject = stem.split("_")[0].removeprefix("sub-").split("Ses")[0]
        labels = root / "derivatives/labels" / scan.parent.relative_to(root)
        gm, cord = (labels / f"{stem}_{kind}-manual.nii.gz" for kind in ("gmseg", "seg"))
        if gm.exists():
            scans.append(_load(stem, subject, "labelled", scan, [gm], cord))
        else:
            soft = [folder / f"{stem}_gmsoft.nii.gz" for folder in soft_folders]
            scans.append(_load(stem, subject, "unlabelled", scan, soft, None))
    labels = data / "t2star-13-scanners/derived-labels"
    for scan in sorted((data / "t2star-13-scanners").glob("*_T2star.nii.gz")):
        stem = scan.name.removesuffix(".nii.gz")
        gm, cord = (labels / f"{stem}_label-{kind}_derived.nii.gz" for kind in ("GM", "SC"))
        scans.append(_load(stem, "spine-generic", "unlabelled", scan, [gm], cord))
    folder = data / "t2star-derived-labels"
    scan = folder / "errsm_18_image_RAS.nii.gz"
    gm, cord = (folder / f"errsm_18_{kind}_from_dictionary_RAS.nii.gz" for kind in ("gm", "cord"))
    scans.append(_load("errsm_18", "errsm_18", "labelled", scan, [gm], cord))
    scan = data / "t2star-unlabelled/sub-test001_T2star.nii.gz"
    gm = folder / "sub-test001_gm_from_dictionary_RAS.nii.gz"
    cord = scan.with_name("sub-test001_T2star_seg-manual.nii.gz")
    scans.append(_load("sub-test001", "test001", "labelled", scan, [gm], cord))
    return scans


def _load(
    name: str, subject: str, kind: str, path: Path, gm_paths: Sequence[Path], cord_path: Path | None
) -> TrainingScan:
    scan = read_scan(path, mean=nib.load(path).ndim == 4)
    grid = to_working_grid(np.asarray(scan.dataobj), scan.affine)
    gm = np.mean([_on_grid(path, scan) for path in gm_paths], axis=0)
    cord = np.full_like(gm, np.nan) if cord_path is None else _on_grid(cord_path, scan)
    centres = windows.centres_of_mass(np.nan_to_num(cord))
    centres = np.where(np.isfinite(centres), centres, windows.centres_of_mass(gm))
    centres = windows.window_centres(grid, cord=centres)
    mean, std = volume_mean_std(windows.cut(grid.data, centres, WINDOW))
    image, gm, cord = (
        windows.cut(part, centres, FIELD).astype(np.float32) for part in (grid.data, gm, cord)
    )
    has_gm, has_cord = ((np.nan_to_num(part) > 0.5).any(axis=(1, 2)) for part in (gm, cord))
    gm[~has_gm] = np.nan  # raters label some of the slices
    cord[~has_cord] = np.nan
    keep = has_gm | has_cord
    return TrainingScan(name, subject, kind, image[keep], gm[keep], cord[keep], mean, std)


def _on_grid(path: Path, scan: nib.Nifti1Image) -> np.ndarray:
    """Return a label on the working grid of its scan; affines differ a little in one dataset."""
    label = nib.load(path)
    same_axes = nib.aff2axcodes(label.affine) == nib.aff2axcodes(scan.affine)
    affine = scan.affine if label.shape == scan.shape[:3] and same_axes else label.affine
    return to_working_grid(np.asarray(label.dataobj, np.float32), affine).data


@dataclass(frozen=True)
class Sections:
    """Cross-sections of cords at 0.25 mm.

    Attributes
    ----------
    gm, wm : numpy.ndarray
        float32, (n, rows, columns), 0 to 1.
    texture : numpy.ndarray
        float32, same shape: intensities within the cord, 0 where there are none.
    subjects : numpy.ndarray
        str, (n,).
    """

    gm: np.ndarray
    wm: np.ndarray
    texture: np.ndarray
    subjects: np.ndarray


def load_sections(data: Path) -> Sections:
    """Load the sections of the GM dictionary, and some of the 7 T template."""
    found = np.load(data / "gm-dictionary/gm_dictionary.npz")
    zoom = float(found["spacing_mm"]) / WORKING_SPACING_MM
    # the first section has an odd outline, subject 19 no contrast
    keep = (np.arange(len(found["gm"])) > 0) & (found["subject"] != 19)
    parts = [
        np.stack([ndimage.zoom(one.astype(np.float32), zoom, order=1) for one in found[kind][keep]])
        for kind in ("gm", "wm", "image")
    ]
    subjects = [f"dictionary-{number}" for number in found["subject"][keep]]
    template = _template_sections(data / "amu7t-template", parts[0].shape[1:])
    parts = [np.concatenate(pair) for pair in zip(parts, template, strict=True)]
    return Sections(*parts, np.array(subjects + ["template"] * len(template[0])))


def _template_sections(folder: Path, shape) -> list[np.ndarray]:
    maps = []
    for kind in ("gm", "wm"):
        image = nib.load(folder / f"AMU7T_{kind}.nii.gz")
        maps.append(to_working_grid(np.asarray(image.dataobj, np.float32), image.affine).data)
    total = maps[0].sum(axis=(0, 1))
    chosen = np.flatnonzero(total > 0.3 * np.median(total[total > 0]))[::12]
    sections = []
    for k in chosen:
        centre = np.array(ndimage.center_of_mass(maps[0][..., k] + maps[1][..., k]))
        row, column = np.rint(centre - np.array(shape) / 2).astype(int) + _SHEET_PX
        part = (slice(row, row + shape[0]), slice(column, column + shape[1]))
        sections.append([np.pad(one[..., k], _SHEET_PX)[part] for one in maps])
    gm, wm = (np.stack(part) for part in zip(*sections, strict=True))
    return [gm, wm, np.zeros_like(gm)]
