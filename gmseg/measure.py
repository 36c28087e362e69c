"""Areas, volumes, and flags that say when not to trust them."""

from __future__ import annotations

import nibabel as nib
import numpy as np

MIN_AREA_MM2 = 2.0
MAX_AREA_MM2 = 45.0


def slice_axis(affine: np.ndarray) -> int:
    """Return the array axis that runs from foot to head."""
    return int(np.flatnonzero(nib.orientations.io_orientation(affine)[:, 0] == 2)[0])


def runs_downwards(affine: np.ndarray) -> bool:
    """Return whether the slices of an array are stored from head to foot."""
    return nib.orientations.io_orientation(affine)[slice_axis(affine), 1] < 0


def slice_areas_mm2(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the area in every slice, in mm^2, in the order of the slice axis.

    Parameters
    ----------
    mask : numpy.ndarray
        (x, y, z): a mask, or a soft segmentation (then each voxel counts by its share).
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    numpy.ndarray
        float64, (slices,). Within the slice plane as it was scanned: no correction for
        slices that are oblique to the cord.
    """
    axis = slice_axis(affine)
    in_plane = [a for a in range(3) if a != axis]
    pixel_mm2 = np.linalg.norm(np.cross(*affine[:3, in_plane].T))
    return np.asarray(mask, float).sum(axis=tuple(in_plane)) * pixel_mm2


def volume_mm3(mask: np.ndarray, affine: np.ndarray) -> float:
    """Return the volume of a mask or soft segmentation, in mm^3."""
    return float(np.asarray(mask, float).sum() * abs(np.linalg.det(affine[:3, :3])))


def header_flags(scan: nib.Nifti1Image, shape) -> list[str]:
    """Say in words what is suspicious about where a scan's header puts its voxels.

    Parameters
    ----------
    scan : nibabel.Nifti1Image
        An image with the scan's header.
    shape : tuple of int
        The scan's.

    Returns
    -------
    list of str
    """
    flags = []
    codes = [int(scan.header[field]) for field in ("qform_code", "sform_code")]
    if codes == [0, 0]:
        flags.append("the header does not say how the scan lies: left and right are a guess")
    if all(codes):
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
        q, s = (nib.affines.apply_affine(a, corners) for a in (scan.get_qform(), scan.get_sform()))
        if np.abs(q - s).max() > 1:
            flags.append("qform and sform differ by more than 1 mm: the sform was used")
    sizes = nib.affines.voxel_sizes(scan.affine)
    axis = slice_axis(scan.affine)
    if max(np.delete(sizes, axis)) > 1.5 * sizes[axis]:
        flags.append("the scan does not look axial: its slices are thinner than its pixels")
    return flags


def find_flags(
    areas_mm2: np.ndarray, *, at_border: np.ndarray, searched: bool = False
) -> list[str]:
    """Say in words what is suspicious about a segmentation.

    Parameters
    ----------
    areas_mm2 : numpy.ndarray
        GM area per slice.
    at_border : numpy.ndarray
        bool (slices,): GM reaches the border of the window.
    searched : bool
        Whether the whole field of view was looked at.

    Returns
    -------
    list of str
        Empty where nothing is suspicious. Slices are counted from 0.
    """
    areas_mm2 = np.asarray(areas_mm2)
    empty = areas_mm2 == 0
    if empty.all():
        where = "the cord may lie outside the window; give its place with --centre X,Y or --cord"
        if searched:
            where = "nowhere in the field of view; is it an axial T2*-weighted scan of the cord?"
        return [f"no gray matter found: {where}"]
    flags = []
    for wrong, what in (
        (empty, "no gray matter found"),
        (~empty & (areas_mm2 < MIN_AREA_MM2), f"area below {MIN_AREA_MM2:g} mm^2"),
        (areas_mm2 > MAX_AREA_MM2, f"area above {MAX_AREA_MM2:g} mm^2"),
        (at_border, "gray matter at the border of the window"),
    ):
        if np.any(wrong):
            flags.append(f"{what} in slice {_ranges(np.flatnonzero(wrong))}")
    return flags


def _ranges(numbers: np.ndarray) -> str:
    """Return 0, 1, 2, 5 as ``0-2, 5``."""
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)
