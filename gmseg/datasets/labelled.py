"""Read labelled scans, and check all of them before work starts."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from gmseg.datasets.folders import LabelledScan
from gmseg.errors import InputError
from gmseg.evaluation.evaluate import majority
from gmseg.io import image as scan_image
from gmseg.io.grids import displacement_mm, orientation_onto
from gmseg.io.image_file import open_image


def read_labelled(item: LabelledScan) -> tuple[nib.Nifti1Image, list[np.ndarray]]:
    """Read a scan and its references.

    Returns
    -------
    scan : nibabel.Nifti1Image
    references : list of numpy.ndarray
        bool, the scan's shape, one per rater.

    Raises
    ------
    gmseg.errors.InputError
        If a file cannot be read, or a reference does not fit the scan.
    """
    scan = scan_image.read_scan(item.scan)
    if not np.isfinite(np.asarray(scan.dataobj)).all():
        raise InputError(f"{item.scan}: contains NaN or infinite voxels; replace them")
    challenge = item.gm_label is not None
    return scan, [
        scan_image.read_mask(file, scan, what="reference", label=item.gm_label, voxelwise=challenge)
        for file in item.references
    ]


def check_scans(scans: list[LabelledScan]) -> list[str]:
    """Read every file and describe the data.

    Returns
    -------
    list of str
        The number of scans, subjects, sites and raters; then a line for everything unusual
        that does not prevent the use of a scan.

    Raises
    ------
    gmseg.errors.InputError
        If a file cannot be used; the message lists the faults of all files.
    """
    faults, notes = [], []
    files = [item.scan.resolve() for item in scans]
    if repeated := {file.name for file in files if files.count(file) > 1}:
        faults.append(f"{', '.join(sorted(repeated))}: given twice")
    raters = max(len(item.references) for item in scans)
    for item in scans:
        try:
            notes += _check_scan(item, raters)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(f"{len(faults)} of {len(scans)} scans cannot be used: {'; '.join(faults)}")
    sites = {item.site for item in scans} - {""}
    automatic = sum(not item.manual for item in scans)
    summary = f"{len(scans)} scans of {len({item.subject for item in scans})} subjects"
    summary += f" at {len(sites)} sites" if sites else ""
    summary += f", up to {raters} raters" if raters > 1 else ""
    summary += f", {automatic} of them with automatic masks" if automatic else ""
    return [summary, *notes]


def _check_scan(item: LabelledScan, raters: int) -> list[str]:
    """Read one scan and its masks, and return what is unusual."""
    scan, masks = read_labelled(item)
    if item.cord is not None:
        scan_image.read_mask(item.cord, scan, what="cord mask")
    notes = []
    if len(item.references) < raters:
        notes.append(f"{item.name}: {len(item.references)} of {raters} raters")
    for file in item.references:
        mask = open_image(file)
        if orientation_onto(mask, scan) is None:
            displaced_mm = displacement_mm(mask.affine, scan.affine, scan.shape)
            notes.append(
                f"{file.name}: displaced by up to {displaced_mm:.3g} mm against the image; "
                f"taken voxel by voxel"
            )
    if not majority(masks).any():
        notes.append(f"{item.name}: no voxel is gray matter for most raters")
    return notes
