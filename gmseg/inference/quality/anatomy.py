"""QC flags on what anatomy allows: the fit of a cord mask, and the sizes of voxels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gmseg.core import geometry
from gmseg.inference.quality.flags import Flag, ranges
from gmseg.morphometry.anatomy import OUTSIDE_CORD, outside_cord_text, size_faults


@dataclass
class CordFit:
    """Areas of GM and of the cord mask, gathered over the slices in the order of storage.

    Attributes
    ----------
    gm_mm2, outside_mm2, cord_mm2 : list of float
        Area of the GM, of the GM outside the cord mask, and of the cord mask, per slice.
    """

    gm_mm2: list[float] = field(default_factory=list)
    outside_mm2: list[float] = field(default_factory=list)
    cord_mm2: list[float] = field(default_factory=list)

    def add(self, gm: np.ndarray, cord: np.ndarray, affine: np.ndarray) -> None:
        """Add slices: GM before anything outside the cord is removed, and the cord; bool, 3-D."""
        for areas, part in (
            (self.gm_mm2, gm),
            (self.outside_mm2, gm & ~cord),
            (self.cord_mm2, cord),
        ):
            areas += geometry.slice_areas_mm2(part, affine).tolist()

    def flags(self, *, removed: bool) -> list[Flag]:
        """Return the flags of a cord mask that does not fit the GM.

        Parameters
        ----------
        removed : bool
            Whether GM outside the cord mask was removed.
        """
        gm, outside, cord = (
            np.array(areas) for areas in (self.gm_mm2, self.outside_mm2, self.cord_mm2)
        )
        flags = []
        marked = (cord > 0) & (gm > 0)
        if marked.any() and outside[marked].sum() > OUTSIDE_CORD * gm[marked].sum():
            share = outside[marked].sum() / gm[marked].sum()
            wrong = np.flatnonzero(marked & (outside > OUTSIDE_CORD * gm))
            text = outside_cord_text(share) + (", and was removed" if removed else "")
            flags.append(Flag("outside-cord", text, tuple(int(k) for k in wrong)))
        missing = np.flatnonzero((cord == 0) & (gm > 0))
        if removed and missing.size:
            text = f"the cord mask is empty in slice {ranges(missing)}; the GM there was removed"
            flags.append(Flag("outside-cord", text, tuple(int(k) for k in missing)))
        return flags


def size_flags(areas_mm2, affine: np.ndarray, cord_mm2=()) -> list[Flag]:
    """Return the flags of implausible sizes, see `gmseg.morphometry.anatomy.size_faults`.

    Examples
    --------
    >>> [flag.name for flag in size_flags([14.0, 14.5, 15.0], np.diag([0.5, 0.5, 30, 1]))]
    ['voxel-size']
    """
    return [Flag("voxel-size", text) for text in size_faults(areas_mm2, affine, cord_mm2)]
