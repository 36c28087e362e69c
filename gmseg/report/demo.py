"""Demonstration: segment the sample that comes with the package, and compare the mask."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from gmseg.evaluation.metrics import dice
from gmseg.inference.segment import segment
from gmseg.inference.summary import Summary
from gmseg.io.files import atomic_path, check_folder, check_output
from gmseg.io.image import write_image
from gmseg.io.resources import bundled


class Demo(NamedTuple):
    """Result of `run_demo`.

    Attributes
    ----------
    mask_file, picture_file : pathlib.Path
        Mask, and a figure of its outline next to that of the reference.
    dice : float
        Dice of the mask with the reference.
    summary : Summary
        Settings and measurements.
    """

    mask_file: Path
    picture_file: Path
    dice: float
    summary: Summary


def run_demo(out_dir, *, overwrite: bool = False) -> Demo:
    """Segment the sample with the default model, and write the mask and a picture.

    Parameters
    ----------
    out_dir : path-like
        Folder of the files; created if missing.
    overwrite : bool
        Whether to replace the files of an earlier demonstration.

    Raises
    ------
    gmseg.errors.InputError
        If a file exists or cannot be written.
    """
    from gmseg.report.overlays import draw_overlay

    out_dir = check_folder(Path(out_dir))
    out_dir.mkdir(parents=True, exist_ok=True)
    mask_file = out_dir / "phantom_t2s_gmseg.nii.gz"
    picture_file = out_dir / "phantom_t2s_overlay.png"
    for file in (mask_file, picture_file):
        check_output(file, overwrite=overwrite)
    scan = nib.Nifti1Image.from_filename(bundled("data/sample/phantom_t2s.nii.gz"))
    reference = nib.Nifti1Image.from_filename(bundled("data/sample/phantom_t2s_gm.nii.gz"))
    result = segment(scan)
    write_image(result.mask, mask_file, overwrite=overwrite)
    title = "gmseg demo: a synthetic phantom"
    overlay = draw_overlay(scan, result.mask, reference=reference, title=title)
    with atomic_path(picture_file, overwrite=overwrite) as temporary:
        overlay.savefig(temporary, dpi=120, facecolor=overlay.get_facecolor())
    score = dice(np.asarray(result.mask.dataobj), np.asarray(reference.dataobj))
    return Demo(mask_file, picture_file, score, result.summary)
