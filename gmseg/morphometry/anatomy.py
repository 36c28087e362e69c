"""Sizes that anatomy rules out: signs of a wrong voxel size in the header.

The limits are for the adult human cervical cord, with generous margins. Its mean diameters
(anterior-posterior x transverse) are 8.8 x 12.4 mm at C2, 8.7 x 14.0 mm at C4 and 7.4 x 11.4 mm at
C7 (Sherman et al., AJNR 11:369, 1990), and 7.4 x 13.3 mm at segment C5 (Frostell et al., Front
Neurol 7:238, 2016), which as ellipses are 66 to 96 mm^2. Women and elderly people have smaller
cords, at a nearly constant ratio of GM to cord (Papinutto et al., PLoS ONE 10:e0118576, 2015) of
about 0.18 in the scans of `docs/cross-validation.md`. Thoracic and atrophied cords can be smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np

from gmseg.core import geometry

GM_MM2 = (10.5, 20.0)
"""Plausible median over the slices of the GM area."""
CORD_MM2 = (50.0, 115.0)
"""Plausible median over the slices of the area of the cord."""
SLICE_MM = 12.0
"""Largest plausible slice spacing: protocols for GM have 2.5 to 10 mm."""
CORD_LENGTH_MM = 500.0
"""Largest plausible extent of all slices: the spinal cord is 400 to 450 mm long."""
_NOT_SQUARE = 1.2  # ratio of the sides of a pixel; scanners write square ones
_GM_NOT_SQUARE_MM2 = (12.0, 18.5)  # narrower: pixels that are not square are suspect already
_FEWEST_SLICES = 3  # single slices vary more
OBLIQUE_DEG = 35.0
"""Angle between the cord and the normal of the slices above which areas are much too large."""
OUTSIDE_CORD = 0.05
"""Largest plausible share of the GM outside a cord mask; in manual masks it is 0."""


def outside_cord_text(share: float) -> str:
    """Return what is wrong with a cord mask that leaves out a share of the GM.

    Examples
    --------
    >>> outside_cord_text(0.52)
    '52 % of the GM lies outside the cord mask'
    """
    return f"{100 * share:.0f} % of the GM lies outside the cord mask"


def size_faults(gm_mm2, affine: np.ndarray, cord_mm2=()) -> list[str]:
    """Return what is implausible in the sizes of a scan's voxels, GM and cord.

    Parameters
    ----------
    gm_mm2 : array_like
        GM area of every slice; 0 without GM.
    affine : numpy.ndarray
        (4, 4), in mm.
    cord_mm2 : array_like, optional
        Area of the cord in every slice; 0 or NaN where it is unknown.

    Returns
    -------
    list of str
        A line for each fault; empty if all is plausible.

    Examples
    --------
    >>> affine = np.diag([0.5, 0.5, 5, 1])
    >>> size_faults([13.0, 14.0, 15.0], affine)
    []
    >>> print(*size_faults([14.0, 14.0, 14.0], np.diag([0.5, 0.5, 30, 1])))
    3 slices of 30 mm are implausible; check the voxel size, 0.5 x 0.5 x 30 mm
    """
    gm_mm2 = np.asarray(gm_mm2, float)
    sizes = nib.affines.voxel_sizes(affine)
    axis = geometry.slice_axis(affine)
    pixel = np.delete(sizes, axis)
    check = f"check the voxel size, {' x '.join(f'{size:.3g}' for size in sizes)} mm"
    faults = []
    if sizes[axis] > SLICE_MM or sizes[axis] * len(gm_mm2) > CORD_LENGTH_MM:
        faults.append(f"{len(gm_mm2)} slices of {sizes[axis]:.3g} mm are implausible; {check}")
    square = pixel.max() <= _NOT_SQUARE * pixel.min()
    for name, areas_mm2, limits in (
        ("GM", gm_mm2, GM_MM2 if square else _GM_NOT_SQUARE_MM2),
        ("a cord", cord_mm2, CORD_MM2),
    ):
        known = np.asarray(areas_mm2, float)
        known = known[known > 0]
        if len(known) < _FEWEST_SLICES:
            continue
        median = float(np.median(known))
        if not limits[0] <= median <= limits[1]:
            faults.append(
                f"{name} of {median:.1f} mm^2 is implausible for an adult cervical cord "
                f"({limits[0]:g} to {limits[1]:g}); {check}"
            )
    return faults


def measurement_faults(rows: Sequence[Mapping[str, Any]], affine: np.ndarray) -> list[str]:
    """Return what is implausible in the measurements of a mask.

    Parameters
    ----------
    rows : sequence of dict
        From `gmseg.measure_mask`.
    affine : numpy.ndarray
        (4, 4), of the mask, in mm.

    Returns
    -------
    list of str
        A line for each fault: sizes, obliqueness, and GM outside the cord mask.

    Examples
    --------
    >>> rows = [{"region": "slice", "gm_area_mm2": 14.0, "obliqueness_deg": 60.0}]
    >>> measurement_faults(rows, np.diag([0.5, 0.5, 5, 1]))
    ['the cord is inclined by 60 degrees to the slices; areas are too large']
    """
    slices = [row for row in rows if row["region"] == "slice"]
    gm_mm2, cord_mm2, outside, oblique_deg = (
        np.array([row.get(name, np.nan) for row in slices], float)
        for name in ("gm_area_mm2", "cord_area_mm2", "gm_outside_cord_ratio", "obliqueness_deg")
    )
    faults = []
    marked = np.isfinite(outside)
    if marked.any():
        share = float(outside[marked] @ gm_mm2[marked] / gm_mm2[marked].sum())
        faults += [outside_cord_text(share)] if share > OUTSIDE_CORD else []
    if np.isfinite(oblique_deg).any() and (angle := np.nanmedian(oblique_deg)) > OBLIQUE_DEG:
        faults.append(
            f"the cord is inclined by {angle:.0f} degrees to the slices; areas are too large"
        )
    return faults or size_faults(gm_mm2, affine, cord_mm2)
