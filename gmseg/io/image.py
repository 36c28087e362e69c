"""Read scans and masks, refuse what cannot be used; write images with a scan's geometry."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from gmseg.errors import InputError
from gmseg.io.files import atomic_path
from gmseg.io.image_file import load_voxels, open_image

GRID_MM = 1e-3
"""Affines that differ by no more belong to one grid, see `affine_difference_mm`."""
_IN_PLANE_LIMITS_MM = (0.01, 5.0)
_SLICE_LIMITS_MM = (0.01, 50.0)
_FIELD_LIMIT_MM = 3000.0  # along the cord
_FIELD_IN_PLANE_MM = 1000.0  # wider than the bore of any scanner
_ORIGIN_LIMIT_MM = 1e5  # beyond it, single precision moves voxels by more than 0.01 mm
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
    check_affine(name, image.affine, shape)
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
    path,
    scan: nib.Nifti1Image,
    *,
    what: str,
    label: int | None = None,
    voxelwise: bool = False,
    one_value: bool = False,
) -> np.ndarray:
    """Return a mask that belongs to a scan; voxels over 0.5 are in it.

    Parameters
    ----------
    path : path-like
        File of the mask.
    scan : nibabel.Nifti1Image
        Scan, from `read_scan`.
    what : str
        Name of the kind of mask in messages.
    label : int, optional
        Value to take from a label image with 0, 1 and 2.
    voxelwise : bool
        Accept another affine if the axes have the same directions and voxel sizes: headers of
        GM Challenge masks may differ from those of their scans.
    one_value : bool
        Refuse several whole numbers above 0, which are labels of several tissues.

    Returns
    -------
    numpy.ndarray
        bool, the scan's shape.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, is empty, or its grid is not the scan's (affines may differ by
        1e-3 mm).
    """
    path = Path(path)
    image = open_image(path)
    check_grid(path, image, scan.shape, scan.affine, what=what, voxelwise=voxelwise)
    values = load_voxels(path, image).reshape(scan.shape)
    if label is not None and (unknown := set(np.unique(values).tolist()) - {0, 1, 2}):
        raise InputError(
            f"{path}: the {what} contains {', '.join(f'{v:g}' for v in sorted(unknown)[:3])} "
            f"besides 0, 1 (gray matter) and 2 (white matter); relabel it"
        )
    inside = np.unique(values[values > 0.5])
    if one_value and label is None and len(inside) > 1 and (inside == np.rint(inside)).all():
        raise InputError(
            f"{path}: the {what} contains {', '.join(f'{v:g}' for v in inside[:4])}, as labels of "
            f"several tissues; give one with GM alone"
        )
    mask = values > 0.5 if label is None else values == label
    if not mask.any():
        raise InputError(f"{path}: the {what} is empty; give a non-empty mask")
    return mask


def check_grid(path, image, shape, affine, *, what: str, voxelwise: bool = False) -> None:
    """Refuse a mask that does not lie on a scan's grid; see `read_mask`."""
    if tuple(image.shape)[:3] != tuple(shape) or math.prod(image.shape[3:]) != 1:
        raise InputError(
            f"{path}: the {what} has shape {image.shape}, the scan {tuple(shape)}; "
            f"give a {what} on the scan's grid"
        )
    _check_dtype(path, image)
    difference = affine_difference_mm(image.affine, affine)
    if voxelwise:
        difference = 0.0 if _same_axes(image.affine, affine) else difference
    if not difference <= GRID_MM:
        raise InputError(
            f"{path}: the {what}'s affine differs from the scan's by {difference:.3g} mm; "
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
        If it cannot be read, is not 3-D, contains other values than 0 and 1, or, with a label,
        fractions or other labels alone.
    """
    path = Path(path)
    image = open_image(path)
    if (volumes := math.prod(image.shape[3:])) > 1:
        raise InputError(f"{path}: contains {volumes} volumes; give one mask, 3-D")
    shape = _check_shape(path, image.shape, None, False)
    _check_dtype(path, image)
    check_affine(path, image.affine, shape)
    values = load_voxels(path, image).reshape(shape)
    held = np.unique(values)
    wanted = 1 if label is None else label
    if not np.equal(held, np.rint(held)).all():
        some = held[held != np.rint(held)]
        raise InputError(
            f"{path}: contains values such as {some[len(some) // 2]:g}, as a soft "
            f"segmentation does; give a mask of 0 and 1"
        )
    others = [f"{value:g}" for value in held if value not in (0, wanted)]
    shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    if label is None and others:
        which = 1 if 1 in held else others[0]
        raise InputError(
            f"{path}: contains {shown} besides 0 and 1; say which value is GM with `label={which}`"
        )
    if label is not None and others and wanted not in held:
        raise InputError(
            f"{path}: contains {shown} and no {label}; give the value of GM with `label`"
        )
    return like_scan(image, (values == wanted).astype(np.uint8))


def _same_axes(affine: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two grids' axes point the same way and their voxels are equally large."""
    sizes = nib.affines.voxel_sizes(affine), nib.affines.voxel_sizes(other)
    codes = nib.aff2axcodes(affine), nib.aff2axcodes(other)
    return codes[0] == codes[1] and bool(np.allclose(*sizes, atol=1e-3))


def affine_difference_mm(affine: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference between two affines' entries, in mm.

    Programs write affines in single precision and rounded quaternions, so differences up to
    `GRID_MM` count as the same grid.

    Examples
    --------
    >>> affine_difference_mm(np.eye(4), np.diag([1, 1, 1.5, 1]))
    0.5
    """
    return float(np.abs(np.asarray(affine, float) - np.asarray(other, float)).max())


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


def check_affine(name, affine: np.ndarray, shape) -> None:
    """Raise InputError unless the affine describes a possible voxel grid."""
    if not np.isfinite(affine).all():
        raise InputError(f"{name}: the affine contains NaN or infinity; repair the header")
    if not np.array_equal(affine[3], [0, 0, 0, 1]):  # from a .mat file beside the image
        raise InputError(f"{name}: the affine's last row is not 0, 0, 0, 1; repair the header")
    if np.abs(affine[:3, 3]).max() > _ORIGIN_LIMIT_MM:
        raise InputError(
            f"{name}: lies {np.abs(affine[:3, 3]).max():g} mm from its origin; repair the header"
        )
    with np.errstate(all="ignore"):
        sizes = nib.affines.voxel_sizes(affine)
    text = " x ".join(f"{size:g}" for size in sizes)
    remedy = "repair the header's voxel size or affine"
    if (sizes == 0).any():
        raise InputError(f"{name}: a voxel size is zero ({text} mm); {remedy}")
    with np.errstate(all="ignore"):
        ornt = orientations.io_orientation(affine)
    if np.isnan(ornt).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f"{name}: the affine is singular (axes coincide); {remedy}")
    slice_axis = int(np.flatnonzero(ornt[:, 0] == 2)[0])
    for axis, size in enumerate(sizes):
        along = axis == slice_axis
        low, high = _SLICE_LIMITS_MM if along else _IN_PLANE_LIMITS_MM
        most = _FIELD_LIMIT_MM if along else _FIELD_IN_PLANE_MM
        if not low <= size <= high or size * shape[axis] > most:
            raise InputError(
                f"{name}: voxel sizes of {text} mm with shape {tuple(shape)} "
                f"are implausible for an axial scan; {remedy}"
            )


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
    header = open_image(Path(path)).header
    if "descrip" not in header:
        return ""
    return bytes(header["descrip"]).rstrip(b"\0").decode("ascii", "replace")


def write_image(image: nib.Nifti1Image, path) -> None:
    """Write an image; an interruption leaves the old file or the new one."""
    write_images({path: image})


def write_images(images: dict) -> None:
    """Write several images, path to image; move them to their final paths when all are written."""
    with contextlib.ExitStack() as stack:
        for path, image in images.items():
            nib.save(image, stack.enter_context(atomic_path(path)))
