"""Score models on labelled scans: ``python experiments/scores.py FOLDER MODEL...``.

FOLDER holds ``t2starw-multicentre`` (BIDS, masks under derivatives/labels) and
``t2s-small-fov``. Prints, as a table, the Dice of every model on every scan: over the slices that
the reference labels, on the scan's own grid, threshold 0.5, with the window at the image's centre,
and with the window on the cord mask. Scans that a model was trained on are marked.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from gmseg import dice_labelled, load_model, segment
from gmseg.core.geometry import slice_axis
from gmseg.datasets.folders import bids_scans


def labelled(folder):
    """Yield name, scan, reference and cord mask of every labelled scan."""
    for item in bids_scans(folder / "t2starw-multicentre"):
        cord = item.cord
        yield item.name, item.scan, item.references[0], cord
    files = [folder / "t2s-small-fov" / f"t2s{end}.nii.gz" for end in ("", "_gmseg_manual", "_seg")]
    yield "t2s-small-fov", *files


def main(folder, *models):
    """Print the table."""
    models = [load_model(name) for name in models]
    print("| scan | " + " | ".join(f"{m.name}, image | {m.name}, cord" for m in models) + " |")
    print("|---|" + "--:|" * 2 * len(models))
    for name, scan, reference, cord in labelled(Path(folder)):
        truth = nib.load(reference)
        gm = np.asarray(truth.dataobj) > 0.5
        cells = []
        for model in models:
            seen = " (trained on it)" if name in model.trained_on else ""
            for where in ({"centre": "image"}, {"cord": cord}):
                mask = np.asarray(segment(scan, model, threshold=0.5, **where).mask.dataobj)
                cells.append(f"{dice_labelled(mask, gm, slice_axis(truth.affine)):.3f}{seen}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
