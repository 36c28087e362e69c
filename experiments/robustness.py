"""Degrade real scans and evaluate: ``python experiments/robustness.py SHARED_DATA FOLDS``.

SHARED_DATA and FOLDS are those of ``cross_validation.py``; the U-Net of a fold gives the second
opinion. Every degradation of
`gmseg.datasets.degradations`, from mild to severe, is applied to four slices of one scan of every
subject, of the scan with the small field of view and of two synthetic phantoms. They are segmented
by the published weights in the published pipeline, by the published weights in the pipeline of
gmseg, and by the fold model that was not trained on the subject (phantoms only by the latter). The
script writes ``docs/robustness.md`` and ``docs/img/confidence.png``, and the curve of the expected
Dice into a model's card. It keeps its records in ``FOLDS/robustness.jsonl`` and reuses them: remove
the file when the pipeline changes.
"""

import argparse
import json
import sys
import zlib
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from cases import multicentre_cases, small_field_case
from folds import load_folds, segment, trusted
from robustness_page import draw_confidence, write_page
from tqdm import tqdm

import gmseg
from gmseg.core import pipeline
from gmseg.datasets import degradations
from gmseg.datasets.degradations import DEGRADATIONS
from gmseg.datasets.phantom import make_phantom
from gmseg.errors import InputError
from gmseg.evaluation.metrics import dice_labelled
from gmseg.inference.engines import load_predictor
from gmseg.io.files import read_json, write_text
from gmseg.io.image import check_scan, read_mask, read_scan

SLICES = 4  # of a scan that are degraded
PAPER_THRESHOLD = 0.999
OPTIONS = {
    "none": {},
    "`--tta 6`": {"tta": 6},
    "`--clean largest`": {"clean": ["largest"]},
    "`--clean small`": {"clean": ["small"]},
    "`--clean holes`": {"clean": ["holes"]},
    "`--within-cord`": {"within_cord": True},
}
KEY = ("system", "scan", "degradation", "grade")
RELEASE, PUBLISHED, FOLD = "release", "published", "fold"
PHANTOM_SEEDS = (10_001, 10_003)  # training counts its phantoms from 0


def main(arguments=None):
    """Segment what has no record yet, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="SHARED_DATA")
    parser.add_argument("folds", type=Path, metavar="FOLDS")
    parser.add_argument("--published", metavar="NAME|FILE", default="published")
    parser.add_argument("--card", type=Path, metavar="FILE", help="card that gets the curve")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(__file__).parents[1] / "docs"
    )
    choices = parser.parse_args(arguments)
    cases = multicentre_cases(choices.data)
    small = small_field_case(choices.data)
    subjects = {case.subject for case in cases}
    folds, unets = (load_folds(choices.folds, subjects, name) for name in ("model", "unet"))
    published = gmseg.load_model(choices.published)
    scans = {}
    for case in [*cases, small]:
        scans.setdefault(case.subject, (case.name, as_labelled(case)))
    for seed in PHANTOM_SEEDS:
        name = f"phantom {seed % 100}"
        scans[name] = name, synthetic_case(seed)

    tasks = [
        *degraded_tasks(scans, folds, unets, published),
        *whole_tasks([*cases, small], folds, unets, published),
    ]
    records = run_tasks(tasks, choices.folds / "robustness.jsonl")
    page, curves, pairs = write_page(records)
    write_text(choices.out / "robustness.md", page)
    if choices.card:
        card = read_json(choices.card) | {"confidence": curves["soft_dice"]}
        write_text(choices.card, json.dumps(card, indent=2) + "\n")
    draw_confidence(pairs).savefig(choices.out / "img" / "confidence.png", dpi=130)
    print(f"wrote robustness.md and img/confidence.png into {choices.out}")


def run_tasks(tasks, file: Path) -> list[dict]:
    """Run the tasks that have no record in a file, add theirs, and return all records."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    records = {tuple(record[part] for part in KEY): record for record in map(json.loads, lines)}
    with file.open("a", encoding="utf-8") as opened:
        for key, task in tqdm(tasks, desc="scans"):
            if key not in records:
                records[key] = dict(zip(KEY, key, strict=True)) | task()
                opened.write(json.dumps(records[key]) + "\n")
                opened.flush()
    return list(records.values())


# ------------------------------------------------------------------------------------- tasks


def degraded_tasks(scans, folds, unets, published):
    """Yield key and task of every degraded scan."""
    grades = [
        ("none", 0),
        *((name, g) for name, way in DEGRADATIONS.items() for g in range(len(way.values))),
    ]
    for system in (FOLD, PUBLISHED, RELEASE):
        for subject, (name, labelled) in scans.items():
            if system != FOLD and subject.startswith("phantom"):
                continue
            models = models_of(system, subject, folds, unets, published)
            for degradation, grade in grades:
                arguments = system, models, subject, labelled, name, degradation, grade
                yield (system, name, degradation, grade), partial(evaluate_degraded, *arguments)


def whole_tasks(cases, folds, unets, published):
    """Yield key and task of every whole scan without degradation, plain and with every option."""
    for system in (FOLD, PUBLISHED):
        for case in cases:
            models = models_of(system, case.subject, folds, unets, published)
            for path in filter(None, (case.scan, case.rescan)):
                key = system, path.name, "whole", 0
                yield key, partial(flags_of_whole, models, case, path)
            for grade, name in enumerate(OPTIONS):
                key = system, case.name, "option", grade
                yield key, partial(dice_with_option, models[0], case, name)


def models_of(system, subject, folds, unets, published):
    """Return the model of a system and a second one; scans outside the folds get the first's."""
    fold = subject if subject in folds else min(folds)
    return (folds[fold], unets[fold]) if system == FOLD else (published, None)


def agreement_with(second, scan, mask: np.ndarray, axis: int) -> list | None:
    """Return the Dice of the slices between a mask and that of a second model, if there is one."""
    if second is None:
        return None
    other = np.asarray(segment(scan, second).mask.dataobj) > 0
    return dice_of_slices(np.moveaxis(other, axis, 2), mask)


def flags_of_whole(models, case, path) -> dict:
    """Segment a whole scan; return its flags, and the Dice of its slices if it has a reference."""
    model, second = models
    result = segment(path, model)
    summary = result.summary
    reference = np.moveaxis(case.reference, case.axis, 2) if path == case.scan else None
    mask = np.moveaxis(np.asarray(result.mask.dataobj) > 0, case.axis, 2)
    return {
        "subject": case.subject,
        "slice_dice": None if reference is None else dice_of_slices(mask, reference),
        "soft_dice": summary.soft_dice,
        "agreement": agreement_with(second, path, mask, case.axis),
        "flags": [flag.name for flag in summary.flags],
        "texts": [flag.text for flag in summary.flags],
    }


def dice_with_option(model, case, name) -> dict:
    """Segment a scan with an option, windows on its cord mask, and return its Dice."""
    result = segment(case.scan, model, cord=case.cord, **OPTIONS[name])
    mask = np.asarray(result.mask.dataobj) > 0
    dice = dice_labelled(mask, case.reference, case.axis)
    return {"subject": case.subject, "option": name, "dice": dice}


def evaluate_degraded(system, models, subject, case, name, degradation, grade) -> dict:
    """Degrade a scan and segment it; return its Dice, that of its slices, and its flags."""
    model, second = models
    case = degraded(case, name, degradation, grade)
    if system == RELEASE:
        return {"subject": subject, "dice": dice_over(as_released(case, model), case.gm)}
    result = segment(case.image, model)
    mask = np.asarray(result.mask.dataobj) > 0
    return {
        "subject": subject,
        "dice": dice_over(mask, case.gm),
        "slice_dice": dice_of_slices(mask, case.gm),
        "soft_dice": result.summary.soft_dice,
        "agreement": agreement_with(second, case.image, mask, 2),
        "flags": [flag.name for flag in result.summary.flags],
        "window": result.summary.window,
    }


# ------------------------------------------------------------------------------------- scans


def as_labelled(case) -> degradations.LabelledVolume:
    """Bring a case to LAS orientation."""
    scan = read_scan(case.scan)
    cord = read_mask(case.cord, scan, what="cord mask")
    return degradations.labelled_volume(scan, case.reference, cord)


def synthetic_case(seed: int) -> degradations.LabelledVolume:
    """Make a phantom with a field of view of 100 mm."""
    phantom = make_phantom(seed=seed, spacing_mm=(0.5, 0.5, 5.0), shape=(200, 200, SLICES))
    labels = np.asarray(phantom.mask.dataobj)
    return degradations.labelled_volume(phantom.image, labels == 1, labels > 0)


def degraded(case, name, degradation, grade) -> degradations.LabelledVolume:
    """Return some slices of a scan with a degradation; the same call gives the same values."""
    seed_name = name.replace("phantom", "made-up")  # the name on which recorded noise depends
    rng = np.random.default_rng(zlib.crc32(f"{seed_name} {degradation} {grade}".encode()))
    if degradation not in DEGRADATIONS:
        return some_slices(case)
    way = DEGRADATIONS[degradation]
    if degradation == "sagittal":  # needs all slices, and its own slices lie the other way
        changed = way.change(case, way.values[grade], rng)
        few = np.count_nonzero(changed.gm.any(axis=(0, 1))) < 3
        return changed if few else some_slices(changed)
    return way.change(some_slices(case), way.values[grade], rng)


def some_slices(case) -> degradations.LabelledVolume:
    """Return neighbouring slices from the middle of those with a reference."""
    labelled = np.flatnonzero(case.gm.any(axis=(0, 1)))
    if not len(labelled):
        return case
    last = max(0, case.data.shape[2] - SLICES)
    first = int(np.clip(labelled[len(labelled) // 2] - SLICES // 2, 0, last))
    part = slice(first, first + SLICES)
    affine = case.affine @ nib.affines.from_matvec(np.eye(3), [0, 0, first])
    return degradations.LabelledVolume(
        case.data[..., part], case.gm[..., part], case.cord[..., part], affine
    )


def dice_of_slices(mask, reference) -> list[float | None]:
    """Return the Dice of every slice that the reference labels."""
    return [
        dice_over(mask[..., k], reference[..., k]) if reference[..., k].any() else None
        for k in range(mask.shape[2])
    ]


def dice_over(mask, reference) -> float:
    """Return the Dice over the labelled slices, 0 where both are empty."""
    if reference.ndim == 3:
        keep = reference.any(axis=(0, 1))
        mask, reference = mask[..., keep], reference[..., keep]
    total = np.count_nonzero(mask) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(mask & reference) / total) if total else 0.0


def as_released(case, model) -> np.ndarray:
    """Segment as published: window at the image's centre, 0.999 on the working grid, then 0.5."""
    scan = check_scan(case.image, name="scan")
    try:
        prepared = pipeline.prepare(scan, model, centre="image")
    except InputError:  # nothing in the window
        return np.zeros(scan.shape, bool)
    with trusted(model):
        soft = pipeline.predict_windows(load_predictor(model), prepared.windows)[:, 0]
    over = (soft > PAPER_THRESHOLD).astype(np.float32)
    return pipeline.restore(over, prepared.centres, prepared.grid) > 0.5


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"robustness: {error}", file=sys.stderr)
        sys.exit(2)
