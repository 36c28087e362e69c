"""Measure what fine-tuning on about 20 annotated slices of another contrast gains.

    python experiments/fine_tuning.py SHARED_DATA MODEL OUT

No second contrast with masks is at hand, so one is made up: the scans of t2starw-multicentre with
their values turned round, bright for dark, GM darker than WM. MODEL is one that never saw subject
9584 (a fold of experiments/default_model.py). It goes on with the 20 slices of 10062's first
session, and so does a network from scratch; all are scored on 9584.
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
    """Write the inverted scans, train both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    model = load_model(chosen.model)
    if HELD_OUT in model.trained_on:
        sys.exit(f"{chosen.model}: was trained on {HELD_OUT}; give its fold's model")
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
    """Write a BIDS folder of one scan to train on and one to score, bright for dark."""
    for item in bids_scans(data):
        if not item.name.startswith(TRAINED_ON) and item.subject != HELD_OUT:
            continue
        scan = image.read_scan(item.scan)
        values = np.asarray(scan.dataobj)
        turned = np.clip(np.percentile(values, 99.5) - values, 0, None).astype(np.float32)
        for source, written in (
            (item.scan, image.like_scan(scan, turned)),
            (item.references[0], nib.load(item.references[0])),
            (item.cord, nib.load(item.cord)),
        ):
            file = out / source.relative_to(data)
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(written, file)


if __name__ == "__main__":
    main()
