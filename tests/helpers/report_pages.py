"""Small reports for tests: a scan with a bright bar, and readers of the files of a report."""

import base64
import gzip
import json
import re

import nibabel as nib
import numpy as np
from orientations import ROTATION, a_scan
from scipy import ndimage

from gmseg.report import qc_page


def bar_and_mask(shape=(60, 56, 6), spacing=(0.7, 0.6, 3.0), rotation=ROTATION):
    """Return a scan in LAS with a bright bar on the patient's left in front, and its mask."""
    scan = a_scan(shape, spacing, rotation)
    data = np.full(shape, 50, np.float32) + np.arange(shape[2])
    mask = np.zeros(shape, np.uint8)
    for k in range(shape[2]):  # rows run from right to left, columns from posterior to anterior
        mask[38:44, 30 + k : 42, k] = 1
    data[mask > 0] = 150
    return nib.Nifti1Image(data, scan.affine), nib.Nifti1Image(mask, scan.affine)


def cord_around(mask):
    """Return a cord mask that reaches 4 voxels beyond a mask of a bar in every slice."""
    data = ndimage.binary_dilation(np.asarray(mask.dataobj), np.ones((9, 9, 1)))
    return nib.Nifti1Image(data.astype(np.uint8), mask.affine)


def add(folder, pair, tmp_path, name="scan.nii.gz", **choices):
    """Save a scan and a mask, add them to a report, and return the folder of the scan."""
    for image, file in zip(pair, (name, "mask_" + name), strict=True):
        nib.save(image, tmp_path / file)
    return qc_page.add_scan(folder, tmp_path / name, tmp_path / ("mask_" + name), **choices)


def facts_of(place):
    text = (place / "facts.js").read_text()
    start, content = text.split(" = ", 1)
    assert start == f'gmseg.scans["{place.name}"]'
    return json.loads(content.rstrip(";\n"))


def volumes_of(place):
    text = (place / "volumes.js").read_text()
    packed = json.loads(text.split(" = ", 1)[1].rstrip(";\n"))
    return {
        kind: nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content)))
        for kind, content in packed.items()
    }


def index_of(folder):
    page = (folder / "index.html").read_text()
    return json.loads(re.search(r'id="report">(.*?)</script>', page)[1])
