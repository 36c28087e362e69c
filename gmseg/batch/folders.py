"""Find the scans in folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from gmseg.errors import InputError, NotAScanError
from gmseg.io.dicom import contains_dicom, how_to_convert
from gmseg.io.scan_reader import open_scan

_IMAGE = re.compile(r"\.(nii(\.gz)?|img|mgh|mgz|mnc|par|head)$", re.IGNORECASE)
_MASK = re.compile(r"[-_][a-z]*seg([-_]manual)?$|(soft|spread)$", re.IGNORECASE)
_OTHER_CONTRAST = re.compile(r"sub-.*_(T1w|T2w|PDw|FLAIR|UNIT1|MTS|dwi|bold|sbref|epi)$")


def expand_folders(paths: Sequence[Path], tell: Callable[[str], None]) -> list[Path]:
    """Return files with every folder replaced by the scans in it.

    Sub-folders are not searched. Results of gmseg and other masks are no scans: they are recognised
    by their names (``_gmseg``, ``_wmseg``, ``_seg``, ``_gmsoft``, ...), their description and their
    voxels. Other contrasts are recognised by BIDS names (``sub-01_T1w``). Files that cannot be read
    count as scans, so that their faults are reported.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files, which are returned as they are, and folders.
    tell : callable
        Function of a line that says how many files of a folder are skipped.

    Raises
    ------
    gmseg.errors.InputError
        If a folder contains no scan.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.nii.gz", "a.nii.gz", "a_gmseg.nii.gz", "a.json"):
    ...         Path(folder, name).touch()
    ...     scans = expand_folders([Path(folder)], lambda line: None)
    >>> [scan.name for scan in scans]
    ['a.nii.gz', 'b.nii.gz']
    """
    files: list[Path] = []
    for path in paths:
        files += _scans_in(path, tell) if path.is_dir() else [path]
    return files


def _scans_in(folder: Path, tell: Callable[[str], None]) -> list[Path]:
    images = _images_in(folder)
    scans = [file for file in images if _is_scan(file)]
    skipped = len(images) - len(scans)
    if not scans:
        raise InputError(_why_empty(folder, skipped))
    if skipped:
        are = "masks or other images are" if skipped > 1 else "mask or other image is"
        tell(f"{folder}: {skipped} {are} skipped")
    return scans


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if _IMAGE.search(file.name) and not file.name.startswith(".") and not file.is_dir()
    )


def _is_scan(file: Path) -> bool:
    stem = _IMAGE.sub("", file.name)
    if _MASK.search(stem) or _OTHER_CONTRAST.match(stem):
        return False
    try:
        open_scan(file)
    except NotAScanError:
        return False
    except (InputError, OSError):
        pass
    return True


def _why_empty(folder: Path, skipped: int) -> str:
    """Return the error of a folder without a scan."""
    if skipped:
        return f"{folder}: contains only masks and other contrasts; give the folder of the scans"
    if (folder / "dataset_description.json").exists():
        return (
            f"{folder}: is a BIDS dataset; use gmseg bids {folder} "
            f"{folder / 'derivatives' / 'gmseg'} participant"
        )
    if any(_images_in(place) for place in folder.iterdir() if place.is_dir()):
        return f"{folder}: contains images in sub-folders only; give those, as {folder / '*'}"
    if contains_dicom(folder):
        return f"{folder}: contains DICOM files; convert them first: {how_to_convert(folder)}"
    return f"{folder}: contains no image such as t2s.nii.gz; check the path"
