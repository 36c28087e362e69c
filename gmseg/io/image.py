"""Read scans and masks, refuse what cannot be used; write images with a scan's geometry."""

from __future__ import annotations

import math
import re
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from gmseg.errors import InputError
from gmseg.io import mask_values
from gmseg.io.files import atomic_paths
from gmseg.io.grids import displacement_mm, orientation_onto
from gmseg.io.image_file import load_voxels, open_image
from gmseg.io.voxel_sizes import check_geometry

_RESULT = re.compile(r"gmseg \d\S* [0-9a-f]{16}")
"""Description of results, see `gmseg.batch.resume.fingerprint`; combined echoes have another."""
_GEOMETRY_FIELDS = (
    "pixdim",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)


def read_scan(path, *, volume: int | None = None, mean: bool = False) -> nib.Nifti1Image:
    """Return a scan after refusing what cannot be segmented.

    Parameters
    ----------
    path : path-like
        Any format that nibabel reads and that has an affine.
    volume : int, optional
        Volume of a 4-D scan, counted from 0.
    mean : bool
        Average the volumes of a 4-D scan.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        3-D float32 voxels in memory, with the file's geometry: affine, qform, sform, codes
        and units. Voxels that are not finite are kept; only those in a window matter.

    Raises
    ------
    gmseg.errors.InputError
        If the file is missing, damaged, no image, not a scalar volume, empty, or has an
        impossible geometry.
    """
    return check_scan(open_image(Path(path)), name=path, volume=volume, mean=mean)


def check_scan(image, *, name, volume: int | None = None, mean: bool = False) -> nib.Nifti1Image:
    """Return a scan that nibabel has opened, after the checks of `read_scan`.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
        The scan.
    name : str or path-like
        Name of the scan in messages.
    volume, mean : int, bool
        See `read_scan`.
    """
    shape = check_header(image, name=name, volume=volume, mean=mean)
    data = read_voxels(image, shape, name=name, volume=volume, mean=mean)
    finite = data[np.isfinite(data)]
    check_range(name, finite.min(initial=np.inf), finite.max(initial=-np.inf))
    return like_scan(image, data)


def check_header(image, *, name, volume: int | None, mean: bool) -> tuple[int, int, int]:
    """Return the 3-D shape of a scan after checking its header, see `read_scan`."""
    shape = _check_shape(name, image.shape, volume, mean)
    _check_dtype(name, image)
    check_geometry(name, image, shape)
    return shape


def read_voxels(image, shape, *, name, volume: int | None, mean: bool) -> np.ndarray:
    """Return the voxels of a scan, float32, 3-D: one volume, or the mean of all."""
    data = load_voxels(name, image).reshape(*shape, -1)
    if mean:
        with np.errstate(invalid="ignore"):  # infinite voxels
            return data.mean(axis=-1, dtype=np.float64).astype(np.float32)
    return data[..., volume or 0]


def check_range(name, low: float, high: float) -> None:
    """Refuse a scan without contrast, by the range of its finite voxels."""
    if low > high:
        raise InputError(f"{name}: has no finite voxel; export the scan again")
    if low == high == 0:
        raise InputError(f"{name}: every voxel is zero; check that the right file was given")
    if low == high:
        raise InputError(f"{name}: every voxel is {high:g}; check the file")


def read_mask(
    path, scan: nib.Nifti1Image, *, what: str, label: int | None = None, voxelwise: bool = False
) -> np.ndarray:
    """Return a mask that belongs to a scan.

    Parameters
    ----------
    path : path-like
        File of the mask, in the orientation of the scan or another one.
    scan : nibabel.Nifti1Image
        Scan, from `read_scan`.
    what : str
        Kind of the mask, see `gmseg.io.mask_values.value_inside`.
    label : int, optional
        Value to take from a label image.
    voxelwise : bool
        Accept another affine if the axes have the same directions and voxel sizes: headers of
        GM Challenge masks may differ from those of their scans.

    Returns
    -------
    numpy.ndarray
        bool, the scan's shape; fractions over 0.5 are in the mask.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, is empty, contains other values, or is not on the scan's grid.
    """
    path = Path(path)
    image = open_image(path)
    ornt = check_grid(path, image, scan, scan.shape, what=what, voxelwise=voxelwise)
    values = load_voxels(path, image).reshape(image.shape[:3])
    value = mask_values.value_inside(path, [values], what=what, label=label)
    mask = orientations.apply_orientation(mask_values.as_mask(values, value) > 0.5, ornt)
    if not mask.any():
        raise InputError(f"{path}: the {what} is empty; give a non-empty mask")
    return mask


def check_grid(path, image, grid, shape, *, what: str, voxelwise: bool = False) -> np.ndarray:
    """Return how a mask is reoriented onto a scan's grid; refuse one on another grid.

    Parameters
    ----------
    path : path-like
        Name of the mask in messages.
    image : nibabel.spatialimages.SpatialImage
        The mask.
    grid, shape : nibabel.spatialimages.SpatialImage, sequence of int
        Image with the geometry of the scan, and the scan's shape.
    what, voxelwise : str, bool
        See `read_mask`.

    Returns
    -------
    numpy.ndarray
        (3, 2), for `nibabel.orientations.apply_orientation`.
    """
    shape = tuple(shape)
    if math.prod(image.shape[3:]) != 1 or sorted(image.shape[:3]) != sorted(shape):
        raise InputError(
            f"{path}: the {what} has shape {image.shape}, the scan {shape}; "
            f"give a {what} on the scan's grid"
        )
    _check_dtype(path, image)
    if (ornt := orientation_onto(image, grid, shape)) is not None:
        return ornt
    if voxelwise and image.shape[:3] == shape and _same_axes(image.affine, grid.affine):
        return np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    if image.shape[:3] != shape:
        raise InputError(
            f"{path}: the {what} has shape {image.shape}, the scan {shape}, and lies elsewhere; "
            f"give a {what} on the scan's grid"
        )
    displaced_mm = displacement_mm(image.affine, grid.affine, shape)
    raise InputError(
        f"{path}: the {what} is displaced by up to {displaced_mm:.3g} mm against the scan; "
        f"resample it to the scan's grid"
    )


def read_segmentation(path, *, label: int | None = None) -> nib.Nifti1Image:
    """Return a mask without its scan, such as a prediction or a reference; it may be empty.

    Parameters
    ----------
    path : path-like
        File of the mask.
    label : int, optional
        Value to take from a label image; by default the mask must contain nothing but 0 and 1.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        uint8, 0 or 1, 3-D, on the file's grid.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, is not 3-D, or contains other values, see
        `gmseg.io.mask_values.value_inside`.
    """
    path = Path(path)
    image = open_image(path)
    shape = check_single(path, image)
    values = load_voxels(path, image).reshape(shape)
    value = mask_values.value_inside(path, [values], what="mask", label=label)
    return like_scan(image, mask_values.as_mask(values, value).astype(np.uint8))


def check_single(name, image) -> tuple[int, int, int]:
    """Return the 3-D shape of a mask after checking its header; refuse several volumes."""
    if (volumes := math.prod(image.shape[3:])) > 1:
        raise InputError(f"{name}: contains {volumes} volumes; give one mask, 3-D")
    return check_header(image, name=name, volume=None, mean=False)


def _same_axes(affine: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two grids' axes point the same way and their voxels are equally large."""
    sizes = nib.affines.voxel_sizes(affine), nib.affines.voxel_sizes(other)
    codes = nib.aff2axcodes(affine), nib.aff2axcodes(other)
    return codes[0] == codes[1] and bool(np.allclose(*sizes, atol=1e-3))


def _check_shape(name, shape, volume: int | None, mean: bool) -> tuple[int, int, int]:
    """Return the 3-D shape, or raise InputError."""
    if len(shape) < 3:
        raise InputError(f"{name}: is {len(shape)}-D; give a 3-D volume (slices stacked)")
    if any(length < 1 for length in shape):
        raise InputError(f"{name}: has no voxels (shape {shape}); export the scan again")
    volumes = math.prod(shape[3:])
    if volume is not None and not 0 <= volume < volumes:
        raise InputError(
            f"{name}: has {volumes} volumes, counted from 0; `volume={volume}` is not one of them"
        )
    if volumes > 1 and volume is None and not mean:
        raise InputError(
            f"{name}: contains {volumes} volumes (shape {tuple(shape)}); "
            f"choose one with `volume=k` or average them with `mean=True`"
        )
    return int(shape[0]), int(shape[1]), int(shape[2])


def _check_dtype(name, image) -> None:
    dtype = image.get_data_dtype()
    if dtype.kind not in "iufb":
        kind = "complex" if dtype.kind == "c" else "colour (RGB)" if dtype.fields else str(dtype)
        raise InputError(f"{name}: has {kind} voxels; give one number per voxel (magnitude image)")


def like_scan(scan, data: np.ndarray) -> nib.Nifti1Image:
    """Return voxels as an image with a scan's geometry, and nothing else of its header.

    Affine, qform, sform, their codes and units are copied bit for bit. Text fields and header
    extensions, which may contain names and dates, are not.

    Examples
    --------
    >>> scan = nib.Nifti1Image(np.zeros((4, 4, 2), np.int16), np.diag([0.5, 0.5, 5, 1]))
    >>> like_scan(scan, np.ones((4, 4, 2), np.uint8)).get_data_dtype()
    dtype('uint8')
    """
    nifti2 = isinstance(scan, nib.Nifti2Image | nib.Nifti2Pair)
    image_class = nib.Nifti2Image if nifti2 else nib.Nifti1Image
    if not isinstance(scan, nib.Nifti1Pair):
        return image_class(data, scan.affine)
    header = image_class.header_class()
    header.set_data_shape(data.shape)
    header.set_data_dtype(data.dtype)
    for field in _GEOMETRY_FIELDS:
        header[field] = scan.header[field]
    return image_class(data, header.get_best_affine(), header)


def description_of(path) -> str:
    """Return the description field of an image, where gmseg says what it was made from."""
    return _description(open_image(Path(path)))


def is_result(image) -> bool:
    """Return whether gmseg has written an image as the result of a segmentation.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    >>> image.header["descrip"] = b"gmseg 0.2.0 0123456789abcdef"
    >>> is_result(image)
    True
    """
    return bool(_RESULT.fullmatch(_description(image)))


def _description(image) -> str:
    if not isinstance(image, nib.AnalyzeImage) or "descrip" not in image.header:
        return ""
    return bytes(image.header["descrip"]).rstrip(b"\0").decode("ascii", "replace")


def write_image(image: nib.Nifti1Image, path, *, overwrite: bool = True) -> None:
    """Write an image; an interruption leaves the old file or the new one."""
    write_images({path: image}, overwrite=overwrite)


def write_images(images: dict, *, overwrite: bool = True) -> None:
    """Write several images, path to image; move them to their final paths when all are written.

    See `gmseg.io.files.atomic_paths`.
    """
    with atomic_paths(images, overwrite=overwrite) as temporaries:
        for temporary, image in zip(temporaries, images.values(), strict=True):
            nib.save(image, temporary)
