"""Train the default model and the folds of its cross-validation on openly licensed scans.

    python experiments/default_model.py SHARED_DATA PUBLISHED_WEIGHTS OUT [--only STAGE ...]

SHARED_DATA contains t2starw-multicentre, t2star-unlabelled and amu7t-template. The stages in OUT
are skipped if completed, and resumed if interrupted:

unlabelled/       the scans without masks, with automatic masks by the published network
variety/          a first model, trained on phantoms and on template cross-sections in the slices
                  of the unlabelled subject; it is not trained on subjects with a reference
trained/SUBJECT/  the first model, trained further on all other subjects
folds/SUBJECT/    the mean of the weights of both
final/            the same on all subjects (trained/all): models/default
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from gmseg.core import geometry, pipeline
from gmseg.core.model import Model
from gmseg.datasets.folders import bids_scans
from gmseg.datasets.splits import subjects_named
from gmseg.inference import engines
from gmseg.io import image
from gmseg.io.resources import commit
from gmseg.models import registry
from gmseg.training.train import train
from gmseg.training.validation import mean_dice, read_cases

CHANGES = 8  # changed copies of each slice, averaged with its own soft segmentation
THRESHOLD = 0.55  # gives the average the same areas as 0.5 gives a single segmentation
AREA_MM2 = 5, 30  # slices outside this range are not trained on


def main() -> None:
    """Run the chosen stages, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("published", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", help="unlabelled, variety, a subject, final")
    chosen = parser.parse_args()
    labelled = chosen.data / "t2starw-multicentre"
    template = chosen.data / "amu7t-template"
    unlabelled = chosen.out / "unlabelled"
    subjects = sorted({scan.subject for scan in bids_scans(labelled)})
    stages = chosen.only or ["unlabelled", "variety", *subjects, "final"]

    if "unlabelled" in stages and not unlabelled.exists():
        partly = chosen.out / "unlabelled.partly"
        label(chosen.data, registry.load_model(chosen.published), partly)
        partly.rename(unlabelled)
    if "variety" in stages:
        run([unlabelled], chosen.out / "variety", template, "variety", split=",".join(subjects))
    first = chosen.out / "variety" / "model.json"
    places = {subject: (subject, chosen.out / "folds" / subject) for subject in subjects}
    for stage, (split, out) in (places | {"final": ("all", chosen.out / "final")}).items():
        if stage in stages:
            trained = chosen.out / "trained" / split
            run([labelled, unlabelled], trained, template, "default", split=split, start=first)
            average(first, trained / "model.json", out, labelled)


def run(folders, out: Path, template: Path, protocol: str, *, split: str, start=None) -> None:
    """Train one model unless it exists."""
    if (out / "model.json").exists():
        return
    command = f"gmseg train {' '.join(f.name for f in folders)} --protocol {protocol} --seed 1"
    command += f" --split {split} --template {template.name} --out DIR"
    command += " --from variety" if start else ""
    with tqdm(desc=str(out.name), unit="step", smoothing=0.05) as bar:

        def progress(state: dict) -> None:
            bar.total = state["steps"]
            bar.update(state["step"] - bar.n)
            bar.set_postfix_str(
                f"loss {state['loss']:.3f}, Dice {state['dice']:.3f}, "
                f"waiting {state['waiting']:.1%}",
                refresh=False,
            )

        train(
            folders,
            out,
            protocol=protocol,
            split=split,
            start=start,
            template=template,
            seed=1,
            resume=(out / "checkpoint.npz").exists(),
            command=command,
            commit=commit(),
            describe=bar.write,
            progress=progress,
        )


def average(first: Path, trained: Path, out: Path, labelled: Path) -> None:
    """Write the mean of the weights before and after the training on labels.

    Training on few labels makes a network better on their sites and worse on others; the mean
    keeps most of the gain and avoids most of the loss (Wortsman et al., Robust fine-tuning of
    zero-shot models, CVPR 2022). Equal weights are that paper's choice and were not tuned.
    """
    if (out / "model.json").exists():
        return
    before, after = registry.load_model(first), registry.load_model(trained)
    network = registry.load_network(after)
    pairs = zip(registry.load_network(before).get_weights(), network.get_weights(), strict=True)
    network.set_weights([(a + b) / 2 for a, b in pairs])
    left_out = [
        s for s in bids_scans(labelled) if s.subject not in subjects_named(after.trained_on)
    ]
    scores = [
        score | {"value": round(mean_dice(network, read_cases(left_out, after)), 4)}
        for score in after.scores
    ]
    card = asdict(after) | {"scores": scores}
    card["trained_on"] += "; then the mean of these weights and those that it began with"
    for key in ("name", "weights", "weights_sha256"):
        del card[key]
    out.mkdir(parents=True, exist_ok=True)
    registry.save_model(network, out, "model", **card)


def label(data: Path, model: Model, out: Path) -> None:
    """Copy the scans without masks into a BIDS folder, with automatic masks."""
    predict = engines.load_predictor(model)
    for name, path, beside, cord_path in tqdm(list(without_masks(data)), desc="labelling"):
        scan, first = image.read_scan(path), image.read_scan(beside)
        cord = image.read_mask(cord_path, first, what="cord mask")
        # a second run has no cord mask: its window is at the cord of the first run
        centre = nib.affines.apply_affine(first.affine, np.argwhere(cord).mean(axis=0))
        prepared = pipeline.prepare(scan, model, name=path, centre=(centre[0], centre[1]))
        soft_windows = averaged(predict, prepared.windows)
        soft = pipeline.restore(soft_windows, prepared.centres, prepared.grid)
        mask = (soft > THRESHOLD).astype(np.uint8)
        areas = geometry.slice_areas_mm2(mask, scan.affine)
        implausible = (areas < AREA_MM2[0]) | (areas > AREA_MM2[1])
        np.moveaxis(mask, geometry.slice_axis(scan.affine), 0)[implausible] = 0
        scans = out / name.split("_")[0] / "anat"
        labels = out / "derivatives" / "labels" / name.split("_")[0] / "anat"
        for folder in (scans, labels):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, scans / f"{name}.nii.gz")
        image.write_image(image.like_scan(scan, mask), labels / f"{name}_gmseg-auto.nii.gz")
        if beside == path:
            shutil.copy(cord_path, labels / f"{name}_seg-manual.nii.gz")


def without_masks(data: Path):
    """Yield name and path of every scan without mask, and a scan with its cord mask."""
    for item in bids_scans(data / "t2starw-multicentre"):
        second = item.scan.with_name(item.scan.name.replace("_run-1_", "_run-2_"))
        yield item.name.replace("_run-1_", "_run-2_"), second, item.scan, item.cord
    for path in sorted((data / "t2star-unlabelled").glob("sub-*_T2star.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        yield name, path, path, path.with_name(f"{name}_seg-manual.nii.gz")


def averaged(predict, windows: np.ndarray) -> np.ndarray:
    """Return the mean soft segmentation of windows and of slightly changed copies of them."""
    rng, total = np.random.default_rng(0), pipeline.predict_windows(predict, windows)[:, 0]
    for _ in range(CHANGES):
        angle, scale = np.deg2rad(rng.normal(0, 6)), np.exp(rng.normal(0, 0.08))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.diag([scale * rng.choice([-1, 1]), scale])
        gain, level = np.exp(rng.normal(0.1, 0.25)), rng.normal(0, 0.2)
        changed = (moved(windows, matrix) * gain + level).astype(np.float32)
        total += moved(pipeline.predict_windows(predict, changed)[:, 0], np.linalg.inv(matrix))
    return total / (CHANGES + 1)


def moved(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform planes (n, rows, columns) by a matrix about their centre."""
    centre = (np.array(planes.shape[1:]) - 1) / 2
    offset = centre - matrix @ centre
    return np.stack(
        [ndimage.affine_transform(p, matrix, offset, order=1, mode="nearest") for p in planes]
    )


if __name__ == "__main__":
    sys.exit(main())
