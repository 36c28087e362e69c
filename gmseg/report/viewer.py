"""Viewers for notebooks: interactive where that works, else figures."""

from __future__ import annotations

import base64
import io
import uuid

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from gmseg.core.geometry import slice_axis
from gmseg.io.image import like_scan
from gmseg.report.overlays import draw_overlay, draw_slice_with_side_view

_STATIC = 3
"""Slices that a page shows where no slider works."""
_DPI, _QUALITY = 60, 75  # small files: a notebook stores all slices


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


class SliceBrowser:
    """One slice at a time with a slider, for the last line of a notebook's cell.

    The slider needs neither a running notebook nor widgets: it also works on a page made of a
    stored notebook. Where scripts do not run, such a page shows three slices, one below the other,
    and where HTML is not shown either, the picture of the slice in the middle.

    Parameters
    ----------
    scan, mask : nibabel image
        Scan and mask on one grid, in any orientation.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.ones((20, 20, 2), np.float32), np.diag([-1, 1, 5, 1]))
    >>> sorted(SliceBrowser(image, image)._repr_mimebundle_())
    ['image/jpeg', 'text/html', 'text/plain']
    """

    def __init__(self, scan, mask):
        count = scan.shape[slice_axis(scan.affine)]
        self.pictures = [_jpeg(draw_slice_with_side_view(scan, mask, k)) for k in range(count)]

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        """Return the pictures in the formats among which a frontend chooses."""
        count = len(self.pictures)
        static = {round((i + 0.5) * count / _STATIC - 0.5) for i in range(_STATIC)}
        images = [
            f'<img src="data:image/jpeg;base64,{picture}" alt="slice {k}" '
            f'style="display: {"block" if k in static else "none"}">'
            for k, picture in enumerate(self.pictures)
        ]
        html = _BROWSER.format(
            id=f"slices-{uuid.uuid4().hex}",
            last=count - 1,
            middle=count // 2,
            images="\n".join(images),
        )
        return {
            "text/html": html,
            "image/jpeg": self.pictures[count // 2],
            "text/plain": f"{count} slices",
        }


# the slider appears only where the script runs
_BROWSER = """<div id="{id}">
<label style="display: none">slice <input type="range" min="0" max="{last}" value="{middle}">
<output>{middle}</output></label>
{images}
</div>
<script>
(() => {{
  const box = document.getElementById("{id}");
  const show = () => {{
    const k = Number(box.querySelector("input").value);
    box.querySelector("output").value = k;
    box.querySelectorAll("img").forEach((img, i) => {{
      img.style.display = i === k ? "block" : "none";
    }});
  }};
  box.querySelector("label").style.display = "block";
  box.querySelector("input").addEventListener("input", show);
  show();
}})();
</script>"""


def _jpeg(figure: Figure) -> str:
    """Return a figure as JPEG in base64."""
    buffer = io.BytesIO()
    options = {"quality": _QUALITY}
    figure.savefig(
        buffer, format="jpeg", dpi=_DPI, facecolor=figure.get_facecolor(), pil_kwargs=options
    )
    return base64.b64encode(buffer.getvalue()).decode()


def _nifti_bytes(image) -> bytes:
    """Return an image as an uncompressed NIfTI-1 file, in a type that every viewer reads."""
    values = np.asanyarray(image.dataobj)
    dtype = np.uint8 if values.dtype in (bool, np.uint8) else np.float32
    plain = like_scan(image, values.astype(dtype))
    return nib.Nifti1Image(plain.dataobj, image.affine).to_bytes()
