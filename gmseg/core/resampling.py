"""Resample scans to the working grid (LAS, 0.25 mm in plane), and values back."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy import ndimage

from gmseg.core.geometry import orientation

WORKING_SPACING_MM = 0.25
"""Spacing in plane of the paper. The card of a model names the spacing that it was trained at."""
_LAS = orientations.axcodes2ornt("LAS")


@dataclass(frozen=True)
class GridGeometry:
    """Where a scan lies on the working grid, without its voxels.

    Attributes
    ----------
    shape : tuple of int
        Rows, columns and slices of the working grid.
    affine : numpy.ndarray
        (4, 4), from indices of the working grid to mm in the scan's world space.
    native_shape : tuple of int
        Shape of the scan, 3-D.
    native_affine : numpy.ndarray
        (4, 4), affine of the scan.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray

    @property
    def spacing_mm(self) -> float:
        """Spacing in plane."""
        return float(nib.affines.voxel_sizes(self.affine)[0])

    @property
    def slice_mm(self) -> float:
        """Spacing of the slices."""
        return float(nib.affines.voxel_sizes(self.affine)[2])


@dataclass(frozen=True)
class WorkingGrid(GridGeometry):
    """A scan on the working grid, and the way back to its native grid.

    Attributes
    ----------
    data : numpy.ndarray
        float32, (rows, columns, slices): rows run from right to left, columns from
        posterior to anterior, slices from inferior to superior.
    """

    data: np.ndarray


def grid_geometry(
    native_shape: tuple[int, ...], affine: np.ndarray, spacing_mm: float = WORKING_SPACING_MM
) -> GridGeometry:
    """Return where an image of this shape and affine lies on the working grid.

    Examples
    --------
    >>> grid_geometry((64, 64, 10), np.diag([0.5, 0.5, 5, 1])).shape
    (128, 128, 10)
    """
    transform = _to_las(affine)
    las_affine = affine @ orientations.inv_ornt_aff(transform, native_shape)
    las_shape = [native_shape[int(axis)] for axis in np.argsort(transform[:, 0])]
    step = steps(las_affine, spacing_mm)
    rows, columns, slices = (max(1, round(n / s)) for n, s in zip(las_shape, step, strict=True))
    return GridGeometry(
        shape=(rows, columns, slices),
        affine=las_affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5),
        native_shape=(native_shape[0], native_shape[1], native_shape[2]),
        native_affine=np.array(affine),
    )


def to_working_grid(
    data: np.ndarray, affine: np.ndarray, spacing_mm: float = WORKING_SPACING_MM
) -> WorkingGrid:
    """Resample an image to LAS orientation and square pixels, by linear interpolation.

    Parameters
    ----------
    data : numpy.ndarray
        (x, y, z), in any orientation.
    affine : numpy.ndarray
        (4, 4), its affine in mm.
    spacing_mm : float
        Spacing of the working grid in plane; the slices stay as they are.

    Returns
    -------
    WorkingGrid
        Its field of view begins at the same corner as that of the image; beyond the outermost
        voxel centres the nearest voxel counts.

    Notes
    -----
    Paper, "Methods": resampling to 0.25 x 0.25 mm, slice thickness kept. The positions depend
    on the voxel sizes alone, so the 48 orders and flips of an image's axes give the same
    working grid.

    Examples
    --------
    >>> grid = to_working_grid(np.ones((64, 64, 10)), np.diag([0.5, 0.5, 5, 1]))
    >>> grid.data.shape
    (128, 128, 10)
    >>> to_native_grid(grid.data, grid).shape
    (64, 64, 10)
    """
    geometry = grid_geometry(data.shape, affine, spacing_mm)
    las, las_affine = reoriented(data, affine)
    step = steps(las_affine, spacing_mm)[:2]
    return WorkingGrid(**vars(geometry), data=_sample_slices(las, step, geometry.shape))


def to_native_grid(values: np.ndarray, grid: GridGeometry) -> np.ndarray:
    """Resample values on the working grid to the native grid, by linear interpolation.

    Parameters
    ----------
    values : numpy.ndarray
        (rows, columns, slices), on the working grid.
    grid : GridGeometry
        Where the scan lies on it.

    Returns
    -------
    numpy.ndarray
        float32, in the shape and orientation of the scan.
    """
    shape, step = way_back(grid)
    return to_native_order(_sample_slices(np.asarray(values, np.float32), step, shape), grid)


def way_back(grid: GridGeometry) -> tuple[list[int], np.ndarray]:
    """Return the shape of a scan in LAS orientation, and its pixels in those of the working grid.

    Examples
    --------
    >>> way_back(grid_geometry((64, 60, 10), np.diag([0.5, 0.25, 5, 1])))
    ([64, 60, 10], array([2., 1.]))
    """
    transform = _to_las(grid.native_affine)
    las_affine = grid.native_affine @ orientations.inv_ornt_aff(transform, grid.native_shape)
    shape = [grid.native_shape[int(axis)] for axis in np.argsort(transform[:, 0])]
    return shape, 1 / steps(las_affine, grid.spacing_mm)[:2]


def to_native_order(las: np.ndarray, grid: GridGeometry) -> np.ndarray:
    """Return voxels in LAS orientation in the order and the directions of the scan's axes."""
    native = orientation(grid.native_affine)
    return orientations.apply_orientation(las, orientations.ornt_transform(_LAS, native))


def reoriented(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels in LAS orientation, float32, and their affine."""
    las = orientations.apply_orientation(data, _to_las(affine)).astype(np.float32, copy=False)
    return las, affine @ orientations.inv_ornt_aff(_to_las(affine), data.shape)


def to_las(image: nib.spatialimages.SpatialImage) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of an image in LAS orientation, float32, and their size in mm, (3,)."""
    data, affine = reoriented(np.asarray(image.dataobj), image.affine)
    return data, nib.affines.voxel_sizes(affine)


def _to_las(affine: np.ndarray) -> np.ndarray:
    return orientations.ornt_transform(orientation(affine), _LAS)


def steps(las_affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Return the steps of the working grid in voxels of the LAS image, (3,).

    Sizes are rounded to a nanometre, so that headers in single precision agree.

    Examples
    --------
    >>> steps(np.diag([-0.5, 0.25, 5, 1]), 0.25)
    array([0.5, 1. , 1. ])
    """
    sizes = np.round(nib.affines.voxel_sizes(las_affine), 6)
    return np.array([round(spacing_mm, 6) / sizes[0], round(spacing_mm, 6) / sizes[1], 1.0])


def _sample_slices(data: np.ndarray, step: np.ndarray, shape) -> np.ndarray:
    """Resample every slice linearly; both fields of view begin at the same corner."""
    sampled = np.empty(shape, np.float32)
    for k in range(shape[2]):
        # slice by slice: a voxel that is not finite must not spread to the slices beside it
        sample(data[..., k], step, sampled[..., k])
    return sampled


def sample(
    plane: np.ndarray, step: np.ndarray, output: np.ndarray, *, first=(0, 0), origin=(0, 0)
) -> None:
    """Resample a part of a slice to a part of another grid, by linear interpolation.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels of the slice, 2-D.
    step : numpy.ndarray
        (2,), pixels of the other grid in pixels of the slice. The fields of view of both begin at
        the same corner.
    output : numpy.ndarray
        float32, 2-D: the result. Beyond the outermost pixel centres the nearest pixel counts.
    first, origin : (int, int)
        Row and column of the first pixel of `output` on its grid, and of `plane` on its own.

    Examples
    --------
    >>> output = np.empty((1, 3), np.float32)
    >>> sample(np.array([[0.0, 1.0, 2.0]]), np.array([1, 0.5]), output, first=(0, 2))
    >>> output
    array([[0.75, 1.25, 1.75]], dtype=float32)
    """
    start = step / 2 - 0.5 + step * first - origin
    ndimage.affine_transform(
        plane, step, start, output_shape=output.shape, output=output, order=1, mode="nearest"
    )
