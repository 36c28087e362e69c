"""Scans for the benchmark: synthetic phantoms, so that it runs anywhere."""

from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.datasets.phantom import make_phantom

SHAPE = (320, 320, 11)
SPACING_MM = (0.5, 0.5, 5.0)
OFFSET_MM = (3.0, -4.0)  # cords are rarely at the centre of the image
THIN_MM = 0.5  # slice spacing of a long scan: no scanner's field of view is longer than 3 m
SMALL_SHAPE = (128, 128, 10)
FIRST_SEED = 20_011  # training uses seeds from 0


def main_scan(folder: Path) -> Path:
    """Write the scan of the main job: 160 x 160 mm, int16."""
    phantom = make_phantom(seed=FIRST_SEED, spacing_mm=SPACING_MM, shape=SHAPE, offset_mm=OFFSET_MM)
    path = folder / "t2s.nii.gz"
    nib.save(phantom.image, path)
    return path


def long_scan(scan: Path, slices: int, folder: Path) -> Path:
    """Write a scan that repeats the slices of another one, up and down."""
    image = nib.load(scan)
    count = image.shape[2]
    up_and_down = [*range(count), *range(count - 2, 0, -1)] or [0]
    voxels = np.asarray(image.dataobj).astype(np.int16)[..., np.resize(up_and_down, slices)]
    affine = image.affine @ np.diag([1, 1, THIN_MM / nib.affines.voxel_sizes(image.affine)[2], 1])
    path = folder / f"long{slices}.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def small_scans(count: int, folder: Path) -> list[Path]:
    """Write small scans of different phantoms."""
    paths = [folder / f"small{number:03d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        nib.save(make_phantom(seed=FIRST_SEED + 1 + number, shape=SMALL_SHAPE).image, path)
    return paths


def describe(scan: Path, synthetic: bool) -> str:
    """Return a description of a scan without its name."""
    image = nib.load(scan)
    sizes = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(image.affine))
    return (
        f"a {'synthetic phantom' if synthetic else 'real scan'}, "
        f"{' x '.join(map(str, image.shape))} voxels of {sizes} mm, "
        f"{image.get_data_dtype()}, compressed"
    )
