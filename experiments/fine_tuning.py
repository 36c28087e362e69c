"""Measure the gain from fine-tuning on about 20 annotated slices of another contrast.

    python experiments/fine_tuning.py SHARED_DATA MODEL OUT

The second contrast is simulated, because no scans with masks are available: the values of t2starw-
multicentre are inverted, so that GM is darker than WM. MODEL was not trained on subject 9584
(a fold of experiments/default_model/folds.py). It is fine-tuned on the 20 slices of the first
session of 10062; a network from scratch is trained on the same slices. The script prints the Dice
of both on 9584.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from gmseg import load_model
from gmseg.datasets.folders import bids_scans
from gmseg.io import image
from gmseg.models.registry import load_network
from gmseg.training.protocol import load_protocol
from gmseg.training.train import train
from gmseg.training.validation import mean_dice, read_cases

TRAINED_ON, HELD_OUT = "sub-10062Ses1", "9584"
STEPS = 150


def main() -> None:
    """Write the inverted scans, train both networks, print their Dice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    model = load_model(chosen.model)
    if HELD_OUT in model.trained_on:
        sys.exit(f"{chosen.model}: was trained on {HELD_OUT}; give the fold without that subject")
    inverted = chosen.out / "inverted"
    if not inverted.exists():
        write_inverted(chosen.data / "t2starw-multicentre", inverted)
    protocol = load_protocol("default")
    protocol = dataclasses.replace(
        protocol,
        optimiser=dataclasses.replace(protocol.optimiser, steps=STEPS, validate_every=50),
        phantoms=dataclasses.replace(protocol.phantoms, share=0.0, count=0),
    )
    cases = read_cases([s for s in bids_scans(inverted) if s.subject == HELD_OUT], model)
    print(f"before fine-tuning: Dice {mean_dice(load_network(model), cases):.3f}")
    for name, start in (("fine-tuned", model), ("from scratch", None)):
        with tqdm(desc=name, total=STEPS) as bar:
            trained = train(
                inverted,
                chosen.out / name.replace(" ", "-"),
                protocol=protocol,
                split=HELD_OUT,
                start=start,
                seed=1,
                progress=lambda _, bar=bar: bar.update(),
            )
        print(f"{name}, {STEPS} steps: Dice {mean_dice(load_network(trained), cases):.3f}")


def write_inverted(data: Path, out: Path) -> None:
    """Write a BIDS folder of inverted scans: one session to train on, one subject to test on."""
    for item in bids_scans(data):
        if not item.name.startswith(TRAINED_ON) and item.subject != HELD_OUT:
            continue
        scan = image.read_scan(item.scan)
        values = np.asarray(scan.dataobj)
        inverted = np.clip(np.percentile(values, 99.5) - values, 0, None).astype(np.float32)
        for source, written in (
            (item.scan, image.like_scan(scan, inverted)),
            (item.references[0], nib.load(item.references[0])),
            (item.cord, nib.load(item.cord)),
        ):
            file = out / source.relative_to(data)
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(written, file)


if __name__ == "__main__":
    main()
