"""Spoil real scans and see what happens: ``python experiments/robustness.py SHARED_DATA FOLDS``.

SHARED_DATA and FOLDS are those of ``cross_validation.py``. Every way of spoiling in
`gmseg.datasets.degradations`, from mild to gross, on a part of one scan of every subject, of the scan with the
small field of view and of two made-up cords; segmented by the published weights the published way,
by the published weights in our pipeline, and by the model that never saw the subject (made-up cords
by the last alone). Writes ``robustness.md`` and ``img/confidence.png``, and the curve of the
confidence into a model's card. What was segmented is kept in ``FOLDS/robustness.jsonl``; remove it
where the pipeline changed.
"""

import argparse
import json
import sys
import zlib
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from cross_validation import MULTICENTRE, SMALL_FIELD, multicentre_cases, small_field_case
from cross_validation_folds import load_folds
from robustness_page import draw_confidence, write_page
from tqdm import tqdm

import gmseg
from gmseg.core import pipeline
from gmseg.datasets import degradations
from gmseg.datasets.degradations import DEGRADATIONS
from gmseg.datasets.phantom import make_phantom
from gmseg.errors import InputError
from gmseg.evaluation.metrics import dice_labelled
from gmseg.inference import segment
from gmseg.inference.engines import load_predictor
from gmseg.io.files import read_json, write_text
from gmseg.io.image import check_scan, read_mask, read_scan

SLICES = 4  # of a scan are spoiled
PAPER_THRESHOLD = 0.999
CHOICES = {
    "nothing": {},
    "`--tta 6`": {"tta": 6},
    "`--clean largest`": {"clean": ["largest"]},
    "`--clean small`": {"clean": ["small"]},
    "`--clean holes`": {"clean": ["holes"]},
    "`--within-cord`": {"within_cord": True},
}
KEY = ("system", "scan", "spoil", "grade")
RELEASE, PUBLISHED, FOLD = "release", "published", "fold"


def main(arguments=None):
    """Segment what is not there yet, write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="SHARED_DATA")
    parser.add_argument("folds", type=Path, metavar="FOLDS")
    parser.add_argument("--published", metavar="NAME|FILE", default="published")
    parser.add_argument("--card", type=Path, metavar="FILE", help="of our model, to be told of it")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(__file__).parents[1] / "docs"
    )
    choices = parser.parse_args(arguments)
    cases = multicentre_cases(choices.data / MULTICENTRE)
    folds = load_folds(choices.folds, {case.subject for case in cases})
    published = gmseg.load_model(choices.published)
    scans = {}
    for case in [*cases, small_field_case(choices.data / SMALL_FIELD)]:
        scans.setdefault(case.subject, (case.name, as_labelled(case)))
    for seed in (10_001, 10_003):  # training counts its phantoms from 0
        scans[f"made-up {seed % 100}"] = (f"made-up {seed % 100}", made_up(seed))
    kept = choices.folds / "robustness.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    records = {tuple(r[part] for part in KEY): r for r in map(json.loads, lines)}

    tasks = [
        *spoil_tasks(scans, folds, published),
        *whole_tasks(cases, choices.data, folds, published),
    ]
    with kept.open("a", encoding="utf-8") as file:
        for key, task in tqdm(tasks, desc="scans"):
            if key not in records:
                records[key] = dict(zip(KEY, key, strict=True)) | task()
                file.write(json.dumps(records[key]) + "\n")
                file.flush()
    found = list(records.values())
    page, knots, pairs = write_page(found)
    write_text(choices.out / "robustness.md", page)
    if choices.card:
        card = read_json(choices.card) | {"confidence": knots}
        write_text(choices.card, json.dumps(card, indent=2) + "\n")
    draw_confidence(pairs).savefig(choices.out / "img" / "confidence.png", dpi=130)
    print(f"wrote robustness.md and img/confidence.png into {choices.out}")


def spoil_tasks(scans, folds, published):
    """Yield the key and the work of every spoiled scan."""
    ways = [
        ("as it is", 0),
        *((s, g) for s in DEGRADATIONS for g in range(len(DEGRADATIONS[s].values))),
    ]
    for system in (FOLD, PUBLISHED, RELEASE):
        for subject, (name, labelled) in scans.items():
            if system != FOLD and subject.startswith("made-up"):
                continue
            model = model_of(system, subject, folds, published)
            for way in ways:
                yield (
                    (system, name, *way),
                    partial(one, system, model, subject, labelled, name, *way),
                )


def whole_tasks(cases, data: Path, folds, published):
    """Yield the key and the work of every scan as it is, by itself and with every choice."""
    small = data / SMALL_FIELD
    for system in (FOLD, PUBLISHED):
        for subject, path in whole_scans(cases, small / "t2s.nii.gz"):
            model = model_of(system, subject, folds, published)
            yield (system, path.name, "whole", 0), partial(whole, model, subject, path)
        for case in [*cases, small_field_case(small)]:
            model = model_of(system, case.subject, folds, published)
            for grade, name in enumerate(CHOICES):
                yield (system, case.name, "choice", grade), partial(chosen, model, case, name)


def model_of(system, subject, folds, published):
    """Return the model that is asked; of nobody's folds for those of nobody, any."""
    return folds.get(subject, folds[min(folds)]) if system == FOLD else published


def whole(model, subject, path) -> dict:
    """Segment a scan as it is: what was said of it."""
    summary = gmseg.segment(path, model).summary
    return {
        "subject": subject,
        "soft_dice": summary.soft_dice,
        "flags": [flag.name for flag in summary.flags],
        "told": [flag.text for flag in summary.flags],
    }


def chosen(model, case, name) -> dict:
    """Segment a scan with a choice, windows on its cord mask: its Dice."""
    result = gmseg.segment(case.scan, model, cord=case.cord, **CHOICES[name])
    mask = np.asarray(result.mask.dataobj) > 0
    dice = dice_labelled(mask, case.reference, case.axis)
    return {"subject": case.subject, "choice": name, "dice": dice}


def whole_scans(cases, small: Path) -> list[tuple[str, Path]]:
    """Return subjects and files of all scans as they are, rescans included."""
    files = [(case.subject, file) for case in cases for file in (case.scan, case.rescan) if file]
    return [*files, (SMALL_FIELD, small)]


def as_labelled(case) -> degradations.Labelled:
    """Bring a case of the cross-validation to LAS orientation."""
    scan = read_scan(case.scan)
    cord = read_mask(case.cord, scan, what="cord mask")
    return degradations.labelled(scan, case.reference, cord)


def made_up(seed: int) -> degradations.Labelled:
    """Make up a cord in a field of 100 mm."""
    made = make_phantom(seed=seed, spacing_mm=(0.5, 0.5, 5.0), shape=(200, 200, SLICES))
    labels = np.asarray(made.mask.dataobj)
    return degradations.labelled(made.image, labels == 1, labels > 0)


def some_slices(case, thick: bool) -> degradations.Labelled:
    """Return some slices in a row, from the middle of those that have a reference."""
    labelled = np.flatnonzero(case.gm.any(axis=(0, 1)))
    if (thick and len(labelled) < 3) or not len(labelled):
        return case
    first = int(
        np.clip(labelled[len(labelled) // 2] - SLICES // 2, 0, max(0, case.data.shape[2] - SLICES))
    )
    part = slice(first, first + SLICES)
    affine = case.affine @ nib.affines.from_matvec(np.eye(3), [0, 0, first])
    return degradations.Labelled(
        case.data[..., part], case.gm[..., part], case.cord[..., part], affine
    )


def one(system, model, subject, case, name, spoil, grade) -> dict:
    """Spoil a scan and segment it: its Dice, that of its slices, and what was said of them."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {spoil} {grade}".encode()))
    if spoil == "sagittal":  # of all slices, for its own run the other way
        case = some_slices(
            DEGRADATIONS[spoil].change(case, DEGRADATIONS[spoil].values[grade], rng), True
        )
    else:
        case = some_slices(case, False)
        if spoil in DEGRADATIONS:
            case = DEGRADATIONS[spoil].change(case, DEGRADATIONS[spoil].values[grade], rng)
    if system == RELEASE:
        return {"subject": subject, "dice": dice(as_released(case, model), case.gm)}
    result = gmseg.segment(case.image, model)
    mask = np.asarray(result.mask.dataobj) > 0
    summary = result.summary
    return {
        "subject": subject,
        "dice": dice(mask, case.gm),
        "slice_dice": [
            dice(mask[..., k], case.gm[..., k]) if case.gm[..., k].any() else None
            for k in range(mask.shape[2])
        ],
        "soft_dice": summary.soft_dice,
        "flags": [flag.name for flag in summary.flags],
        "window": summary.window,
    }


def dice(mask, reference) -> float:
    """Dice over the slices that the reference labels."""
    if reference.ndim == 3:
        keep = reference.any(axis=(0, 1))
        mask, reference = mask[..., keep], reference[..., keep]
    total = np.count_nonzero(mask) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(mask & reference) / total) if total else 0.0


def as_released(case, model) -> np.ndarray:
    """Segment the published way: the image's centre, 0.999 on the working grid, then 0.5."""
    scan = check_scan(case.image, name="scan")
    try:
        ready = pipeline.prepare(scan, model, centre="image")
    except InputError:  # nothing in the window
        return np.zeros(scan.shape, bool)
    soft = segment.predict_windows(load_predictor(model), ready.windows)
    over = (soft > PAPER_THRESHOLD).astype(np.float32)
    return pipeline.soft_on_scan(over, ready) > 0.5


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"robustness: {error}", file=sys.stderr)
        sys.exit(2)
