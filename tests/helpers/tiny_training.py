"""A dataset and a protocol small enough for a test."""

import dataclasses

import nibabel as nib
import numpy as np

from gmseg.datasets.phantom import make_phantom
from gmseg.training.protocol import Phantoms, load_protocol


def small(**changes):
    """Return the default protocol with small windows and few steps."""
    protocol = load_protocol()
    return dataclasses.replace(
        protocol,
        windows=dataclasses.replace(protocol.windows, size=24, batch=2),
        phantoms=Phantoms(share=0.3, count=1, slices=1),
        optimiser=dataclasses.replace(
            protocol.optimiser, **({"steps": 8, "validate_every": 4} | changes)
        ),
    )


def write_dataset(root):
    """Write a BIDS folder of two synthetic subjects, one with two sessions, and return it."""
    for i, name in enumerate(("sub-aSes1_T2starw", "sub-aSes2_T2starw", "sub-b_T2starw")):
        phantom = make_phantom(seed=i, spacing_mm=(0.5, 0.5, 5), shape=(110, 110, 2))
        gm = (np.asarray(phantom.mask.dataobj) == 1).astype(np.uint8)
        gm[..., 1 - i % 2] = 0  # only one slice is labelled
        inner = f"{name.split('_')[0]}/anat"
        for folder, data, end in (
            (root / inner, phantom.image, ""),
            (
                root / "derivatives/labels" / inner,
                nib.Nifti1Image(gm, phantom.image.affine),
                "_gmseg-manual",
            ),
        ):
            folder.mkdir(parents=True)
            nib.save(data, folder / f"{name}{end}.nii.gz")
    return root
