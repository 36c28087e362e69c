"""Viewer for notebooks: interactive where ipyniivue is installed, else a figure."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from gmseg.io.image import like_scan
from gmseg.report.overlays import draw_overlay


def view(scan, mask, **overlay_options):
    """Return a view of a scan with its mask: interactive with ipyniivue, else a figure.

    Parameters
    ----------
    scan, mask : nibabel image
        Scan and mask on one grid, in any orientation.
    **overlay_options
        Options of `gmseg.report.overlays.draw_overlay` for the figure.

    Returns
    -------
    ipyniivue.NiiVue or matplotlib.figure.Figure
        Last line of a notebook's cell. ``pip install ipyniivue`` gives the interactive viewer,
        which shows three planes that follow the mouse.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError:
        return draw_overlay(scan, mask, **overlay_options)
    viewer = NiiVue()
    viewer.load_volumes(
        [
            {"data": _nifti_bytes(scan), "name": "scan.nii"},
            {
                "data": _nifti_bytes(mask),
                "name": "mask.nii",
                "colormap": "warm",
                "opacity": 0.5,
                "cal_min": 0.4,
                "cal_max": 1.2,
            },
        ]
    )
    return viewer


def _nifti_bytes(image) -> bytes:
    """Return an image as an uncompressed NIfTI-1 file, in a type that every viewer reads."""
    values = np.asanyarray(image.dataobj)
    dtype = np.uint8 if values.dtype in (bool, np.uint8) else np.float32
    plain = like_scan(image, values.astype(dtype))
    return nib.Nifti1Image(plain.dataobj, image.affine).to_bytes()
