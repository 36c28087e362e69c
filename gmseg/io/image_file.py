"""Open image files and read their voxels; refuse damaged and hostile ones."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from gmseg.errors import InputError
from gmseg.io.dicom import how_to_convert, is_dicom
from gmseg.io.files import check_input
from gmseg.io.hdf5 import check_hdf5
from gmseg.io.quiet import quiet_logger, warnings_as

_COMPRESSED = (".gz", ".mgz", ".bz2", ".zst")
# how many bytes one byte of a file can expand to: deflate reaches 1032
_MOST_EXPANSION = {".gz": 1032, ".mgz": 1032, ".mnc": 1032, ".bz2": 1 << 20, ".zst": 1 << 20}
_MOST_EXTENSIONS = 64 << 20
_HEADER_SIZES = [size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")]
"""First bytes of NIfTI and Analyze headers."""


def open_image(path: Path):
    """Return an image without reading its voxels."""
    check_input(path)
    try:
        with path.open("rb") as file:
            start = file.read(132)
        if is_dicom(path, start):
            command = how_to_convert(path.parent)
            raise InputError(f"{path}: is a DICOM file; convert its folder first: {command}")
        _check_start(path, start)
        if start.startswith(b"\x89HDF"):  # MINC 2
            check_hdf5(path)
        # nibabel reports what it repairs in a header
        with quiet_logger(nib.imageglobals.logger), warnings_as("ignore"):
            kind = _image_class(path)
            if kind is not None and not issubclass(kind, nib.spatialimages.SpatialImage):
                raise InputError(f"{path}: is not an image of voxels in space; give a NIfTI volume")
            if kind is not None and issubclass(kind, nib.AnalyzeImage):
                _check_header(path, kind)
            image: Any = nib.load(path)
            if image.affine is None:
                raise InputError(f"{path}: has no voxel grid in space; give a NIfTI volume")
            if isinstance(image, nib.minc1.Minc1Image) and len(image.shape) != 3:
                # unlike all other formats, volumes come first
                raise InputError(f"{path}: is MINC of {len(image.shape)}-D; convert it to NIfTI")
            declared = _declared_bytes(image)
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except Exception as error:  # of many kinds: the file is damaged
        reason = _line(error).replace(f'"{path}"', "it").replace(f"{path}", "it")[:200]
        raise InputError(
            f"{path}: is not an image that can be read ({reason}); give NIfTI (.nii.gz)"
        ) from None
    _check_size(path, image, declared)
    return image


def _check_start(path: Path, start: bytes) -> None:
    """Refuse names that contradict the first bytes of a file, and pointers to content elsewhere."""
    name, compressed = path.name, start.startswith(b"\x1f\x8b")
    if name.lower().endswith(".gz") and start[:4] in _HEADER_SIZES:
        raise InputError(f"{path}: is not compressed; rename it to {name[:-3]}")
    if name.lower().endswith((".nii", ".img", ".hdr")) and compressed:
        raise InputError(f"{path}: is compressed; rename it to {name}.gz")
    if start.startswith(b"/annex/objects/"):
        raise InputError(f"{path}: its content is not here; run datalad get {path}")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: its content is not here; run git lfs pull")


def _declared_bytes(image) -> int:
    """Return the size of an image's file, not compressed, by its header."""
    itemsize = image.get_data_dtype().itemsize
    # Python's integers do not overflow
    return int(getattr(image.dataobj, "offset", 0)) + math.prod(map(int, image.shape)) * itemsize


def _image_class(path: Path):
    """Return the class that nibabel would open a file with, or None."""
    partners: set[str] = set()
    for kind in nib.imageclasses.all_image_classes:
        with contextlib.suppress(nib.filebasedimages.ImageFileError):
            partners |= {str(one.filename) for one in kind.filespec_to_file_map(path).values()}
    for partner in map(Path, sorted(partners)):
        if partner.exists() and not partner.is_file():  # opening a pipe would wait
            raise InputError(f"{path}: {partner} beside it is not a file; remove it")
    sniffed = None
    for kind in nib.imageclasses.all_image_classes:
        fits, sniffed = kind.path_maybe_image(path, sniffed)
        if fits:
            return kind
    return None


def _check_header(path: Path, kind) -> None:
    """Refuse what nibabel repairs silently, though it changes the geometry or the values."""
    files = kind.filespec_to_file_map(path)
    with nib.openers.ImageOpener(files.get("header", files["image"]).filename) as file:
        header_class = kind.header_class
        header = header_class(file.read(header_class.template_dtype.itemsize), check=False)
        if isinstance(header, nib.Nifti1Header):
            _check_extensions(path, file, header)
    if not np.isfinite(header["pixdim"][1:4]).all() or (header["pixdim"][1:4] == 0).any():
        raise InputError(
            f"{path}: a voxel size is zero, NaN or infinite (pixdim); repair the header"
        )
    if not isinstance(header, nib.Nifti1Header):
        return
    for field in ("qform_code", "sform_code"):
        if not 0 <= int(header[field]) <= 5:
            raise InputError(f"{path}: {field} {int(header[field])} is unknown; repair the header")
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise InputError(f"{path}: scl_slope or scl_inter is infinite; repair the header")
    if header["qform_code"] > 0:
        _check_qform(path, header)


def _check_qform(path: Path, header) -> None:
    """Refuse a qform that is no rotation: masks copy it even where the sform counts."""
    handedness = float(header["pixdim"][0])
    if handedness != -1 and not handedness >= 0:
        raise InputError(f"{path}: pixdim[0] is {handedness:g}, not 1 or -1; repair the header")
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])  # as nibabel does
    header["pixdim"][0] = -1 if handedness == -1 else 1  # as nibabel and most programs read it
    try:
        fits = np.isfinite(header.get_qform(coded=False)).all()
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"{path}: its qform is no rotation; repair the header")


def _check_extensions(path: Path, file, header) -> None:
    """Walk through a header's extensions before nibabel reads as much as they declare."""
    if file.read(4)[:1] in (b"", b"\0"):
        return
    room = float(header["vox_offset"]) - file.tell() if header.is_single else _MOST_EXTENSIONS
    for _ in range(1000):
        if header.is_single and 0 <= room < 16:
            return
        stated = file.read(8)
        if not stated and not header.is_single:
            return
        size = int.from_bytes(stated[:4], "little" if header.endianness == "<" else "big")
        if not 16 <= size <= room <= _MOST_EXTENSIONS:
            break
        file.read(size - 8)
        room -= size
    raise InputError(f"{path}: the header's extensions are damaged; export the scan again")


def _check_size(path: Path, image, expected: int) -> None:
    """Refuse a header that declares more than its file can contain, before memory is allocated."""
    holder = image.file_map.get("image")
    stored = Path(holder.filename) if holder is not None and holder.filename else path
    most = _MOST_EXPANSION.get(stored.suffix.lower(), 1)
    if stored.is_file() and expected > stored.stat().st_size * most:
        raise InputError(
            f"{path}: is damaged or truncated (its header declares {expected} bytes); "
            f"copy or export it again"
        )


def _line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def load_voxels(name, image) -> np.ndarray:
    """Return the voxels as float32, or refuse a damaged file."""
    verify_compression(name, image)
    with _damage_reported(name, image):
        return np.asarray(image.dataobj.__array__(np.float32))


def read_part(name, image, where: tuple) -> np.ndarray:
    """Return some of the voxels as float32, or refuse a damaged file."""
    with _damage_reported(name, image):
        return np.asarray(image.dataobj[where], np.float32)


@contextlib.contextmanager
def _damage_reported(name, image) -> Iterator[None]:
    """Turn the errors of reading voxels into an InputError."""
    try:
        with np.errstate(all="ignore"), quiet_logger(nib.imageglobals.logger):
            yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{name}: shape {image.shape} does not fit into memory; check the header"
        ) from None
    except Exception as error:  # of many kinds: the file is damaged
        raise InputError(
            f"{name}: is damaged or truncated ({_line(error)[:200]}); copy or export it again"
        ) from None


def verify_compression(name, image) -> None:
    """Read a compressed file to its end, where its checksum is, and refuse a damaged one.

    Where all voxels are read at once, this must come first: nibabel allocates as much memory as
    the header declares.
    """
    declared = _declared_bytes(image)
    most = 2 * declared + _MOST_EXTENSIONS
    for part, holder in (image.file_map or {}).items():
        if Path(str(holder.filename or "")).suffix.lower() not in _COMPRESSED:
            continue
        size = 0
        with _damage_reported(name, image), nib.openers.ImageOpener(holder.filename) as file:
            while size <= most and (block := file.read(1 << 20)):
                size += len(block)
        if size > most:  # a decompression bomb would take hours to read
            raise InputError(
                f"{name}: contains far more than the {declared} bytes that its header declares; "
                f"export it again"
            )
        if part == "image" and size < declared:
            raise InputError(
                f"{name}: is damaged or truncated (its header declares {declared} bytes, it "
                f"contains {size}); copy or export it again"
            )


def is_intact(path: Path) -> bool:
    """Return whether an image can be read to its end, without keeping its voxels.

    Raises
    ------
    gmseg.errors.InputError
        If the file may not be read, so that nothing is known about its content.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mask.nii.gz")
    ...     nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), file)
    ...     before = is_intact(file)
    ...     _ = file.write_bytes(file.read_bytes()[:-20])
    ...     before, is_intact(file)
    (True, False)
    """
    if path.is_file() and not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read; check its permissions")
    try:
        image = open_image(path)
        verify_compression(path, image)
    except InputError:
        return False
    with path.open("rb") as file:
        while file.read(1 << 20):  # OSError where the disk is damaged
            pass
    return True
