"""The demonstration: the sample that travels with gmseg, segmented and compared."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg.evaluation.metrics import dice
from gmseg.inference.segment import segment
from gmseg.io.files import atomic_path, check_folder, check_output
from gmseg.io.image import write_image
from gmseg.io.resources import bundled


def run_demo(out_dir, *, overwrite: bool = False) -> list[str]:
    """Segment the sample with the default model and write the mask and a picture.

    Parameters
    ----------
    out_dir : path-like
        Created if missing.
    overwrite : bool
        Replace an earlier demonstration's files.

    Returns
    -------
    list of str
        What to tell the user, a line each.
    """
    from gmseg.report.overlays import draw_overlay

    out_dir = check_folder(Path(out_dir))
    out_dir.mkdir(parents=True, exist_ok=True)
    mask_file, picture = out_dir / "phantom_t2s_gmseg.nii.gz", out_dir / "phantom_t2s_overlay.png"
    for file in (mask_file, picture):
        check_output(file, overwrite=overwrite)
    scan = nib.load(bundled("data/sample/phantom_t2s.nii.gz"))
    truth = nib.load(bundled("data/sample/phantom_t2s_gm.nii.gz"))
    result = segment(scan)
    write_image(result.mask, mask_file)
    overlay = draw_overlay(scan, result.mask, reference=truth, title="gmseg demo: a made-up cord")
    with atomic_path(picture) as temporary:
        overlay.savefig(temporary, dpi=120, facecolor=overlay.get_facecolor())
    agreement = dice(np.asarray(result.mask.dataobj), np.asarray(truth.dataobj))
    areas = ", ".join(f"{area:.1f}" for area in result.summary.area_mm2)
    return [
        f"mask      {mask_file}",
        f"picture   {picture}",
        f"Dice      {agreement:.3f} against the truth of this made-up cord (not a real scan)",
        f"area      {areas} mm^2, slice by slice",
        f"time      {result.summary.seconds:.1f} s, loading the network included",
    ]
