"""Numbers for papers: gray-matter areas per slice, level and scan, horns apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.errors import InputError
from gmseg.io.image_file import open_image
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.morphometry import cord_axes

_FAINT = 0.01  # shares below have no say in where the cord's axes lie
_STEADY_MM = 15.0  # along the cord: its direction is that of a stretch of about this reach
_LEAST_SLICES = 3  # to tell a direction
SIDES, HALVES = ("left", "right"), ("anterior", "posterior")


class Column(NamedTuple):
    """A column of the table: what it is, and its unit."""

    description: str
    unit: str = ""


def _columns() -> dict[str, Column]:
    told = {
        "region": Column(
            "slice: one slice; level: a vertebral level; all: every slice. Over levels and all, "
            "areas are means over the slices with gray matter, volumes are sums"
        ),
        "slice": Column("number of the slice, from 0, as it is stored"),
        "level": Column("vertebral level, as numbered in the level image"),
        "slices": Column("slices with gray matter"),
        "z_mm": Column("height of the middle of the slice in the scan's world space", "mm"),
    }
    for kind, what in (("gm", "gray matter, mask"), ("gm_soft", "gray matter, partial volume")):
        told[f"{kind}_area_mm2"] = Column(f"area of {what}", "mm^2")
        for side in SIDES:
            told[f"{kind}_{side}_area_mm2"] = Column(f"its part on the cord's {side}", "mm^2")
        for half in HALVES:
            told[f"{kind}_{half}_area_mm2"] = Column(f"its {half} horns, both", "mm^2")
        for side in SIDES:
            for half in HALVES:
                told[f"{kind}_{side}_{half}_area_mm2"] = Column(f"its {side} {half} horn", "mm^2")
        told[f"{kind}_volume_mm3"] = Column(f"volume of {what}: area times slice spacing", "mm^3")
    told["cord_area_mm2"] = Column("area of the cord mask, where there is one", "mm^2")
    told["cord_volume_mm3"] = Column("volume of the cord mask", "mm^3")
    for kind, what in (("", "mask"), ("_soft", "partial volume")):
        told[f"wm{kind}_area_mm2"] = Column(
            f"area of the cord less that of its gray matter, {what}", "mm^2"
        )
        told[f"gm{kind}_cord_ratio"] = Column(
            f"gray matter within the cord over the cord, {what}", "1"
        )
    told["turn_deg"] = Column(
        "turn of the cord's front from the patient's, towards the left", "degree"
    )
    told["obliqueness_deg"] = Column(
        "angle between the cord and the normal of the slices; areas are multiplied by its cosine "
        "where that was asked for",
        "degree",
    )
    return told


COLUMNS = _columns()
"""Every column that a table may have, in order."""


@dataclass(frozen=True)
class _Images:
    """What a table is made from, all on the mask's grid."""

    mask: ScanReader
    soft: ScanReader | None
    cord: ScanReader | None
    levels: ScanReader | None
    label: int | None
    seen: set = field(default_factory=set)  # values of the mask

    def plane(self, kind: str, k: int) -> np.ndarray:
        """Return one slice, (rows, columns), as it is stored; shares of 0 to 1."""
        source = getattr(self, kind)
        values = source.read(k, k + 1).squeeze(source.axis)
        if kind == "mask":
            return self._as_mask(values)
        if kind == "soft":
            return _as_shares(values, source.name)
        return np.nan_to_num(values).clip(0, 1)

    def _as_mask(self, values: np.ndarray) -> np.ndarray:
        """Return a slice of a mask as 0 and 1, or refuse what is none."""
        name, held = self.mask.name, np.unique(values)
        if not np.equal(held, np.rint(held)).all():
            raise InputError(
                f"{name}: holds values such as {held[held != np.rint(held)][0]:g}, as a soft "
                f"segmentation does; give a mask of 0 and 1, and that with --soft"
            )
        wanted = 1 if self.label is None else self.label
        others = [value for value in held.tolist() if value not in (0, wanted)]
        if self.label is None and others:
            which = 1 if 1 in held else int(others[0])
            raise InputError(
                f"{name}: holds {others[0]:g} beside 0 and 1; say which value is GM with "
                f"--label {which}"
            )
        self.seen.update(held.tolist())
        return (values == wanted).astype(np.float32)

    def check_label(self) -> None:
        """Refuse a label that no voxel has, where others have one."""
        others = sorted(self.seen - {0})
        if self.label is not None and others and self.label not in self.seen:
            raise InputError(
                f"{self.mask.name}: holds {others[0]:g} and no {self.label}; give GM's value "
                f"with --label"
            )


def measure_mask(
    mask,
    *,
    soft=None,
    cord=None,
    levels=None,
    label: int | None = None,
    correct_obliqueness: bool = False,
    progress: Callable | None = None,
) -> list[dict]:
    """Measure a gray-matter mask: ``pandas.DataFrame(gmseg.measure_mask("t2s_gmseg.nii.gz"))``.

    Parameters
    ----------
    mask : path-like or nibabel image
        0 and 1, any orientation.
    soft : path-like or nibabel image, optional
        The soft segmentation, 0 to 1: areas and volumes from it count every voxel by its share.
    cord : path-like or nibabel image, optional
        A mask of the cord; voxels between 0 and 1 count by their share.
    levels : path-like or nibabel image, optional
        The vertebral levels as whole numbers that fill the cord or the slices.
    label : int, optional
        The value of gray matter in a mask that holds more than 0 and 1.
    correct_obliqueness : bool
        Multiply every area by the cosine of the angle between the cord and the slices' normal.
        Off: gray matter is reported as it was scanned, as is usual. Volumes are never corrected.
    progress : callable, optional
        Called with (slices done, slices in all) after every slice.

    Returns
    -------
    list of dict
        A row per slice as stored, per level and for all; see `COLUMNS`. What cannot be known is
        NaN: horns of a slice without gray matter, say.

    Raises
    ------
    gmseg.errors.InputError
        If an image cannot be read or used, or lies on another grid.

    Notes
    -----
    The horns are divided by the cord's own axes, not the image's: the midline by which the gray
    matter (and the cord, where it is given) mirrors itself best, see `gmseg.morphometry.cord_axes`; and across it
    through the middle of the gray commissure. They are found on the soft segmentation where it
    is given. The angle of the cord comes from the middles of the cord mask, or of the gray matter.
    """
    opened = _open(mask)
    others = {
        kind: None if image is None else open_mask(image, opened, what=what)
        for kind, image, what in (
            ("soft", soft, "soft segmentation"),
            ("cord", cord, "cord mask"),
            ("levels", levels, "level image"),
        )
    }
    images = _Images(opened, **others, label=label)
    plane = cord_axes.plane_of(opened.affine)
    step_mm = geometry.volume_mm3(np.ones(1), opened.affine)
    found, cord_path = _find_axes(images, plane, step_mm, progress)
    images.check_label()
    oblique = _obliqueness_deg(cord_path, opened.affine)
    if correct_obliqueness and not np.isfinite(oblique).any():
        raise InputError(
            f"{opened.name}: fewer than {_LEAST_SLICES} slices show where the cord runs; its "
            f"angle is not known, measure without correcting for it"
        )
    rows = []
    for k in range(opened.slices):
        row = {"region": "slice", "slice": k} | _slice_row(images, plane, found[k], k, step_mm)
        row |= {"z_mm": _height_mm(opened, k), "obliqueness_deg": float(oblique[k])}
        row["turn_deg"] = (
            float(np.rad2deg(found[k].angle - plane.turn)) if row["slices"] else np.nan
        )
        if correct_obliqueness:
            row |= {
                name: value * np.cos(np.deg2rad(oblique[k]))
                for name, value in row.items()
                if name.endswith("_area_mm2")
            }
        rows.append(row)
        if progress is not None:
            progress(opened.slices + k + 1, 2 * opened.slices)
    if images.levels is not None:
        _check_levels(images)
        for k, row in enumerate(rows):
            row["level"] = _level_of(images, k)
    return _finished(rows)


def _open(mask) -> ScanReader:
    """Open the mask, which stands for itself."""
    given = isinstance(mask, nib.spatialimages.SpatialImage)
    image = mask if given else open_image(Path(mask))
    if (volumes := math.prod(image.shape[3:])) > 1:
        name = (mask.get_filename() or "the mask") if given else mask
        raise InputError(f"{name}: holds {volumes} volumes; give one mask, 3-D")
    return open_scan(mask, check_voxels=False)


def _as_shares(values: np.ndarray, name) -> np.ndarray:
    """Return a slice of a soft segmentation, or refuse what is none."""
    low, high = values.min(), values.max()
    if not (low >= -0.01 and high <= 1.01):  # nor NaN; interpolation may overshoot a little
        raise InputError(
            f"{name}: holds values from {low:g} to {high:g}; a soft segmentation has 0 to 1"
        )
    return values.clip(0, 1)


def _find_axes(images: _Images, plane: cord_axes.Plane, step_mm: float, progress):
    """Return the cord's axes on every slice, and the middles of cord or GM in voxels, (n, 3)."""
    kinds = [kind for kind in ("mask", "soft", "cord") if getattr(images, kind) is not None]
    found, grays, path = [], [], np.full((images.mask.slices, 3), np.nan)
    for k in range(images.mask.slices):
        shapes = {kind: images.plane(kind, k) for kind in kinds}
        gray = cord_axes.pixels(shapes.get("soft", shapes["mask"]), _FAINT)
        if not len(gray.where):
            gray = cord_axes.pixels(shapes["mask"])
        cord = cord_axes.pixels(shapes["cord"], _FAINT) if "cord" in shapes else None
        found.append(cord_axes.find(gray, cord, plane))
        grays.append(gray)
        along = cord_axes.pixels(shapes.get("cord", shapes["mask"]), 0.5)
        if len(along.where):
            path[k, list(plane.axes)] = along.where.mean(axis=0)
            path[k, images.mask.axis] = k
        if progress is not None:
            progress(k + 1, 2 * images.mask.slices)
    return cord_axes.agree(found, grays, plane, step_mm), path


def _obliqueness_deg(path: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the angle between the cord and the slices' normal on every slice, NaN if unknown."""
    known = np.flatnonzero(np.isfinite(path[:, 0]))
    found = np.full(len(path), np.nan)
    if len(known) < _LEAST_SLICES:
        return found
    points = nib.affines.apply_affine(affine, path[known])
    axis = geometry.slice_axis(affine)
    normal = np.cross(*np.delete(affine[:3, :3].T, axis, axis=0))
    normal /= np.linalg.norm(normal)
    height = points @ normal
    step = affine[:3, axis] @ normal  # from slice to slice
    for k in range(len(path)):
        at = height[0] + (k - known[0]) * step
        at = np.clip(at, height.min(), height.max())  # beyond, the cord goes on as it ended
        weights = np.exp(-0.5 * ((height - at) / _STEADY_MM) ** 2)
        off = height - np.average(height, weights=weights)
        slope = (weights * off) @ points / (weights @ off**2)
        found[k] = np.rad2deg(np.arccos(np.clip(slope @ normal / np.linalg.norm(slope), -1, 1)))
    return found


def _slice_row(
    images: _Images, plane: cord_axes.Plane, at: cord_axes.Axes, k: int, step_mm: float
) -> dict:
    """Return the areas and volumes of one slice."""
    shapes = {"gm": images.plane("mask", k)}
    if images.soft is not None:
        shapes["gm_soft"] = images.plane("soft", k)
    row = {"slices": int(shapes["gm"].any())}
    for kind, values in shapes.items():
        area_mm2 = float(values.sum(dtype=float)) * plane.pixel_mm2
        row |= {f"{kind}_area_mm2": area_mm2, f"{kind}_volume_mm3": area_mm2 * step_mm}
        row |= _horns(kind, cord_axes.pixels(values), plane, at, bool(row["slices"]))
    if images.cord is None:
        return row
    cord = images.plane("cord", k)
    # where the cord is not marked, its area is not 0 but unknown
    cord_mm2 = float(cord.sum(dtype=float)) * plane.pixel_mm2 or np.nan
    row |= {"cord_area_mm2": cord_mm2, "cord_volume_mm3": cord_mm2 * step_mm}
    for kind, values in shapes.items():
        inside = float(np.minimum(values, cord).sum(dtype=float)) * plane.pixel_mm2
        row[f"{kind.replace('gm', 'wm')}_area_mm2"] = cord_mm2 - inside
        row[f"{kind}_cord_ratio"] = inside / cord_mm2 if row["slices"] else np.nan
    return row


def _horns(
    kind: str, gray: cord_axes.Pixels, plane: cord_axes.Plane, at: cord_axes.Axes, seen: bool
) -> dict:
    """Return the areas of the horns of one slice."""
    if seen and np.isfinite(at.middle).all():
        areas = cord_axes.quarters_mm2(gray, plane, at)
    else:
        areas = {(side, half): np.nan for side in SIDES for half in HALVES}
    row = {f"{kind}_{s}_area_mm2": sum(areas[s, half] for half in HALVES) for s in SIDES}
    row |= {f"{kind}_{h}_area_mm2": sum(areas[side, h] for side in SIDES) for h in HALVES}
    return row | {f"{kind}_{s}_{h}_area_mm2": areas[s, h] for s in SIDES for h in HALVES}


def _height_mm(source: ScanReader, k: int) -> float:
    """Return z of the middle of a slice."""
    middle = (np.array(source.shape) - 1) / 2
    middle[source.axis] = k
    return float(nib.affines.apply_affine(source.affine, middle)[2])


def _check_levels(images: _Images) -> None:
    """Refuse level images that hold something else."""
    counts: dict[float, int] = {}
    for k in range(images.levels.slices):
        values, times = np.unique(images.levels.read(k, k + 1), return_counts=True)
        for value, count in zip(values, times, strict=True):
            counts[float(value)] = counts.get(float(value), 0) + int(count)
    named = {value: count for value, count in counts.items() if value != 0}
    name = images.levels.name
    if not all(value == np.rint(value) and 0 < value < 100 for value in named):  # nor NaN
        raise InputError(f"{name}: levels are whole numbers from 1 on; give a level image")
    if not named:
        raise InputError(f"{name}: names no level; give an image whose levels fill the cord")
    if set(named.values()) == {1} and images.levels.slices > len(named):
        raise InputError(
            f"{name}: marks single points, as disc labels do; give an image whose levels fill "
            f"the cord"
        )


def _level_of(images: _Images, k: int) -> float:
    """Return the level that most of a slice's labelled voxels name, NaN where none do."""
    values = images.levels.read(k, k + 1).squeeze(images.levels.axis)
    within = images.plane("mask" if images.cord is None else "cord", k) > 0.5
    for where in (within, np.ones(values.shape, bool)):
        named = values[where & (values > 0)]
        if named.size:
            found, count = np.unique(named, return_counts=True)
            return float(found[np.argmax(count)])
    return np.nan


def _finished(rows: list[dict]) -> list[dict]:
    """Append the levels and all, and bring the columns in their order."""
    named = sorted({row["level"] for row in rows if np.isfinite(row.get("level", np.nan))})
    pooled = [
        {"region": "level", "level": level} | _pooled([r for r in rows if r["level"] == level])
        for level in named
    ]
    pooled.append({"region": "all"} | _pooled(rows))
    return [
        {name: row.get(name, np.nan) for name in COLUMNS if name in rows[0]}
        for row in [*rows, *pooled]
    ]


def _pooled(rows: list[dict]) -> dict:
    """Pool slices: means over those with gray matter, sums of volumes."""
    seen = [row for row in rows if row["slices"]]
    pooled = {"slices": len(seen)}
    for name in rows[0]:
        volume = name.endswith("_volume_mm3")
        if volume or name.endswith(("_area_mm2", "_ratio", "_deg")):
            values = np.array([row[name] for row in (rows if volume else seen)], float)
            values = values[np.isfinite(values)]
            pool = np.sum if volume else np.mean
            pooled[name] = float(pool(values)) if values.size else np.nan
    return pooled
