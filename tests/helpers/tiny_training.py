"""A data set and a protocol that are small enough for a test."""

import dataclasses

import nibabel as nib
import numpy as np

from gmseg.datasets.phantom import make_phantom
from gmseg.training.protocol import Phantoms, load_protocol


def small(**changes):
    """The default protocol, small enough for a test."""
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
    """A BIDS folder with two made-up subjects, one of them scanned twice."""
    for i, name in enumerate(("sub-aSes1_T2starw", "sub-aSes2_T2starw", "sub-b_T2starw")):
        made = make_phantom(seed=i, spacing_mm=(0.5, 0.5, 5), shape=(110, 110, 2))
        gm = (np.asarray(made.mask.dataobj) == 1).astype(np.uint8)
        gm[..., 1 - i % 2] = 0  # each rater labelled one slice
        inner = f"{name.split('_')[0]}/anat"
        for folder, data, end in (
            (root / inner, made.image, ""),
            (
                root / "derivatives/labels" / inner,
                nib.Nifti1Image(gm, made.image.affine),
                "_gmseg-manual",
            ),
        ):
            folder.mkdir(parents=True)
            nib.save(data, folder / f"{name}{end}.nii.gz")
    return root
