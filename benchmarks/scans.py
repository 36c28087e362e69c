"""The scans of the benchmark: made up, so that it runs anywhere."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from gmseg.datasets.phantom import make_phantom

SHAPE = (320, 320, 11)
SPACING_MM = (0.5, 0.5, 5.0)
OFFSET_MM = (3.0, -4.0)  # the cord is seldom at the image's centre
THIN_MM = 0.5  # slices of a long scan: no scanner's field is longer than 3 m
SMALL = (128, 128, 10)
FIRST_SEED = 20_011  # training counts its phantoms from 0


def main_scan(folder: Path) -> Path:
    """Write the scan of the main job: 160 x 160 mm around a neck of life's size, int16."""
    made = make_phantom(seed=FIRST_SEED, spacing_mm=SPACING_MM, shape=SHAPE, offset_mm=OFFSET_MM)
    path = folder / "t2s.nii.gz"
    nib.save(made.image, path)
    return path


def long_scan(scan: Path, slices: int, folder: Path) -> Path:
    """Write the slices of a scan over and over, up and down, until there are enough of them."""
    image = nib.load(scan)
    voxels = np.asarray(image.dataobj).astype(np.int16)
    count = voxels.shape[2]
    affine = image.affine @ np.diag([1, 1, THIN_MM / nib.affines.voxel_sizes(image.affine)[2], 1])
    like = nib.Nifti1Image(voxels[..., :1], affine, dtype=np.int16)
    like.set_qform(affine, 1)
    like.set_sform(affine, 1)
    header = like.header
    header.set_data_shape((*voxels.shape[:2], slices))
    header.set_slope_inter(1, 0)
    path = folder / f"long{slices}.nii.gz"
    up_and_down = [*range(count), *range(count - 2, 0, -1)] or [0]
    with ImageOpener(path, "wb") as file:  # slice by slice: 5000 of them are 1 GB
        header.write_to(file)
        for k in range(slices):
            file.write(voxels[..., up_and_down[k % len(up_and_down)]].tobytes(order="F"))
    return path


def small_scans(count: int, folder: Path) -> list[Path]:
    """Write so many small scans, each of another cord."""
    paths = [folder / f"small{number:03d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        nib.save(make_phantom(seed=FIRST_SEED + 1 + number, shape=SMALL).image, path)
    return paths


def described(scan: Path, made_up: bool) -> str:
    """Return what a scan is, without its name."""
    image = nib.load(scan)
    sizes = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(image.affine))
    kind = "a made-up cord" if made_up else "a real scan"
    return (
        f"{kind}, {' x '.join(map(str, image.shape))} voxels of {sizes} mm, "
        f"{image.get_data_dtype()}, compressed"
    )
