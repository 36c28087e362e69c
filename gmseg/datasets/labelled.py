"""Labelled scans on disk: which files belong together, and which belong to one subject."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from gmseg.datasets.folders import LabelledScan
from gmseg.errors import InputError
from gmseg.evaluation.evaluate import majority
from gmseg.io import image as gm_image

# ------------------------------------------------------------------------------------- read


def read_labelled(item: LabelledScan) -> tuple[nib.Nifti1Image, list[np.ndarray]]:
    """Read a scan and its references: nibabel image, and bool masks of its shape."""
    scan = gm_image.read_scan(item.scan)
    if not np.isfinite(np.asarray(scan.dataobj)).all():
        raise InputError(f"{item.scan}: holds NaN or infinite voxels; replace them to train on it")
    challenge = item.gm_label is not None
    return scan, [
        gm_image.read_mask(
            file, scan, what="reference", label=item.gm_label, voxelwise=challenge, one_value=True
        )
        for file in item.references
    ]


def check_scans(scans: list[LabelledScan]) -> list[str]:
    """Read every file and describe what was found.

    Parameters
    ----------
    scans : list of LabelledScan

    Returns
    -------
    list of str
        Lines to show before anything starts: how many scans, subjects, sites and raters
        there are, and what is odd though usable.

    Raises
    ------
    gmseg.errors.InputError
        With every fault of every file.
    """
    faults, notes = [], []
    files = [item.scan.resolve() for item in scans]
    if twice := {file.name for file in files if files.count(file) > 1}:
        faults.append(f"{', '.join(sorted(twice))}: given twice")
    raters = max(len(item.references) for item in scans)
    for item in scans:
        try:
            scan, masks = read_labelled(item)
            if item.cord is not None:
                gm_image.read_mask(item.cord, scan, what="cord mask")
        except InputError as error:
            faults.append(str(error))
            continue
        if len(item.references) < raters:
            notes.append(f"{item.name}: {len(item.references)} of {raters} raters")
        for file in item.references:
            difference = gm_image.affine_difference_mm(nib.load(file).affine, scan.affine)
            if difference > gm_image.GRID_MM:
                notes.append(
                    f"{file.name}: affine differs from the image's by {difference:.3g} mm; "
                    f"taken voxel by voxel"
                )
        if not majority(masks).any():
            notes.append(f"{item.name}: its raters have no majority anywhere")
    if faults:
        raise InputError(f"{len(faults)} of {len(scans)} scans cannot be used: {'; '.join(faults)}")
    sites = {item.site for item in scans} - {""}
    automatic = sum(not item.manual for item in scans)
    summary = f"{len(scans)} scans of {len({item.subject for item in scans})} subjects"
    summary += f" at {len(sites)} sites" if sites else ""
    summary += f", up to {raters} raters" if raters > 1 else ""
    summary += f", {automatic} of them with automatic masks" if automatic else ""
    return [summary, *notes]


# ------------------------------------------------------------------------------------ split
