"""Facts of the QC page on a scan and its mask: areas, flags, header, origin of the mask."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path, PureWindowsPath

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.core.resampling import WORKING_SPACING_MM, reoriented
from gmseg.errors import InputError
from gmseg.inference.quality.anatomy import size_flags
from gmseg.inference.quality.flags import Flag, area_flags, header_flags
from gmseg.io.scan_reader import ScanReader
from gmseg.report.display import smooth_centreline

_AREA_TOLERANCE_MM2 = 1e-2  # a summary whose areas differ by more is of another mask
_NOT_A_SUMMARY = "is not one of gmseg segment; give one written with `summary=FILE`"
_TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_CODES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152", 5: "template"}
_UNITS = {1: "metre", 2: "mm", 3: "micron"}


@dataclass(frozen=True)
class Facts:
    """Measurements and flags of the slices of a scan, from inferior to superior.

    Attributes
    ----------
    numbers : list of int
        Numbers of the slices along the scan's own slice axis, which flags use.
    step_mm : float
        Distance from slice to slice.
    centres_mm : numpy.ndarray
        (slices, 2), centre of the mask, see `gmseg.report.display.smooth_centreline`.
    area_mm2 : list of float
        Area of the mask.
    cord_area_mm2 : list of float, or None
        Area of the cord; None if it is unknown.
    expected_dice : list of float or None, or None
        Expected Dice of the slices; None where there is none.
    volume_mm3 : float
        Volume of the mask.
    flags : list of dict
        Name, text and slices (their numbers), see `gmseg.inference.quality.flags.Flag`.
    mask_sha256 : str
        Checksum of the voxels of the mask; the same mask in another file has the same.
    """

    numbers: list[int]
    step_mm: float
    centres_mm: np.ndarray
    area_mm2: list[float]
    cord_area_mm2: list[float] | None
    expected_dice: list[float | None] | None
    volume_mm3: float
    flags: list[dict]
    mask_sha256: str

    def flagged(self) -> list[int]:
        """Return the slices that a flag names, counted from inferior to superior."""
        named = {number for flag in self.flags for number in flag["slices"]}
        return [k for k, number in enumerate(self.numbers) if number in named]


def collect_facts(
    scan: ScanReader,
    mask: ScanReader,
    mask_path,
    summary: dict | None,
    cord: ScanReader | None = None,
) -> Facts:
    """Return the measurements of a mask, with flags and expected Dice from its summary.

    Parameters
    ----------
    scan, mask : gmseg.io.scan_reader.ScanReader
        Scan and mask on one grid.
    mask_path : path-like
        Path of the mask for messages.
    summary : dict or None
        Summary of the segmentation, see `gmseg.inference.summary.Summary.to_dict`. Without it,
        the header and the areas raise the flags.
    cord : gmseg.io.scan_reader.ScanReader, optional
        Cord mask. Without it, the cord areas are those of the summary, if it has them.

    Raises
    ------
    gmseg.errors.InputError
        If the summary is not valid, or belongs to another mask or cord mask.
    """
    areas, centres_mm, digest = _measure(mask)
    cord_areas = None if cord is None else _areas_mm2(cord)
    expected_dice = None
    if summary is None:
        flags = [asdict(flag) for flag in _flags_without_summary(scan, areas)]
    else:
        expected_dice, flags = _from_summary(summary, areas, mask_path)
        cord_areas = _cord_areas(summary, cord_areas, len(areas), mask_path)
    upwards = list(range(scan.slices))
    if scan.runs_downwards:
        upwards.reverse()
    step_mm = float(nib.affines.voxel_sizes(scan.affine)[scan.axis])
    field_mm = np.array(scan.working_geometry(WORKING_SPACING_MM).shape[:2]) * WORKING_SPACING_MM
    return Facts(
        numbers=upwards,
        step_mm=step_mm,
        centres_mm=smooth_centreline(centres_mm[upwards], step_mm, field_mm / 2),
        area_mm2=_rounded(areas[upwards]),
        cord_area_mm2=None if cord_areas is None else _rounded(cord_areas[upwards]),
        expected_dice=expected_dice and [expected_dice[k] for k in upwards],
        volume_mm3=round(geometry.volume_mm3(areas, scan.affine), 3),
        flags=[flag | {"slices": list(flag["slices"])} for flag in flags],
        mask_sha256=digest,
    )


def _measure(mask: ScanReader) -> tuple[np.ndarray, np.ndarray, str]:
    """Return area and centre of every slice, in the order of storage, and the voxels' SHA-256."""
    digest = hashlib.sha256(repr(mask.shape).encode())
    areas, centres = [], []
    stored_order = slice(None, None, -1 if mask.runs_downwards else 1)
    for first, last in mask.parts():
        inside = mask.read(first, last) > 0.5
        areas.append(geometry.slice_areas_mm2(inside, mask.affine))
        digest.update(np.packbits(np.moveaxis(inside, mask.axis, 0)).tobytes())
        las, affine = reoriented(inside, mask.affine)
        size_mm = nib.affines.voxel_sizes(affine)[:2]
        centres += [_centre_mm(plane, size_mm) for plane in np.moveaxis(las, 2, 0)[stored_order]]
    return np.concatenate(areas), np.array(centres), digest.hexdigest()


def _areas_mm2(mask: ScanReader) -> np.ndarray:
    """Return the area of every slice, in the order of storage."""
    parts = [mask.read(first, last) > 0.5 for first, last in mask.parts()]
    return np.concatenate([geometry.slice_areas_mm2(part, mask.affine) for part in parts])


def _rounded(areas: np.ndarray) -> list[float]:
    return [round(float(area), 3) for area in areas]


def _centre_mm(inside: np.ndarray, size_mm: np.ndarray) -> np.ndarray:
    """Return the centre of a slice's mask from the corner of the field; NaN where it is empty."""
    if not inside.any():
        return np.full(2, np.nan)
    return (np.mean(np.nonzero(inside), axis=1) + 0.5) * size_mm


def _flags_without_summary(scan: ScanReader, areas: np.ndarray) -> list[Flag]:
    """Return the flags that the header and the areas raise."""
    flags = header_flags(scan.like, scan.shape)
    if not areas.any():
        return [*flags, Flag("no-gm", "the mask is empty", tuple(range(len(areas))))]
    flags += area_flags(areas, at_border=np.zeros(len(areas), bool))
    return flags + size_flags(areas, scan.affine)


# ---------------------------------------------------------------------------------- summaries


def find_summary(path: Path, scan: Path, mask: Path) -> dict:
    """Return the summary of a scan from a file that ``gmseg segment --summary`` wrote.

    Parameters
    ----------
    path : pathlib.Path
        JSON file of one or more summaries.
    scan, mask : pathlib.Path
        Scan and mask, whose names select the summary.

    Raises
    ------
    gmseg.errors.InputError
        If the file contains no summaries, or none of this scan and mask.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["scans"]
        names = [
            (PureWindowsPath(e["scan"]).name, PureWindowsPath(e["mask"]).name) for e in entries
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path}: is not a summary of gmseg segment; give a file written with `summary=FILE`"
        ) from None
    fitting = [e for e, pair in zip(entries, names, strict=True) if pair == (scan.name, mask.name)]
    if len(fitting) > 1:  # the same names in several folders
        fitting = [e for e in fitting if Path(e["mask"]).resolve() == mask.resolve()]
    if len(fitting) != 1:
        raise InputError(
            f"{path}: has no entry for {scan.name} and {mask.name}; give the summary that was "
            f"written with the mask"
        )
    return fitting[0]


def _from_summary(summary: dict, areas: np.ndarray, mask_path) -> tuple[list | None, list[dict]]:
    """Return expected Dice and flags of a summary after checking that it is of this mask."""
    try:
        summary_areas = np.array(summary["area_mm2"], float)
        expected_dice = summary.get("expected_dice")
        if expected_dice is not None:
            expected_dice = [
                None if dice is None else round(float(dice), 3) for dice in expected_dice
            ]
            if not all(dice is None or 0 <= dice <= 1 for dice in expected_dice):  # nor NaN
                raise ValueError
            if len(expected_dice) != len(summary_areas):
                raise ValueError
        flags = [
            {
                "name": str(flag["name"]),
                "text": str(flag["text"]),
                "slices": [int(k) for k in flag["slices"]],
            }
            for flag in summary.get("flag_details", [])
        ]
        if summary_areas.ndim != 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{mask_path}: its summary {_NOT_A_SUMMARY}") from None
    if not _equal(summary_areas, areas):
        raise InputError(
            f"{mask_path}: the areas of the summary differ from this mask's; give the summary that "
            f"was written with the mask, or none"
        )
    return expected_dice, flags


def _cord_areas(
    summary: dict, measured: np.ndarray | None, slices: int, mask_path
) -> np.ndarray | None:
    """Return the cord areas of a mask, or those of a summary, after checking that they agree."""
    if summary.get("cord_area_mm2") is None:
        return measured
    try:
        areas = np.array(summary["cord_area_mm2"], float)
        if areas.shape != (slices,) or not ((areas >= 0) & np.isfinite(areas)).all():
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"{mask_path}: its summary {_NOT_A_SUMMARY}") from None
    if measured is not None and not _equal(areas, measured):
        raise InputError(
            f"{mask_path}: the cord areas of its summary differ from the cord mask's; give the "
            f"cord mask that was written with the summary, or none"
        )
    return areas


def _equal(summary_areas: np.ndarray, areas: np.ndarray) -> bool:
    """Return whether areas are equal within the tolerance; NaN is not."""
    return len(summary_areas) == len(areas) and bool(
        np.abs(summary_areas - areas).max() <= _AREA_TOLERANCE_MM2
    )


# ----------------------------------------------------------------------------- facts as texts


def header_facts(image, *, volume: int | None, mean: bool) -> list[tuple[str, str]]:
    """Return names and values of the grid in a header, and none of its own texts.

    Parameters
    ----------
    image : nibabel image
        Scan.
    volume, mean : int, bool
        Volume that was taken of a 4-D scan.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.zeros((64, 64, 10), np.int16), np.diag([-0.5, 0.5, 5, 1]))
    >>> header_facts(image, volume=None, mean=False)[1:3]
    [('Voxel size', '0.5 x 0.5 x 5 mm'), ('Orientation', 'LAS')]
    """
    sizes = nib.affines.voxel_sizes(image.affine)
    axis = geometry.slice_axis(image.affine)
    downwards = geometry.runs_downwards(image.affine)
    order = "from superior to inferior" if downwards else "from inferior to superior"
    facts = [
        ("Shape", " x ".join(str(int(n)) for n in image.shape)),
        ("Voxel size", " x ".join(f"{size:.4g}" for size in sizes) + " mm"),
        ("Orientation", "".join(nib.aff2axcodes(image.affine))),
        ("Slices", f"along axis {axis + 1}, {order}"),
        ("Data type", str(image.get_data_dtype())),
    ]
    if isinstance(image, nib.Nifti1Pair):
        codes = [int(image.header[field]) for field in ("qform_code", "sform_code")]
        facts.append(
            ("qform, sform", ", ".join(f"{code} ({_CODES.get(code, 'unknown')})" for code in codes))
        )
        facts.append(("Units", _UNITS.get(int(image.header["xyzt_units"]) & 7, "not given")))
    volumes = int(np.prod(image.shape[3:]))
    if volumes > 1:
        taken = "mean of all" if mean else f"{volume or 0} of {volumes}, counted from 0"
        facts.append(("Volume used", taken))
    return facts


def header_texts(image) -> list[tuple[str, str]]:
    """Return the text fields of a header, which can contain names and dates.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    >>> image.header["descrip"] = b"T2star"
    >>> header_texts(image)
    [('descrip', 'T2star')]
    """
    if not isinstance(image, nib.Nifti1Pair):
        return []
    texts = [(field, bytes(image.header[field])) for field in _TEXT_FIELDS]
    return [(f, t.rstrip(b"\0").decode("latin-1")) for f, t in texts if t.strip(b"\0 ")]


def provenance(summary: dict | None) -> list[tuple[str, str]]:
    """Return names and values of how a mask was made, from its summary.

    Versions of libraries are those of the running process, if it is the one that segmented.

    Examples
    --------
    >>> dict(provenance({"model": "default", "tta": 4, "seed": 0}))["Test-time augmentation"]
    '4 copies, seed 0'
    """
    page = ("This page", f"gmseg {metadata.version('gmseg')}")
    if summary is None:
        return [("Mask", "given as a file; its origin is unknown"), page]
    tta = summary.get("tta")
    values = {
        "gmseg": summary.get("gmseg_version"),
        "Model": _without_folders(summary.get("model") or ""),
        "SHA-256 of its weights": summary.get("model_sha256"),
        "Threshold": summary.get("threshold"),
        "Standardised by": summary.get("standardise"),
        "Window": summary.get("window"),
        "Test-time augmentation": f"{tta} copies, seed {summary.get('seed')}" if tta else None,
        "Within the cord mask": "yes" if summary.get("within_cord") else None,
        "Post-processing": ", ".join(map(str, summary.get("clean") or [])),
    }
    facts = [(name, str(value)) for name, value in values.items() if value not in (None, "")]
    if "keras" in sys.modules:  # this process segmented with Keras
        backend = sys.modules["keras"].config.backend()
        facts.append(("Keras", f"{metadata.version('keras')} on {backend}"))
        facts += [(lib, metadata.version(lib)) for lib in ("numpy", "nibabel")]
    return [*facts, page]


def command_line(command: Sequence[str], file: str, name: str) -> str:
    """Return a command line without folders, and with the scan's display name for its file name.

    Parameters
    ----------
    command : sequence of str
        Command as in ``sys.argv``.
    file, name : str
        Name of the scan's file, and its name on the page.

    Examples
    --------
    >>> command_line(["/usr/bin/gmseg", "segment", "/data/a.nii.gz", "--report=/tmp/qc"], "", "")
    'gmseg segment a.nii.gz --report=qc'
    """
    stem, display_stem = (re.sub(r"\.nii(\.gz)?$", "", text) for text in (file, name))
    shown = []
    for part in map(str, command):
        option, equals, value = part.partition("=") if part.startswith("-") else ("", "", part)
        value = _without_folders(value)
        shown.append(option + equals + (value.replace(stem, display_stem) if stem else value))
    return shlex.join(shown)


def _without_folders(path) -> str:
    return PureWindowsPath(str(path)).name  # knows slashes and backslashes
