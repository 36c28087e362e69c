"""Print the Dice of models on the labelled scans.

    python experiments/scores.py SHARED_DATA MODEL...

SHARED_DATA is that of cross_validation.py. Dice is over the slices that the reference labels, on
the native grid, threshold 0.5, with the windows localised and on the cord mask. Scans
that a model was trained on are marked.
"""

import sys
from pathlib import Path

import numpy as np
from cases import multicentre_cases, small_field_case

from gmseg import dice_labelled, load_model, segment


def main(data, *names):
    """Print the table."""
    models = [load_model(name) for name in names]
    print("| scan | " + " | ".join(f"{m.name}, localised | {m.name}, cord" for m in models) + " |")
    print("|---|" + "--:|" * 2 * len(models))
    for case in [*multicentre_cases(Path(data)), small_field_case(Path(data))]:
        cells = []
        for model in models:
            mark = " (trained on it)" if case.name in model.trained_on else ""
            for window in ({}, {"cord": case.cord}):
                mask = segment(case.scan, model, threshold=0.5, **window).mask
                score = dice_labelled(np.asarray(mask.dataobj), case.reference, case.axis)
                cells.append(f"{score:.3f}{mark}")
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
