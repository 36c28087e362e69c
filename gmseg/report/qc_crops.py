"""What the QC page shows of a slice: squares around the cord, sampled where they are needed."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core.resampling import reoriented
from gmseg.io.scan_reader import ScanReader


@dataclass(frozen=True)
class Plane:
    """A slice in LAS orientation, as the working grid has it, in its own pixels.

    Attributes
    ----------
    values : numpy.ndarray
        float32; rows run from right to left, columns from back to front.
    size_mm : numpy.ndarray
        (2,), of a pixel.
    """

    values: np.ndarray
    size_mm: np.ndarray

    @property
    def field_mm(self) -> np.ndarray:
        """The field of view; places are given in mm from its lowest row and column."""
        return self.size_mm * self.values.shape


def read_plane(source: ScanReader, k: int) -> Plane:
    """Read slice k, counted from foot to head."""
    las, affine = reoriented(source.read(*source.stored_range(k, k + 1)), source.affine)
    return Plane(las[..., 0], nib.affines.voxel_sizes(affine)[:2])


def sample(plane: Plane, corner_mm, spacing_mm: float, shape, *, order: int = 1) -> np.ndarray:
    """Return square pixels of a slice, from a corner on; 0 beyond the field of view.

    Parameters
    ----------
    plane : Plane
    corner_mm : array_like
        (2,)
    spacing_mm : float
    shape : tuple of int
        Rows and columns.
    order : int
        1 is linear, 3 cubic; what is not finite counts as 0.
    """
    corner_mm, step = np.asarray(corner_mm), spacing_mm / plane.size_mm
    values = np.nan_to_num(plane.values, posinf=0, neginf=0)
    offset = corner_mm / plane.size_mm + step / 2 - 0.5
    sampled = ndimage.affine_transform(
        values, step, offset, output_shape=tuple(shape), order=order, mode="nearest"
    )
    at = [corner_mm[axis] + (np.arange(n) + 0.5) * spacing_mm for axis, n in enumerate(shape)]
    rows, columns = ((a > 0) & (a < f) for a, f in zip(at, plane.field_mm, strict=True))
    return sampled * (rows[:, None] & columns)
