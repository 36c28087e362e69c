"""What the QC page says of a scan and its mask: areas, flags, header, how it was made."""

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
from gmseg.inference.quality.flags import Flag, area_flags, header_flags
from gmseg.io.scan_reader import ScanReader
from gmseg.report.display import smooth_centreline

_AREAS_MM2 = 1e-2  # a summary's areas that differ by more are of another mask
_TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_CODES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152", 5: "template"}


@dataclass(frozen=True)
class Facts:
    """What is known of the slices of a scan, from foot to head.

    Attributes
    ----------
    numbers : list of int
        How they are numbered along the scan's own slice axis, as flags do.
    step_mm : float
        From slice to slice.
    centres_mm : numpy.ndarray
        (slices, 2), where to look, see `gmseg.report.display.smooth_centreline`.
    area_mm2 : list of float
        Of the mask.
    expected_dice : list of float or None, or None
        The expected Dice; None where there is none.
    volume_mm3 : float
    flags : list of dict
        Name, text and slices (their numbers), see `gmseg.inference.quality.flags.Flag`.
    mask_sha256 : str
        Of the mask's voxels, not of its file: the same mask written twice is the same mask.
    """

    numbers: list[int]
    step_mm: float
    centres_mm: np.ndarray
    area_mm2: list[float]
    expected_dice: list[float | None] | None
    volume_mm3: float
    flags: list[dict]
    mask_sha256: str

    def flagged(self) -> list[int]:
        """Return which slices a flag names, counted from foot to head."""
        named = {number for flag in self.flags for number in flag["slices"]}
        return [k for k, number in enumerate(self.numbers) if number in named]


def gather(scan: ScanReader, mask: ScanReader, mask_path, summary: dict | None) -> Facts:
    """Measure a mask, and take flags and expected_dice from the summary where there is one.

    Parameters
    ----------
    scan, mask : gmseg.io.scan_reader.ScanReader
    mask_path : path-like
        For messages.
    summary : dict or None
        See `gmseg.inference.segment.Segmentation`.

    Raises
    ------
    gmseg.errors.InputError
        If the summary is none, or of another mask.
    """
    areas, middles, digest = _measured(mask)
    expected_dice = None
    if summary is None:
        flags = [asdict(flag) for flag in _own_flags(scan, areas)]
    else:
        expected_dice, flags = _from_summary(summary, areas, mask_path)
    upwards = list(range(scan.slices))
    if geometry.runs_downwards(scan.affine):
        upwards.reverse()
    step_mm = float(nib.affines.voxel_sizes(scan.affine)[scan.axis])
    frame = scan.frame(WORKING_SPACING_MM)
    field_mm = np.array(frame.shape[:2]) * WORKING_SPACING_MM
    return Facts(
        numbers=upwards,
        step_mm=step_mm,
        centres_mm=smooth_centreline(middles[upwards], step_mm, field_mm / 2),
        area_mm2=[round(float(areas[k]), 3) for k in upwards],
        expected_dice=expected_dice and [expected_dice[k] for k in upwards],
        volume_mm3=round(geometry.volume_mm3(areas, scan.affine), 3),
        flags=[flag | {"slices": list(flag["slices"])} for flag in flags],
        mask_sha256=digest,
    )


def _measured(mask: ScanReader) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a mask's area and middle per slice, as they are stored, and its voxels' SHA-256."""
    digest = hashlib.sha256(repr(mask.shape).encode())
    areas, middles = [], []
    back = slice(None, None, -1 if geometry.runs_downwards(mask.affine) else 1)
    for first, last in mask.parts():
        inside = mask.read(first, last) > 0.5
        areas.append(geometry.slice_areas_mm2(inside, mask.affine))
        digest.update(np.packbits(np.moveaxis(inside, mask.axis, 0)).tobytes())
        las, affine = reoriented(inside, mask.affine)
        size_mm = nib.affines.voxel_sizes(affine)[:2]
        middles += [_middle_mm(one, size_mm) for one in np.moveaxis(las, 2, 0)[back]]
    return np.concatenate(areas), np.array(middles), digest.hexdigest()


def _middle_mm(inside: np.ndarray, size_mm: np.ndarray) -> np.ndarray:
    """Return the middle of a slice's mask from the field's corner; NaN where it is empty."""
    if not inside.any():
        return np.full(2, np.nan)
    return (np.mean(np.nonzero(inside), axis=1) + 0.5) * size_mm


def _own_flags(scan: ScanReader, areas: np.ndarray) -> list[Flag]:
    """Return what the header and the areas say by themselves."""
    flags = header_flags(scan.like, scan.shape)
    if not areas.any():
        return [*flags, Flag("no-gm", "the mask is empty", tuple(range(len(areas))))]
    return flags + area_flags(areas, at_border=np.zeros(len(areas), bool))


def summary_of(path: Path, scan: Path, mask: Path) -> dict:
    """Return what a file of ``gmseg segment --summary`` says of a scan.

    Parameters
    ----------
    path, scan, mask : pathlib.Path

    Raises
    ------
    gmseg.errors.InputError
        If it is no such file, or does not tell of the scan.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["scans"]
        named = [
            (PureWindowsPath(e["scan"]).name, PureWindowsPath(e["mask"]).name) for e in entries
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path}: is no summary of gmseg segment; give what its --summary wrote"
        ) from None
    fits = [e for e, names in zip(entries, named, strict=True) if names == (scan.name, mask.name)]
    if len(fits) > 1:  # of one name in several folders
        fits = [e for e in fits if Path(e["mask"]).resolve() == mask.resolve()]
    if len(fits) != 1:
        raise InputError(
            f"{path}: does not tell of {scan.name} and {mask.name}; give the summary that was "
            f"written with the mask"
        )
    return fits[0]


def _from_summary(summary: dict, areas: np.ndarray, mask_path) -> tuple[list | None, list[dict]]:
    """Return expected_dice and flags after checking that they are of this mask."""
    try:
        told = np.array(summary["area_mm2"], float)
        expected_dice = summary.get("expected_dice")
        if expected_dice is not None:
            expected_dice = [
                None if value is None else round(float(value), 3) for value in expected_dice
            ]
            if not all(value is None or 0 <= value <= 1 for value in expected_dice):  # nor NaN
                raise ValueError
        flags = [
            {
                "name": str(flag["name"]),
                "text": str(flag["text"]),
                "slices": [int(k) for k in flag["slices"]],
            }
            for flag in summary.get("flag_details", [])
        ]
        if told.ndim != 1 or (expected_dice is not None and len(expected_dice) != len(told)):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{mask_path}: its summary is not one of gmseg segment; give the file that "
            f"gmseg segment --summary wrote"
        ) from None
    if len(told) != len(areas) or not np.abs(told - areas).max() <= _AREAS_MM2:  # nor NaN
        raise InputError(
            f"{mask_path}: the summary's areas are not this mask's; give the summary that was "
            f"written with it, or none"
        )
    return expected_dice, flags


# ------------------------------------------------------------------- what is told in words


def header_facts(image, *, volume: int | None, mean: bool) -> list[tuple[str, str]]:
    """Return what a header says of the grid, in words: no text of its own.

    Parameters
    ----------
    image : nibabel image
    volume, mean : int, bool
        What was taken of a 4-D scan.
    """
    sizes = nib.affines.voxel_sizes(image.affine)
    axis = geometry.slice_axis(image.affine)
    way = "from head to foot" if geometry.runs_downwards(image.affine) else "from foot to head"
    facts = [
        ("Shape", " x ".join(str(int(n)) for n in image.shape)),
        ("Voxel size", " x ".join(f"{size:.4g}" for size in sizes) + " mm"),
        ("Orientation", "".join(nib.aff2axcodes(image.affine))),
        ("Slices", f"along axis {axis + 1}, {way}"),
        ("Data type", str(image.get_data_dtype())),
    ]
    if isinstance(image, nib.Nifti1Pair):
        codes = [int(image.header[field]) for field in ("qform_code", "sform_code")]
        told = [f"{code} ({_CODES.get(code, 'unknown')})" for code in codes]
        facts += [("qform, sform", ", ".join(told))]
        unit = int(image.header["xyzt_units"]) & 7
        facts += [("Units", {1: "metre", 2: "mm", 3: "micron"}.get(unit, "not said"))]
    volumes = int(np.prod(image.shape[3:]))
    if volumes > 1:
        taken = "mean of all" if mean else f"{volume or 0} of {volumes}, counted from 0"
        facts += [("Volume taken", taken)]
    return facts


def header_text_of(image) -> list[tuple[str, str]]:
    """Return a header's text fields, where a name or a date may stand."""
    if not isinstance(image, nib.Nifti1Pair):
        return []
    texts = [(field, bytes(image.header[field])) for field in _TEXT_FIELDS]
    return [(f, t.rstrip(b"\0").decode("latin-1")) for f, t in texts if t.strip(b"\0 ")]


def made_by(summary: dict | None) -> list[tuple[str, str]]:
    """Return what is known of how a mask was made, in words.

    Versions are those of the process that runs, where it was the one that segmented.
    """
    page = ("This page", f"gmseg {metadata.version('gmseg')}")
    if summary is None:
        return [("Mask", "given as a file: nothing is known of how it was made"), page]
    told = {
        "gmseg": summary.get("gmseg_version"),
        "Model": _without_folders(summary.get("model") or ""),
        "SHA-256 of its weights": summary.get("model_sha256"),
        "Threshold": summary.get("threshold"),
        "Standardised by": summary.get("standardise"),
        "Window": summary.get("window"),
        "Test-time augmentation": _told_copies(summary),
        "Within the cord mask": "yes" if summary.get("within_cord") else None,
        "Cleaned": ", ".join(map(str, summary.get("clean") or [])),
    }
    facts = [(name, str(value)) for name, value in told.items() if value not in (None, "")]
    if "keras" in sys.modules:  # else it was not this process that segmented
        engine = sys.modules["keras"].config.backend()
        facts.append(("Keras", f"{metadata.version('keras')} on {engine}"))
        facts += [(lib, metadata.version(lib)) for lib in ("numpy", "nibabel")]
    return [*facts, page]


def _told_copies(summary: dict) -> str | None:
    if not summary.get("tta"):
        return None
    return f"{summary['tta']} copies, seed {summary.get('seed')}"


def command_line(command: Sequence[str], file: str, name: str) -> str:
    """Return a command line without folders, and with a scan's name instead of its file's.

    Parameters
    ----------
    command : sequence of str
        As in ``sys.argv``.
    file, name : str
        The name of the scan's file, and what it is called on the page.

    Examples
    --------
    >>> command_line(["/usr/bin/gmseg", "segment", "/data/a.nii.gz", "--report=/tmp/qc"], "", "")
    'gmseg segment a.nii.gz --report=qc'
    """
    stem, other = (re.sub(r"\.nii(\.gz)?$", "", text) for text in (file, name))
    shown = []
    for part in map(str, command):
        option, equals, value = part.partition("=") if part.startswith("-") else ("", "", part)
        value = _without_folders(value)
        shown.append(option + equals + (value.replace(stem, other) if stem else value))
    return shlex.join(shown)


def _without_folders(path) -> str:
    return PureWindowsPath(str(path)).name  # knows both ways of writing them
