"""Image files: open them, read their voxels, and refuse damaged ones."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.errors import InputError
from gmseg.files import check_input


def open_image(path: Path):
    """Open an image without reading its voxels."""
    check_input(path)
    try:
        with path.open("rb") as file:
            dicom = file.read(132)[128:] == b"DICM"
        if dicom:
            raise InputError(f"{path}: is a DICOM file; convert the series to NIfTI with dcm2niix")
        with _quiet_nibabel():
            image = nib.load(path)
            if not isinstance(image, nib.spatialimages.SpatialImage) or image.affine is None:
                raise InputError(f"{path}: has no voxel grid in space; give a NIfTI volume")
            header, itemsize = _stored_header(image), image.get_data_dtype().itemsize
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except Exception as error:  # of many kinds, and none of them is a fault of ours
        reason = _line(error).replace(f'"{path}"', "it").replace(f"{path}", "it")[:200]
        raise InputError(
            f"{path}: is not an image that can be read ({reason}); give NIfTI (.nii.gz)"
        ) from None
    if header is not None:
        _check_header(path, header)
    _check_size(path, image, math.prod(image.shape) * itemsize)
    return image


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from telling the user what it mends in a header by itself."""
    logger = nib.imageglobals.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _stored_header(image):
    """Return a NIfTI file's header as it stands there, unmended; None for other formats."""
    if not isinstance(image, nib.Nifti1Pair):
        return None
    holder = image.file_map.get("header", image.file_map["image"])
    with nib.openers.Opener(holder.filename) as file:
        return type(image).header_class.from_fileobj(file, check=False)


def _check_header(path: Path, header) -> None:
    """Refuse what nibabel mends in silence, though it changes the geometry or the values."""
    if (header["pixdim"][1:4] == 0).any():
        raise InputError(f"{path}: a voxel size is zero (pixdim); repair the header")
    for field in ("qform_code", "sform_code"):
        if not 0 <= int(header[field]) <= 5:
            raise InputError(f"{path}: {field} {int(header[field])} is unknown; repair the header")
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise InputError(f"{path}: scl_slope or scl_inter is infinite; repair the header")


def _check_size(path: Path, image, expected: int) -> None:
    """Refuse a header that declares more than its file can hold, before memory is taken."""
    holder = image.file_map.get("image")
    stored = Path(holder.filename) if holder is not None and holder.filename else path
    # deflate packs 1032 to 1 at the most
    most = 1 if stored.suffix in {".nii", ".img"} else 1032
    if stored.is_file() and expected > stored.stat().st_size * most:
        raise InputError(
            f"{path}: is damaged or cut short (its header declares {expected} bytes); "
            f"copy or export it again"
        )


def _line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def load_voxels(name, image) -> np.ndarray:
    """Read the voxels as float32, or say that the file is damaged."""
    with _damage_told(name, image):
        data = np.asarray(image.dataobj.__array__(np.float32))
        verify_compression(image)
        return data


def read_part(name, image, where: tuple) -> np.ndarray:
    """Read some of the voxels as float32, or say that the file is damaged."""
    with _damage_told(name, image):
        return np.asarray(image.dataobj[where], np.float32)


@contextlib.contextmanager
def _damage_told(name, image) -> Iterator[None]:
    """Say in one line what is wrong with a file whose voxels cannot be read."""
    try:
        with np.errstate(over="ignore", invalid="ignore"), _quiet_nibabel():
            yield
    except MemoryError:
        raise InputError(
            f"{name}: shape {image.shape} does not fit into memory; check the header"
        ) from None
    except Exception as error:  # of many kinds, and none of them is a fault of ours
        raise InputError(
            f"{name}: is damaged or cut short ({_line(error)[:200]}); copy or export it again"
        ) from None


def verify_compression(image) -> None:
    """Read a compressed file to its very end, for there stands the checksum of its content."""
    for holder in (image.file_map or {}).values():
        if str(holder.filename or "").endswith((".gz", ".mgz", ".bz2")):
            with nib.openers.Opener(holder.filename) as file:
                while file.read(1 << 20):
                    pass
