"""Look at a scan and its mask in a notebook: turn it around where a viewer is installed."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from gmseg.io.image import like_scan
from gmseg.report.overlays import draw_overlay


def view(scan, mask, **how):
    """Show a scan with its mask: interactive with ipyniivue, else as a figure.

    Parameters
    ----------
    scan, mask : nibabel image
        On one grid, in any orientation.
    **how
        For `gmseg.report.overlays.draw_overlay`, where it is what is shown.

    Returns
    -------
    ipyniivue.NiiVue or matplotlib.figure.Figure
        The last line of a notebook's cell. ``pip install ipyniivue`` gives the former: all three
        directions at once, which follow the mouse.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError:
        return draw_overlay(scan, mask, **how)
    viewer = NiiVue()
    viewer.load_volumes(
        [
            {"data": _as_bytes(scan), "name": "scan.nii"},
            {
                "data": _as_bytes(mask),
                "name": "mask.nii",
                "colormap": "warm",
                "opacity": 0.5,
                "cal_min": 0.4,
                "cal_max": 1.2,
            },
        ]
    )
    return viewer


def _as_bytes(image) -> bytes:
    """Return an image as an uncompressed NIfTI-1 file, in a type that every viewer reads."""
    values = np.asanyarray(image.dataobj)
    wanted = np.uint8 if values.dtype in (bool, np.uint8) else np.float32
    plain = like_scan(image, values.astype(wanted))
    return nib.Nifti1Image(plain.dataobj, image.affine).to_bytes()
