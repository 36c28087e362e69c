"""Volumes of the QC page's viewer: cut out around the cord, 8 bit, with fresh headers."""

from __future__ import annotations

import base64
import gzip
import json
import math

import nibabel as nib
import numpy as np

from gmseg.io.scan_reader import ScanReader
from gmseg.report.qc_facts import Facts
from gmseg.report.qc_slices import read_plane, sample

_REACH_MM = 40.0  # to each side of the cord
_MOST_VOXELS = 6_000_000
_MOST_SIDE = 1024  # largest 3-D texture that nearly all browsers hold
_SAMPLED = 12  # slices that set black and white
_COARSE_MM = 0.5  # largest pixel before slices are left out


def volumes_script(readers: dict[str, ScanReader], facts: Facts, key: str) -> tuple[str, dict]:
    """Return a script that contains a scan and its mask for the viewer, and a description of it.

    Parameters
    ----------
    readers : dict
        ``"scan"`` and ``"mask"``.
    facts : gmseg.report.qc_facts.Facts
        Measurements of the mask.
    key : str
        Name under which the page finds the volumes.

    Returns
    -------
    str, dict
        A classic script, because a page opened from disk may fetch nothing; and pixel size,
        stride of the slices, and a position within the cord in world space, in mm.

    Notes
    -----
    The new header contains no text of the scan. Its affine is the scan's, cut and turned to LAS.
    """
    scan, mask = readers["scan"], readers["mask"]
    pixel_mm, stride, corner_mm, shape = _plan(scan, facts)
    chosen = range((scan.slices - 1) % stride // 2, scan.slices, stride)
    # in the order of storage, so that a compressed file is read once
    stored = sorted(enumerate(chosen), key=lambda pair: facts.numbers[pair[1]])
    low, high = _gray_range(scan, [k for _, k in stored], corner_mm, pixel_mm, shape)
    values = np.empty((*shape, len(chosen)), np.uint8)
    inside = np.empty_like(values)
    for position, k in stored:
        part = sample(read_plane(scan, k), corner_mm, pixel_mm, shape)
        values[..., position] = np.rint(255 * np.clip((part - low) / (high - low), 0, 1))
        inside[..., position] = sample(read_plane(mask, k), corner_mm, pixel_mm, shape) > 0.5
    whole = scan.working_geometry(pixel_mm).affine
    affine = whole @ nib.affines.from_matvec(
        np.diag([1, 1, stride]), [*(corner_mm / pixel_mm), chosen[0]]
    )
    packed = {"scan": _pack(values, affine), "mask": _pack(inside, affine)}
    labelled = [k for k in chosen if facts.area_mm2[k] > 0] or list(chosen)
    k = labelled[len(labelled) // 2]
    middle = nib.affines.apply_affine(whole, [*(facts.centres_mm[k] / pixel_mm - 0.5), k])
    description = {
        "pixel_mm": round(pixel_mm, 4),
        "stride": stride,
        "middle_mm": np.round(middle, 2).tolist(),
    }
    return f'gmseg.volumes["{key}"] = {json.dumps(packed)};\n', description


def _plan(scan: ScanReader, facts: Facts) -> tuple[float, int, np.ndarray, tuple[int, ...]]:
    """Return pixel size, stride of the slices, and corner and shape of the part to take.

    Pixels are the scan's as long as all fits; then they grow; then slices are left out.
    """
    first = read_plane(scan, 0)
    low = np.clip(facts.centres_mm.min(axis=0) - _REACH_MM, 0, first.field_mm)
    high = np.clip(facts.centres_mm.max(axis=0) + _REACH_MM, 0, first.field_mm)
    native_mm = float(first.size_mm.min())
    low = np.floor(low / native_mm + 1e-3) * native_mm  # keeps the scan's own pixels
    volume = math.prod(high - low) * scan.slices
    pixel_mm = max(native_mm, min(math.sqrt(volume / _MOST_VOXELS), _COARSE_MM))
    pixel_mm = max(pixel_mm, float((high - low).max()) / _MOST_SIDE)
    stride = math.ceil(max(volume / pixel_mm**2 / _MOST_VOXELS, scan.slices / _MOST_SIDE))
    shape = np.maximum(1, np.rint((high - low) / pixel_mm)).astype(int)
    return pixel_mm, stride, low, tuple(shape.tolist())


def _gray_range(scan: ScanReader, chosen: list[int], *part) -> tuple[float, float]:
    """Return the values to show as black and white, from some slices."""
    sampled = chosen[:: -(-len(chosen) // _SAMPLED)]
    values = np.stack([sample(read_plane(scan, k), *part) for k in sampled])
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _pack(values: np.ndarray, affine: np.ndarray) -> str:
    """Return a compressed NIfTI file as text."""
    content = nib.Nifti1Image(values, affine).to_bytes()
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")
