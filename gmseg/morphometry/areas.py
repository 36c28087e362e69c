"""Gray-matter areas and volumes per slice, vertebral level and scan, with the horns apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np

from gmseg.core import geometry
from gmseg.errors import InputError
from gmseg.io.mask_values import rounded
from gmseg.io.scan_reader import ScanReader, open_mask, open_values
from gmseg.io.tables import Column
from gmseg.morphometry import cord_axes
from gmseg.morphometry.cord_axes import CordAxes, InPlaneGrid

_MIN_FRACTION = 0.01  # pixels with less are ignored when the cord's axes are fitted
_DIRECTION_MM = 15.0  # sigma along the cord for its direction
_MIN_SLICES = 3  # to know a direction
SIDES, HALVES = ("left", "right"), ("anterior", "posterior")

_Progress = Callable[[int, int], object] | None


def _columns() -> dict[str, Column]:
    columns = {
        "region": Column(
            "slice: one slice; level: one vertebral level; all: the whole scan. For level and "
            "all, areas are means over the slices with gray matter, volumes are sums"
        ),
        "slice": Column("number of the slice in the file, from 0"),
        "level": Column("vertebral level, as in the level image"),
        "slices": Column("number of slices with gray matter"),
        "z_mm": Column("z of the middle of the slice in the scan's world space", "mm"),
    }
    for kind, what in (("gm", "gray matter, mask"), ("gm_soft", "gray matter, partial volume")):
        parts = {"": ""}
        parts |= {f"_{side}": f", {side} of the cord's midline" for side in SIDES}
        parts |= {f"_{half}": f", both {half} horns" for half in HALVES}
        parts |= {f"_{s}_{h}": f", {s} {h} horn" for s in SIDES for h in HALVES}
        for name, part in parts.items():
            columns[f"{kind}{name}_area_mm2"] = Column(f"area of {what}{part}", "mm^2")
        columns[f"{kind}_volume_mm3"] = Column(
            f"volume of {what}: area times slice spacing", "mm^3"
        )
    columns["cord_area_mm2"] = Column("area of the cord mask", "mm^2")
    columns["cord_volume_mm3"] = Column("volume of the cord mask", "mm^3")
    for kind, what in (("", "mask"), ("_soft", "partial volume")):
        columns[f"wm{kind}_area_mm2"] = Column(
            f"area of the cord without its gray matter, {what}", "mm^2"
        )
        columns[f"gm{kind}_cord_ratio"] = Column(
            f"area of gray matter within the cord over that of the cord, {what}", "1"
        )
    columns["gm_outside_cord_ratio"] = Column(
        "area of gray matter outside the cord mask over that of all gray matter, mask", "1"
    )
    columns["turn_deg"] = Column(
        "angle from the patient's anterior direction to that of the cord, positive to the left",
        "degree",
    )
    columns["obliqueness_deg"] = Column(
        "angle between the cord and the normal of the slices; with the correction for "
        "obliqueness, areas are multiplied by its cosine",
        "degree",
    )
    return columns


COLUMNS = _columns()
"""All columns that a table may have, in order."""


def measure_mask(
    mask,
    *,
    soft=None,
    cord=None,
    levels=None,
    label: int | None = None,
    correct_obliqueness: bool = False,
    progress: _Progress = None,
) -> list[dict[str, Any]]:
    """Return areas, volumes and angles of a gray-matter mask, for ``pandas.DataFrame``.

    Parameters
    ----------
    mask : path-like, nibabel image or (numpy.ndarray, numpy.ndarray)
        0 and 1, in any orientation; an array with its affine in mm.
    soft : path-like or nibabel image, optional
        Soft segmentation, 0 to 1, whose areas count every voxel by its value.
    cord : path-like or nibabel image, optional
        Mask of the cord; voxels between 0 and 1 count by their value. It, the soft segmentation
        and the levels may have another orientation.
    levels : path-like or nibabel image, optional
        Vertebral levels, whole numbers that fill the cord or the slices.
    label : int, optional
        Value of gray matter in a mask with other values than 0 and 1.
    correct_obliqueness : bool
        Whether to multiply areas by the cosine of the angle between the cord and the normal of
        the slices. Volumes are never corrected.
    progress : callable, optional
        Called with the number of steps done and of all steps, two per slice.

    Returns
    -------
    list of dict
        A row per slice in the order of the file, per level, and for all: see `COLUMNS`. Unknown
        values are NaN, such as horns of a slice without gray matter.

    Raises
    ------
    gmseg.errors.InputError
        If an image cannot be used or is on another grid, or the angle to correct for is unknown.

    Examples
    --------
    >>> import nibabel as nib
    >>> mask = np.zeros((10, 10, 2), np.uint8)
    >>> mask[3:7, 2:8] = 1
    >>> rows = measure_mask(nib.Nifti1Image(mask, np.diag([-0.5, 0.5, 4, 1])))
    >>> [(row["region"], row["gm_area_mm2"], row["gm_volume_mm3"]) for row in rows]
    [('slice', 6.0, 24.0), ('slice', 6.0, 24.0), ('all', 6.0, 48.0)]
    """
    images = _open_images(mask, soft, cord, levels, label)
    grid = cord_axes.in_plane_grid(images.mask.affine)
    axes, path = _fit_axes(images, grid, progress)
    oblique_deg = _obliqueness_deg(images.mask, path, required=correct_obliqueness)
    rows = _slice_rows(images, grid, axes, oblique_deg, progress)
    if correct_obliqueness:
        rows = [_corrected(row) for row in rows]
    return _with_pooled(rows)


# ------------------------------------------------------------------------------------ images


@dataclass(frozen=True)
class _Images:
    """The images to measure, all on the grid of the mask."""

    mask: ScanReader
    soft: ScanReader | None
    cord: ScanReader | None
    levels: ScanReader | None

    def read(self, kind: str, k: int) -> np.ndarray:
        """Return slice `k` of the mask, soft segmentation or cord, (rows, columns), 0 to 1."""
        reader = getattr(self, kind)
        return reader.read(k, k + 1).squeeze(reader.axis)


def _open_images(mask, soft, cord, levels, label: int | None) -> _Images:
    opened = open_mask(mask, what="mask", label=label)
    soft = None if soft is None else open_mask(soft, opened, what="soft segmentation")
    cord = None if cord is None else open_mask(cord, opened, what="cord mask")
    if levels is not None:
        read = (stored := open_values(levels, opened, what="level image")).read
        levels = replace(stored, read=lambda *part: rounded(read(*part)))
        _check_levels(levels)
    return _Images(opened, soft, cord, levels)


def _check_levels(levels: ScanReader) -> None:
    """Refuse level images that contain something else."""
    counts: Counter[float] = Counter()
    for k in range(levels.slices):
        values, times = np.unique(levels.read(k, k + 1), return_counts=True)
        counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    del counts[0.0]
    if not all(value == np.rint(value) and 0 < value < 100 for value in counts):  # nor NaN
        raise InputError(f"{levels.name}: levels are whole numbers from 1; give a level image")
    if not counts:
        raise InputError(
            f"{levels.name}: contains no level; give an image whose levels fill the cord"
        )
    if set(counts.values()) == {1} and levels.slices > len(counts):
        raise InputError(
            f"{levels.name}: marks single points, as disc labels do; give an image whose levels "
            f"fill the cord"
        )


# ------------------------------------------------------------------------------------ angles


def _fit_axes(
    images: _Images, grid: InPlaneGrid, progress: _Progress
) -> tuple[list[CordAxes], np.ndarray]:
    """Return the cord's axes on every slice, and centres of cord or GM in voxels, (n, 3)."""
    kinds = [kind for kind in ("mask", "soft", "cord") if getattr(images, kind) is not None]
    count = images.mask.slices
    axes, gms, path = [], [], np.full((count, 3), np.nan)
    for k in range(count):
        shapes = {kind: images.read(kind, k) for kind in kinds}
        gm = cord_axes.pixels_above(shapes.get("soft", shapes["mask"]), _MIN_FRACTION)
        if not len(gm.indices):
            gm = cord_axes.pixels_above(shapes["mask"])
        cord = cord_axes.pixels_above(shapes["cord"], _MIN_FRACTION) if "cord" in shapes else None
        axes.append(cord_axes.fit_axes(gm, cord, grid))
        gms.append(gm)
        inside = cord_axes.pixels_above(shapes.get("cord", shapes["mask"]), 0.5).indices
        if len(inside):
            path[k, list(grid.array_axes)] = inside.mean(axis=0)
            path[k, images.mask.axis] = k
        if progress is not None:
            progress(k + 1, 2 * count)
    return cord_axes.regularise_axes(axes, gms, grid, _slice_mm(images.mask)), path


def _obliqueness_deg(mask: ScanReader, path: np.ndarray, *, required: bool) -> np.ndarray:
    """Return the angle between the cord and the normal of every slice, NaN if unknown."""
    known = np.flatnonzero(np.isfinite(path[:, 0]))
    angles_deg = np.full(len(path), np.nan)
    if len(known) < _MIN_SLICES:
        if required:
            raise InputError(
                f"{mask.name}: the cord is on fewer than {_MIN_SLICES} slices, so its angle is "
                f"unknown; leave out `correct_obliqueness`"
            )
        return angles_deg
    points = nib.affines.apply_affine(mask.affine, path[known])
    normal = np.cross(*np.delete(mask.affine[:3, :3].T, mask.axis, axis=0))
    normal /= np.linalg.norm(normal)
    heights = points @ normal
    step = mask.affine[:3, mask.axis] @ normal  # from slice to slice
    for k in range(len(path)):
        height = heights[0] + (k - known[0]) * step
        height = np.clip(height, heights.min(), heights.max())  # extrapolate the last direction
        weights = np.exp(-0.5 * ((heights - height) / _DIRECTION_MM) ** 2)
        centred = heights - np.average(heights, weights=weights)
        slope = (weights * centred) @ points / (weights @ centred**2)
        cosine = slope @ normal / np.linalg.norm(slope)
        angles_deg[k] = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return angles_deg


# -------------------------------------------------------------------------------------- rows


def _slice_rows(
    images: _Images,
    grid: InPlaneGrid,
    axes: Sequence[CordAxes],
    oblique_deg: np.ndarray,
    progress: _Progress,
) -> list[dict[str, Any]]:
    """Return a row for every slice."""
    count = images.mask.slices
    rows = []
    for k in range(count):
        row = {"region": "slice", "slice": k} | _areas(images, grid, axes[k], k)
        row |= {"z_mm": _height_mm(images.mask, k), "obliqueness_deg": float(oblique_deg[k])}
        turn_deg = float(np.rad2deg(axes[k].angle - grid.patient_angle))
        row["turn_deg"] = turn_deg if row["slices"] else np.nan
        if images.levels is not None:
            row["level"] = _level_of(images, images.levels, k)
        rows.append(row)
        if progress is not None:
            progress(count + k + 1, 2 * count)
    return rows


def _areas(images: _Images, grid: InPlaneGrid, axes: CordAxes, k: int) -> dict[str, Any]:
    """Return the areas and volumes of one slice."""
    slice_mm = _slice_mm(images.mask)
    shapes = {"gm": images.read("mask", k)}
    if images.soft is not None:
        shapes["gm_soft"] = images.read("soft", k)
    has_gm = bool(shapes["gm"].any())
    row: dict[str, Any] = {"slices": int(has_gm)}
    for kind, values in shapes.items():
        area_mm2 = float(values.sum(dtype=float)) * grid.pixel_mm2
        row |= {f"{kind}_area_mm2": area_mm2, f"{kind}_volume_mm3": area_mm2 * slice_mm}
        horns = {(side, half): np.nan for side in SIDES for half in HALVES}
        if has_gm and np.isfinite(axes.centre_mm).all():
            horns = cord_axes.horn_areas_mm2(cord_axes.pixels_above(values), grid, axes)
        row |= {f"{kind}_{s}_area_mm2": sum(horns[s, half] for half in HALVES) for s in SIDES}
        row |= {f"{kind}_{h}_area_mm2": sum(horns[side, h] for side in SIDES) for h in HALVES}
        row |= {f"{kind}_{side}_{half}_area_mm2": horns[side, half] for side, half in horns}
    if images.cord is None:
        return row
    cord = images.read("cord", k)
    # where the cord is not marked, its area is unknown, not 0
    cord_mm2 = float(cord.sum(dtype=float)) * grid.pixel_mm2 or np.nan
    row |= {"cord_area_mm2": cord_mm2, "cord_volume_mm3": cord_mm2 * slice_mm}
    for kind, values in shapes.items():
        inside_mm2 = float(np.minimum(values, cord).sum(dtype=float)) * grid.pixel_mm2
        row[f"{kind.replace('gm', 'wm')}_area_mm2"] = cord_mm2 - inside_mm2
        row[f"{kind}_cord_ratio"] = inside_mm2 / cord_mm2 if has_gm else np.nan
    outside = (shapes["gm"] > 0) & (cord <= 0.5)
    row["gm_outside_cord_ratio"] = np.nan
    if has_gm and np.isfinite(cord_mm2):
        row["gm_outside_cord_ratio"] = float(outside.sum() / shapes["gm"].sum(dtype=float))
    return row


def _slice_mm(reader: ScanReader) -> float:
    """Return the slice spacing: the volume of an area of 1 mm^2."""
    return geometry.volume_mm3(np.ones(1), reader.affine)


def _height_mm(reader: ScanReader, k: int) -> float:
    """Return z of the middle of a slice."""
    middle = (np.array(reader.shape) - 1) / 2
    middle[reader.axis] = k
    return float(nib.affines.apply_affine(reader.affine, middle)[2])


def _level_of(images: _Images, levels: ScanReader, k: int) -> float:
    """Return the most frequent level of a slice in the cord, else anywhere; NaN without any."""
    values = levels.read(k, k + 1).squeeze(levels.axis)
    inside = images.read("mask" if images.cord is None else "cord", k) > 0.5
    for labelled in (values[inside & (values > 0)], values[values > 0]):
        if labelled.size:
            candidates, counts = np.unique(labelled, return_counts=True)
            return float(candidates[np.argmax(counts)])
    return np.nan


def _corrected(row: dict[str, Any]) -> dict[str, Any]:
    """Return a slice's row with areas as across the cord."""
    cosine = np.cos(np.deg2rad(row["obliqueness_deg"]))
    return {
        name: value * cosine if name.endswith("_area_mm2") else value for name, value in row.items()
    }


def _with_pooled(rows: Sequence[dict]) -> list[dict[str, Any]]:
    """Append a row for every level and one for all slices; order the columns."""
    levels = sorted({row["level"] for row in rows if np.isfinite(row.get("level", np.nan))})
    pooled = [
        {"region": "level", "level": level} | _pooled([r for r in rows if r["level"] == level])
        for level in levels
    ]
    pooled.append({"region": "all"} | _pooled(rows))
    names = [name for name in COLUMNS if name in rows[0]]
    return [{name: row.get(name, np.nan) for name in names} for row in [*rows, *pooled]]


def _pooled(rows: Sequence[dict]) -> dict[str, Any]:
    """Return means over the slices with gray matter, and sums of volumes."""
    with_gm = [row for row in rows if row["slices"]]
    pooled: dict[str, Any] = {"slices": len(with_gm)}
    for name in rows[0]:
        is_volume = name.endswith("_volume_mm3")
        if is_volume or name.endswith(("_area_mm2", "_ratio", "_deg")):
            values = np.array([row[name] for row in (rows if is_volume else with_gm)], float)
            values = values[np.isfinite(values)]
            combine = np.sum if is_volume else np.mean
            pooled[name] = float(combine(values)) if values.size else np.nan
    return pooled
