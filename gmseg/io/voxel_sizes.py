"""Check the voxel grid in a header: affine, voxel sizes and units."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel import orientations

from gmseg.core import geometry
from gmseg.errors import InputError

_UNITS = {1: ("metres", 1000.0), 3: ("microns", 0.001)}
"""Codes of the header for units other than mm: name, and mm per unit."""
_IN_PLANE_LIMITS_MM = (0.01, 5.0)
_SLICE_LIMITS_MM = (0.01, 50.0)
_FIELD_LIMIT_MM = 3000.0  # along the cord
_FIELD_IN_PLANE_MM = 1000.0  # wider than the bore of any scanner
_ORIGIN_LIMIT_MM = 1e5  # beyond it, single precision moves voxels by more than 0.01 mm


def check_geometry(name, image, shape) -> None:
    """Raise InputError unless the header describes a possible voxel grid, in mm."""
    affine = image.affine
    if not np.isfinite(affine).all():
        raise InputError(f"{name}: the affine contains NaN or infinity; repair the header")
    if not np.array_equal(affine[3], [0, 0, 0, 1]):  # from a .mat file beside the image
        raise InputError(f"{name}: the affine's last row is not 0, 0, 0, 1; repair the header")
    if np.abs(affine[:3, 3]).max() > _ORIGIN_LIMIT_MM:
        raise InputError(
            f"{name}: lies {np.abs(affine[:3, 3]).max():g} mm from its origin; repair the header"
        )
    with np.errstate(all="ignore"):
        sizes = nib.affines.voxel_sizes(affine)
    text = " x ".join(f"{size:g}" for size in sizes)
    remedy = "repair the header's voxel size or affine"
    if (sizes == 0).any():
        raise InputError(f"{name}: a voxel size is zero ({text} mm); {remedy}")
    unit, factor = unit_of(image) or ("mm", 1.0)
    if factor != 1 and not _are_possible(sizes, shape) and _are_possible(sizes * factor, shape):
        raise InputError(
            f"{name}: its voxel sizes are in {unit} ({text}); convert the header to mm"
        )
    with np.errstate(all="ignore"):
        ornt = orientations.io_orientation(affine)
    if np.isnan(ornt).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f"{name}: the affine is singular (axes coincide); {remedy}")
    _check_sizes(name, affine, shape, sizes)


def _are_possible(sizes: np.ndarray, shape) -> bool:
    """Return whether voxel sizes in mm are possible for a scan, of any orientation."""
    lengths = sizes * shape
    return bool(
        (sizes >= _IN_PLANE_LIMITS_MM[0]).all()
        and (sizes <= _SLICE_LIMITS_MM[1]).all()
        and np.count_nonzero(sizes > _IN_PLANE_LIMITS_MM[1]) <= 1
        and (lengths <= _FIELD_LIMIT_MM).all()
        and np.count_nonzero(lengths > _FIELD_IN_PLANE_MM) <= 1
    )


def _check_sizes(name, affine: np.ndarray, shape, sizes: np.ndarray) -> None:
    """Refuse voxel sizes that no scan has, and thick slices that are not axial."""
    slice_axis = geometry.slice_axis(affine)
    text = " x ".join(f"{size:g}" for size in sizes)
    in_plane = np.delete(np.arange(3), slice_axis)
    longest_mm = (sizes * shape)[in_plane].max()
    if not _are_possible(sizes, shape) or longest_mm > _FIELD_IN_PLANE_MM:
        raise InputError(
            f"{name}: voxel sizes of {text} mm with shape {tuple(shape)} are implausible for an "
            f"axial scan; repair the header's voxel size or affine"
        )
    if sizes[in_plane].max() > _IN_PLANE_LIMITS_MM[1]:
        raise InputError(
            f"{name}: is not axial: its slices of {sizes.max():g} mm lean more than 75 degrees "
            f"from axial; give an axial scan, or repair the header's affine"
        )


def unit_of(image) -> tuple[str, float] | None:
    """Return the name of a header's unit of length and mm per unit, or None if it is mm.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    >>> image.header.set_xyzt_units("micron")
    >>> unit_of(image)
    ('microns', 0.001)
    """
    if not isinstance(image, nib.Nifti1Pair):
        return None
    return _UNITS.get(int(image.header["xyzt_units"]) & 7)
