"""The volumes of the QC page's viewer: cut out around the cord, 8 bit, with headers of our own."""

from __future__ import annotations

import base64
import gzip
import json
import math

import nibabel as nib
import numpy as np

from gmseg.io.scan_reader import ScanReader
from gmseg.report.qc_crops import read_plane, sample
from gmseg.report.qc_facts import Facts

_REACH_MM = 40.0  # to each side of the cord
_MOST_VOXELS = 6_000_000
_MOST_SIDE = 1024  # what the 3-D textures of nearly all browsers hold
_SAMPLED = 12
_COARSE_MM = 0.5  # pixels need be no larger than this before slices are left out


def volumes_script(sources: dict[str, ScanReader], facts: Facts, key: str) -> tuple[str, dict]:
    """Return a script that holds a scan and its mask for the viewer, and what it holds.

    Parameters
    ----------
    sources : dict
        ``"scan"`` and ``"mask"``.
    facts : gmseg.report.qc_facts.Facts
    key : str
        Under which the page looks for them.

    Returns
    -------
    str, dict
        A classic script, for a page that is opened from disk may fetch nothing; and pixel size,
        every how many slices one is held, and where in world space, in mm, to look first.

    Notes
    -----
    A fresh header holds no text of the scan's. Its affine is the scan's, cut and turned to LAS.
    """
    scan, mask = sources["scan"], sources["mask"]
    pixel_mm, stride, corner_mm, shape = _plan(scan, facts)
    chosen = range((scan.slices - 1) % stride // 2, scan.slices, stride)
    # in the order in which they are stored, so that a compressed file is read once
    stored = sorted(enumerate(chosen), key=lambda pair: facts.numbers[pair[1]])
    low, high = _range(scan, [k for _, k in stored], corner_mm, pixel_mm, shape)
    values = np.empty((*shape, len(chosen)), np.uint8)
    inside = np.empty_like(values)
    for at, k in stored:
        part = sample(read_plane(scan, k), corner_mm, pixel_mm, shape)
        values[..., at] = np.rint(255 * np.clip((part - low) / (high - low), 0, 1))
        inside[..., at] = sample(read_plane(mask, k), corner_mm, pixel_mm, shape) > 0.5
    whole = scan.frame(pixel_mm).affine
    affine = whole @ nib.affines.from_matvec(
        np.diag([1, 1, stride]), [*(corner_mm / pixel_mm), chosen[0]]
    )
    packed = {"scan": _packed(values, affine), "mask": _packed(inside, affine)}
    labelled = [k for k in chosen if facts.area_mm2[k] > 0] or chosen
    k = labelled[len(labelled) // 2]
    middle = nib.affines.apply_affine(whole, [*(facts.centres_mm[k] / pixel_mm - 0.5), k])
    told = {
        "pixel_mm": round(pixel_mm, 4),
        "stride": stride,
        "middle_mm": np.round(middle, 2).tolist(),
    }
    return f'gmseg.volumes["{key}"] = {json.dumps(packed)};\n', told


def _plan(scan: ScanReader, facts: Facts) -> tuple[float, int, np.ndarray, tuple[int, int]]:
    """Return pixel size, every how many slices to take one, and what part of them to take.

    Pixels are the scan's as long as all fits; then they grow; then slices are left out.
    """
    first = read_plane(scan, 0)
    low = np.clip(facts.centres_mm.min(axis=0) - _REACH_MM, 0, first.field_mm)
    high = np.clip(facts.centres_mm.max(axis=0) + _REACH_MM, 0, first.field_mm)
    native_mm = float(first.size_mm.min())
    low = np.floor(low / native_mm + 1e-3) * native_mm  # so that its pixels stay what they are
    volume = math.prod(high - low) * scan.slices
    pixel_mm = max(native_mm, min(math.sqrt(volume / _MOST_VOXELS), _COARSE_MM))
    pixel_mm = max(pixel_mm, float((high - low).max()) / _MOST_SIDE)
    stride = math.ceil(max(volume / pixel_mm**2 / _MOST_VOXELS, scan.slices / _MOST_SIDE))
    shape = np.maximum(1, np.rint((high - low) / pixel_mm)).astype(int)
    return pixel_mm, stride, low, tuple(shape.tolist())


def _range(scan: ScanReader, chosen: list[int], *part) -> tuple[float, float]:
    """Return what is to be black and white, from some slices."""
    some = chosen[:: -(-len(chosen) // _SAMPLED)]
    values = np.stack([sample(read_plane(scan, k), *part) for k in some])
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _packed(values: np.ndarray, affine: np.ndarray) -> str:
    """Return a compressed NIfTI file as text."""
    content = nib.Nifti1Image(values, affine).to_bytes()
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")
