"""Scans: read them, bring them to the working grid and back, write the results."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy import ndimage

from gmseg.errors import InputError
from gmseg.files import atomic_path

WORKING_SPACING_MM = 0.25
_LAS = orientations.axcodes2ornt("LAS")
_IN_PLANE_LIMITS_MM = (0.01, 5.0)
_SLICE_LIMITS_MM = (0.01, 50.0)
_FIELD_LIMIT_MM = 3000.0
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


@dataclass(frozen=True)
class WorkingGrid:
    """A scan in LAS orientation at 0.25 mm in plane, and the way back to its own grid.

    Attributes
    ----------
    data : numpy.ndarray
        float32, (rows, columns, slices): rows run from right to left, columns from back to
        front, slices from below to above.
    affine : numpy.ndarray
        (4, 4), from indices of `data` to mm in the scan's world space.
    native_shape : tuple of int
        Shape of the scan, 3-D.
    native_affine : numpy.ndarray
        (4, 4), the scan's affine.
    """

    data: np.ndarray
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray


# ------------------------------------------------------------------------------------- read


def read_scan(path, *, volume: int | None = None, mean: bool = False) -> nib.Nifti1Image:
    """Read a scan and refuse what cannot be segmented.

    Parameters
    ----------
    path : path-like
        Any format that nibabel reads and that has an affine.
    volume : int, optional
        Which volume of a 4-D scan, counted from 0.
    mean : bool
        Average the volumes of a 4-D scan.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        3-D float32 voxels in memory, with the file's geometry: affine, qform, sform, codes
        and units. Voxels that are not finite are kept: only those in a window matter.

    Raises
    ------
    gmseg.errors.InputError
        If the file is missing, damaged, no image, not a scalar volume, empty, or has an
        impossible geometry.
    """
    return check_scan(_open(Path(path)), name=path, volume=volume, mean=mean)


def check_scan(image, *, name, volume: int | None = None, mean: bool = False) -> nib.Nifti1Image:
    """Do the same as `read_scan` for an image that nibabel has opened already.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
    name : str or path-like
        What to call it in messages.
    volume, mean : int, bool
        See `read_scan`.
    """
    if any(length == 0 for length in image.shape):
        raise InputError(f"{name}: has no voxels (shape {image.shape}); export the scan again")
    shape = _check_shape(name, image.shape, volume, mean)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iufb":
        kind = "complex" if dtype.kind == "c" else "colour (RGB)" if dtype.fields else str(dtype)
        raise InputError(f"{name}: has {kind} voxels; give one number per voxel (magnitude image)")
    check_affine(name, image.affine, shape)
    data = _load_voxels(name, image)
    if mean:
        data = data.reshape(*shape, -1).mean(axis=-1, dtype=np.float64).astype(np.float32)
    else:
        data = data.reshape(*shape, -1)[..., volume or 0]
    finite = data[np.isfinite(data)]
    if finite.size == 0:
        raise InputError(f"{name}: has no finite voxel; export the scan again")
    if not finite.any():
        raise InputError(f"{name}: every voxel is zero; check that the right file was given")
    if finite.min() == finite.max():
        raise InputError(f"{name}: every voxel is {finite.max():g}; check the file")
    return like_scan(image, data)


def read_mask(path, scan: nib.Nifti1Image, *, what: str) -> np.ndarray:
    """Read a mask that belongs to a scan: voxels over 0.5 are in it.

    Returns
    -------
    numpy.ndarray
        bool, the scan's shape.

    Raises
    ------
    gmseg.errors.InputError
        If it cannot be read, or its grid is not the scan's (affines may differ by 1e-3 mm).
    """
    path = Path(path)
    image = _open(path)
    shape = _check_shape(path, image.shape, None, False)
    if shape != scan.shape:
        raise InputError(
            f"{path}: the {what} has shape {shape}, the scan {scan.shape}; "
            f"give a {what} on the scan's grid"
        )
    difference = affine_difference_mm(image.affine, scan.affine)
    if not difference <= 1e-3:
        raise InputError(
            f"{path}: the {what}'s affine differs from the scan's by {difference:.3g} mm; "
            f"resample it to the scan's grid"
        )
    return _load_voxels(path, image).reshape(shape) > 0.5


def affine_difference_mm(affine: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference between two affines' entries, in mm.

    Tools write affines in single precision and rounded quaternions, so up to 1e-3 mm counts
    as the same grid.
    """
    return float(np.abs(np.asarray(affine, float) - np.asarray(other, float)).max())


def _open(path: Path):
    """Open an image without reading its voxels."""
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an image file such as t2s.nii.gz")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes); copy or export it again")
    with path.open("rb") as file:
        dicom = file.read(132)[128:] == b"DICM"
    if dicom:
        raise InputError(f"{path}: is a DICOM file; convert the series to NIfTI with dcm2niix")
    try:
        # what nibabel mends in a header by itself is no news to the user ...
        with nib.imageglobals.LoggingOutputSuppressor():
            image = nib.load(path)
            pixdim = _stored_pixdim(image)
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as e:
        reason = _line(e).replace(f'"{path}"', "it").replace(f"{path}", "it")
        raise InputError(
            f"{path}: is not an image that can be read ({reason}); give NIfTI (.nii.gz)"
        ) from None
    if not isinstance(image, nib.spatialimages.SpatialImage) or image.affine is None:
        raise InputError(f"{path}: has no voxel grid in space; give a NIfTI volume")
    # ... but voxel sizes of zero, which it takes for 1 mm, are
    if (pixdim[1:4] == 0).any():
        raise InputError(f"{path}: a voxel size is zero (pixdim); repair the header")
    return image


def _stored_pixdim(image) -> np.ndarray:
    """Return pixdim as it stands in a NIfTI file's header; ones for other formats."""
    if not isinstance(image, nib.Nifti1Pair):
        return np.ones(8)
    with nib.openers.Opener(image.file_map.get("header", image.file_map["image"]).filename) as file:
        return type(image).header_class.from_fileobj(file, check=False)["pixdim"]


def _line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _check_shape(name, shape, volume: int | None, mean: bool) -> tuple[int, int, int]:
    """Return the 3-D shape, or say what is wrong with it."""
    if len(shape) < 3:
        raise InputError(f"{name}: is {len(shape)}-D; give a 3-D volume (slices stacked)")
    volumes = int(np.prod(shape[3:], dtype=int))
    if volume is not None and not 0 <= volume < volumes:
        raise InputError(f"{name}: has {volumes} volumes; --volume must be 0 to {volumes - 1}")
    if volumes > 1 and volume is None and not mean:
        raise InputError(
            f"{name}: holds {volumes} volumes (shape {tuple(shape)}); "
            f"choose one with --volume K or average them with --mean"
        )
    return tuple(int(n) for n in shape[:3])


def check_affine(name, affine: np.ndarray, shape) -> None:
    """Raise InputError unless the affine describes a possible voxel grid."""
    if not np.isfinite(affine).all():
        raise InputError(f"{name}: the affine holds NaN or infinity; repair the header")
    sizes = nib.affines.voxel_sizes(affine)
    text = " x ".join(f"{size:g}" for size in sizes)
    remedy = "repair the header's voxel size or affine"
    if (sizes == 0).any():
        raise InputError(f"{name}: a voxel size is zero ({text} mm); {remedy}")
    ornt = orientations.io_orientation(affine)
    if np.isnan(ornt).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f"{name}: the affine is singular (axes coincide); {remedy}")
    slice_axis = int(np.flatnonzero(ornt[:, 0] == 2)[0])
    for axis, size in enumerate(sizes):
        low, high = _SLICE_LIMITS_MM if axis == slice_axis else _IN_PLANE_LIMITS_MM
        if not low <= size <= high or size * shape[axis] > _FIELD_LIMIT_MM:
            raise InputError(
                f"{name}: voxel sizes of {text} mm with shape {tuple(shape)} "
                f"are absurd for an axial scan; {remedy}"
            )


def _load_voxels(name, image) -> np.ndarray:
    """Read the voxels as float32, or say that the file is damaged."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(image.dataobj.__array__(np.float32))
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(
            f"{name}: is damaged or cut short ({_line(error)}); copy or export it again"
        ) from None
    except MemoryError:
        raise InputError(
            f"{name}: shape {image.shape} does not fit into memory; check the header"
        ) from None


# ------------------------------------------------------------------- working grid, and back


def to_working_grid(
    data: np.ndarray, affine: np.ndarray, spacing_mm: float = WORKING_SPACING_MM
) -> WorkingGrid:
    """Bring an image to LAS orientation and to square pixels, by linear interpolation.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z) in any orientation.
    affine : numpy.ndarray
        (4, 4), its affine in mm.
    spacing_mm : float
        In-plane spacing of the working grid; the slices stay as they are.

    Returns
    -------
    WorkingGrid
        Its field of view begins at the same corner as the image's; beyond the outermost
        voxel centres the nearest voxel counts.

    Notes
    -----
    Paper, "Methods": resampling to 0.25 x 0.25 mm, slice thickness kept. The positions come
    from the voxel sizes alone, so the 48 orders and flips of an image's axes give one and
    the same working grid.
    """
    las = orientations.apply_orientation(data, _to_las(affine)).astype(np.float32, copy=False)
    las_affine = affine @ orientations.inv_ornt_aff(_to_las(affine), data.shape)
    step = _working_steps(las_affine, spacing_mm)
    shape = tuple(max(1, round(n / s)) for n, s in zip(las.shape, step, strict=True))
    return WorkingGrid(
        data=_sample(las, step, shape),
        affine=las_affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5),
        native_shape=tuple(data.shape),
        native_affine=np.array(affine),
    )


def to_native_grid(values: np.ndarray, grid: WorkingGrid) -> np.ndarray:
    """Bring values on a working grid back to the scan's own, by linear interpolation.

    Parameters
    ----------
    values : numpy.ndarray
        The shape of ``grid.data``.
    grid : WorkingGrid

    Returns
    -------
    numpy.ndarray
        float32, the scan's shape, in the scan's own orientation.
    """
    transform = _to_las(grid.native_affine)
    las_affine = grid.native_affine @ orientations.inv_ornt_aff(transform, grid.native_shape)
    spacing_mm = float(nib.affines.voxel_sizes(grid.affine)[0])
    step = _working_steps(las_affine, spacing_mm)
    las_shape = tuple(grid.native_shape[int(axis)] for axis in np.argsort(transform[:, 0]))
    las = _sample(np.asarray(values, np.float32), 1 / step, las_shape)
    native_ornt = orientations.io_orientation(grid.native_affine)
    return orientations.apply_orientation(las, orientations.ornt_transform(_LAS, native_ornt))


def _to_las(affine: np.ndarray) -> np.ndarray:
    return orientations.ornt_transform(orientations.io_orientation(affine), _LAS)


def _working_steps(las_affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Return the working grid's steps in voxels of the LAS image, (3,).

    Rounded to a nanometre, so that single-precision headers of one scan agree.
    """
    sizes = np.round(nib.affines.voxel_sizes(las_affine), 6)
    return np.array([round(spacing_mm, 6) / sizes[0], round(spacing_mm, 6) / sizes[1], 1.0])


def _sample(data: np.ndarray, step: np.ndarray, shape) -> np.ndarray:
    """Sample every `step` voxels, linearly, from the corner of the field of view on."""
    return ndimage.affine_transform(
        data, step, offset=step / 2 - 0.5, output_shape=shape, output=np.float32, order=1,
        mode="nearest",
    )  # fmt: skip


# ------------------------------------------------------------------------------------ write


def like_scan(scan, data: np.ndarray) -> nib.Nifti1Image:
    """Return voxels as an image with a scan's geometry, and nothing else of its header.

    Affine, qform, sform, their codes and units are copied bit for bit; text fields and
    header extensions, where names and dates can hide, are not.
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


def write_image(image: nib.Nifti1Image, path) -> None:
    """Write an image so that, whatever happens, the old file or the new one is there."""
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
