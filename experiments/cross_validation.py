"""Cross-validate on real scans: ``python experiments/cross_validation.py SHARED_DATA FOLDS``.

SHARED_DATA contains ``t2starw-multicentre`` (BIDS, with masks of gray matter and cord),
``t2s-small-fov`` and, if at hand, ``t2star-13-scanners``. FOLDS contains ``SUBJECT/model.json`` and
``SUBJECT/unet.json`` for every subject: models that were trained without that subject. The script
writes ``docs/cross-validation.md``, ``docs/img/reliability.png`` and
``data/results/cross-validation.json``. It keeps the predictions in ``FOLDS/SUBJECT/predictions``,
``FOLDS/SUBJECT/unet-predictions``, ``FOLDS/published`` and ``FOLDS/final``, and reuses them.
"""

import argparse
import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from cases import Case, multicentre_cases, scanner_scans, small_field_case
from cross_validation_page import draw_reliability, write_page
from folds import load_folds, segment, short_name
from tqdm import tqdm

import gmseg
from gmseg.core import geometry
from gmseg.datasets.phantom import SITES, make_phantom
from gmseg.errors import InputError
from gmseg.evaluation import calibration, metrics
from gmseg.io.files import atomic_path, check_folder, read_json, sha256
from gmseg.io.image import read_mask, read_scan, write_images
from gmseg.io.resources import commit
from gmseg.paper.results import Method, Results, save_results

THRESHOLD = 0.5
NEAR_MM = 2.0
FAR_MM = 15.0  # from the middle of a reference: wider than any cord
SATURATED = 0.999  # the paper's threshold
ROOT = Path(__file__).resolve().parents[1]
FOLD, UNET, PUBLISHED, FINAL = "fold", "unet", "published", "final"
SYSTEMS = (FOLD, UNET, PUBLISHED)
RESCAN = "place"  # window on a rescan, at the position of the cord in the scan
REGIONS = {"labelled slices": metrics.compare_labelled, "volume": metrics.compare}
PIXELS_MM = (0.25, 0.5, 0.8)
FIRST_SEED = 10_001  # training counts its phantoms from 0
PHANTOM_FIELD_MM, PHANTOM_SLICE_MM, PHANTOM_SLICES = 60, 5.0, 4


def main(arguments=None):
    """Predict, evaluate, and write the page, the picture and the results."""
    choices = _choices(arguments)
    cases = multicentre_cases(choices.data)
    subjects = {case.subject for case in cases}
    folds = load_folds(choices.folds, subjects)
    unets = load_folds(choices.folds, subjects, UNET)
    if set(folds) != set(unets):
        raise InputError(f"{choices.folds}: some folds lack model.json or unet.json; train them")
    published = gmseg.load_model(choices.published)
    final = gmseg.load_model(choices.final) if choices.final else None
    left_out = sorted(subjects - set(folds))
    cases = [case for case in cases if case.subject in folds]
    small = small_field_case(choices.data)
    check_folder(choices.folds)
    check_folder(choices.out / "img").mkdir(parents=True, exist_ok=True)

    jobs = scan_jobs(cases, small, folds, unets, published, final, choices.folds)
    soft = {
        (job.system, job.case.name, job.window): predicted(job)
        for job in tqdm(jobs, desc="scans", unit="scan")
    }
    ours = final or next(iter(folds.values()))
    found = {
        "cases": cases,
        "left_out": left_out,
        "models": {**folds, PUBLISHED: published, **({FINAL: final} if final else {})},
        "ours": 'the model "final"' if final else f"the fold model without {next(iter(folds))}",
        "command": _command_shown(choices),
        "dice": scores(soft, cases, dice_of),
        "small_field": small_field_scores(soft, small),
        "cord": cord_scores(folds, unets, final, [*cases, small]),
        "scanners": scanner_areas(scanner_scans(choices.data), folds, unets, published),
        "metrics": {
            region: scores(soft, cases, partial(metrics_of, compare), ("cord",), (FOLD, PUBLISHED))
            for region, compare in REGIONS.items()
        },
        "strays": {case.name: far for case in cases if (far := stray_mm(case)) > FAR_MM},
        "area_ratio": scores(soft, cases, area_ratio_of, windows=("cord",)),
        "calibration": {system: calibration_of(soft, cases, system) for system in SYSTEMS},
        "repeats": {system: repeats(soft, cases, system) for system in SYSTEMS},
        "partial_volume": partial_volume({"ours": ours, PUBLISHED: published}),
    }
    (choices.out / "cross-validation.md").write_text(write_page(found), encoding="utf-8")
    draw_reliability(found["calibration"]).savefig(choices.out / "img" / "reliability.png", dpi=130)
    check_folder(choices.results).mkdir(parents=True, exist_ok=True)
    save_results(as_results(found), choices.results / "cross-validation.json")
    print(f"wrote cross-validation.md and img/reliability.png into {choices.out}")


def _choices(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="SHARED_DATA")
    parser.add_argument("folds", type=Path, metavar="FOLDS")
    parser.add_argument("--final", metavar="NAME|FILE", help="model trained on all subjects")
    parser.add_argument("--published", metavar="NAME|FILE", default="published")
    parser.add_argument("--out", type=Path, metavar="DIR", default=ROOT / "docs")
    parser.add_argument("--results", type=Path, metavar="DIR", default=ROOT / "data" / "results")
    return parser.parse_args(arguments)


def _command_shown(choices) -> str:
    """Return the command without the folders of this machine."""
    words = ["python", "experiments/cross_validation.py", "SHARED_DATA", "FOLDS"]
    for option in ("final", "published"):
        if value := getattr(choices, option):
            words += [f"--{option}", short_name(value)]
    return shlex.join(words)


# ------------------------------------------------------------------------------- prediction


class Job(NamedTuple):
    """A prediction: model, scan and place of the window."""

    system: str
    model: gmseg.Model
    case: Case
    window: str
    folder: Path


def scan_jobs(cases, small, folds, unets, published, final, folder) -> list[Job]:
    """List the predictions model by model, because only the last model stays loaded."""

    def jobs(system, model, name, chosen, kept="predictions"):
        for case in chosen:
            for window in ("auto", "cord", *([RESCAN] if case.rescan else [])):
                yield Job(system, model, case, window, folder / name / kept)

    listed = [*jobs(PUBLISHED, published, PUBLISHED, [*cases, small])]
    for subject, model in folds.items():
        own = [case for case in cases if case.subject == subject]
        listed += jobs(FOLD, model, subject, own)
        listed += jobs(subject, model, subject, [small])
        listed += jobs(UNET, unets[subject], subject, own, "unet-predictions")
    return [*listed, *jobs(FINAL, final, FINAL, [small])] if final else listed


def predicted(job) -> np.ndarray:
    """Return a soft segmentation on its scan's grid, read from its folder if it exists."""
    case, model = job.case, job.model
    scan = case.rescan if job.window == RESCAN else case.scan
    inputs = {
        "weights_sha256": model.weights_sha256,
        "scan_sha256": sha256(scan),
        "cord_sha256": None if job.window == "auto" else sha256(case.cord),
        "window": job.window,
        "standardise": model.standardise,
        "threshold": THRESHOLD,
        "gmseg_version": gmseg.__version__,
    }
    stem = f"{scan.name.removesuffix('.nii.gz')}_window-{job.window}"
    record = job.folder / f"{stem}.json"
    files = {kind: job.folder / f"{stem}_gm{kind}.nii.gz" for kind in ("seg", "soft")}
    exists = record.is_file() and all(file.is_file() for file in files.values())
    if exists and read_json(record) == inputs:
        return np.asarray(nib.load(files["soft"]).dataobj)
    where = {"cord": {"cord": case.cord}, RESCAN: {"centre": cord_centre_mm(case)}}
    result = segment(scan, model, threshold=THRESHOLD, **where.get(job.window, {}))
    job.folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # no old record with new images
    write_images({files["seg"]: result.mask, files["soft"]: result.soft})
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(inputs, indent=2) + "\n", encoding="utf-8")
    return np.asarray(result.soft.dataobj)


def cord_centre_mm(case) -> tuple[float, float]:
    """Return the centre of a scan's cord mask, x and y in mm in world space."""
    cord = read_mask(case.cord, read_scan(case.scan), what="cord mask")
    x, y, _ = nib.affines.apply_affine(case.affine, np.argwhere(cord).mean(axis=0))
    return float(x), float(y)


# ------------------------------------------------------------------------------- evaluation


def scores(soft, cases, score, windows=("auto", "cord"), systems=SYSTEMS) -> dict:
    """Score the folds' and the published predictions: ``{(system, window): {scan: score}}``."""
    return {
        (system, window): {c.name: score(soft[system, c.name, window], c) for c in cases}
        for window in windows
        for system in systems
    }


def cord_scores(folds, unets, final, cases) -> dict:
    """Return the Dice of the cord, by `segment` as it is: ``{scan: {"fold" or "unet": Dice}}``.

    The small field of view, which no model was trained on, is segmented by the final model.
    """
    found = {}
    for case in tqdm(cases, desc="cords"):
        models = {FOLD: folds.get(case.subject, final), UNET: unets.get(case.subject)}
        models = {name: model for name, model in models.items() if model and model.has_cord}
        if models:
            reference = read_mask(case.cord, read_scan(case.scan), what="cord mask")
        for name, model in models.items():
            cord = segment(case.scan, model).cord
            dice = metrics.dice_labelled(np.asarray(cord.dataobj) > 0, reference, case.axis)
            found.setdefault(case.name, {})[name] = dice
    return found


def scanner_areas(scans, folds, unets, published) -> dict:
    """Return the mean GM area of a subject on several scanners, by `segment` as it is.

    The fold models are those that were trained without this subject.

    Returns
    -------
    dict
        ``{system: {site: mean area in mm^2 over the slices with GM, NaN if there are none}}``.
    """
    names = [file.name.removesuffix(".nii.gz") for file in scans.values()]
    unseen = [
        subject
        for subject, model in folds.items()
        if not any(name in model.trained_on + unets[subject].trained_on for name in names)
    ]
    if not scans or not unseen:
        return {}
    models = {FOLD: folds[unseen[0]], UNET: unets[unseen[0]], PUBLISHED: published}
    found = {}
    for system, model in models.items():
        found[system] = {}
        for site, file in tqdm(scans.items(), desc=f"scanners, {system}"):
            several = nib.load(file).ndim == 4
            summary = segment(file, model, mean=several).summary
            areas = [area for area in summary.area_mm2 if area > 0]
            found[system][site] = float(np.mean(areas)) if areas else np.nan
    return found


def as_results(found: dict) -> Results:
    """Return the ten metrics of every scan over its labelled slices, for `gmseg figures`."""
    methods = []
    for system, name in ((FOLD, "default, folds"), (PUBLISHED, "published weights")):
        scored = found["metrics"]["labelled slices"][system, "cord"]
        scans = [
            {"name": c.name, "group": c.subject, "scores": scored[c.name]} for c in found["cases"]
        ]
        methods.append(Method(name, scans))
    return Results(
        "Real scans, one subject left out at a time",
        "openly licensed T2*-weighted scans (2018 GM imaging challenge data, CC0), each segmented "
        "by a model of the default recipe that never saw the subject, and by the weights that the "
        "authors published; over the labelled slices, threshold 0.5, window on the cord. The "
        "references are probably corrected automatic masks, so these values may be optimistic.",
        f"{found['command']}, commit {commit()}",
        methods,
    )


def dice_of(soft, case) -> float:
    """Return the Dice over the labelled slices."""
    return metrics.dice_labelled(soft > THRESHOLD, case.reference, case.axis)


def metrics_of(compare, soft, case) -> dict[str, float]:
    """Return all metrics of the GM Challenge, over the region of `compare`."""
    return compare(soft > THRESHOLD, case.reference, case.affine)


def stray_mm(case) -> float:
    """Return the largest in-plane distance of a reference's voxels from its middle, in mm."""
    voxels = np.argwhere(case.reference)
    sizes = nib.affines.voxel_sizes(case.affine).copy()
    sizes[case.axis] = 0
    offsets = (voxels - np.median(voxels, axis=0)) * sizes
    return float(np.linalg.norm(offsets, axis=1).max())


def area_ratio_of(soft, case) -> float:
    """Return predicted over reference area, over the labelled slices."""
    keep = metrics.labelled_slices(case.reference, case.axis)
    mask, reference = (
        geometry.slice_areas_mm2(part, case.affine)[keep].sum()
        for part in (soft > THRESHOLD, case.reference)
    )
    return mask / reference


def small_field_scores(soft, small) -> dict:
    """Return the Dice of every model on the small field: ``{system: {window: score}}``."""
    found = {}
    for (system, name, window), values in soft.items():
        if name == small.name:
            found.setdefault(system, {})[window] = dice_of(values, small)
    return found


def calibration_of(soft, cases, system) -> dict:
    """Return the reliability near the border, pooled over scans, and the saturated share."""
    tables, saturated = [], []
    for case in cases:
        values = soft[system, case.name, "cord"]
        spacing_mm = nib.affines.voxel_sizes(case.affine)
        near = calibration.near_border(case.reference, spacing_mm, NEAR_MM, case.axis)
        try:
            tables.append(calibration.reliability(values, case.reference, near))
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from None
        positive = values[values > THRESHOLD]
        saturated.append(np.mean(positive > SATURATED) if positive.size else np.nan)
    return {
        "table": calibration.pooled(tables),
        "mean_error": np.mean([calibration.expected_calibration_error(t) for t in tables]),
        "saturated": np.nanmean(saturated) if np.isfinite(saturated).any() else np.nan,
    }


def repeats(soft, cases, system) -> dict:
    """Return mean areas of scan and rescan in mm^2: ``{scan: {"slices", "mask", "soft"}}``.

    Means are over the slices in which the mask has GM in both runs; NaN where there are none.
    """
    found = {}
    for case in (case for case in cases if case.rescan):
        pair = [soft[system, case.name, window] for window in ("cord", RESCAN)]
        areas = {
            "mask": [geometry.slice_areas_mm2(part > THRESHOLD, case.affine) for part in pair],
            "soft": [geometry.slice_areas_mm2(part, case.affine) for part in pair],
        }
        both = np.all([area > 0 for area in areas["mask"]], axis=0)
        found[case.name] = {"slices": int(both.sum())} | {
            kind: [area[both].mean() if both.any() else np.nan for area in runs]
            for kind, runs in areas.items()
        }
    return found


def partial_volume(models) -> dict:
    """Return area errors of every slice of synthetic phantoms, in % of the true area.

    Returns
    -------
    dict
        ``{pixel in mm: {(model, "mask" or "soft"): errors}}``; the mask of ``"truth"`` has every
        pixel that is at least half GM.
    """
    runs = [(mm, i, k) for mm in PIXELS_MM for i in range(len(SITES)) for k in (0, 1)]
    phantoms = [(mm, phantom_of(mm, i, k)) for mm, i, k in tqdm(runs, desc="phantoms")]
    found = {pixel_mm: {} for pixel_mm in PIXELS_MM}

    def note(pixel_mm, name, kind, values, phantom):
        areas = geometry.slice_areas_mm2(np.asarray(values), phantom.image.affine)
        errors = 100 * (areas / phantom.gm_area_mm2 - 1)
        found[pixel_mm].setdefault((name, kind), []).extend(errors)

    for pixel_mm, phantom in phantoms:
        note(pixel_mm, "truth", "mask", np.asarray(phantom.mask.dataobj) == 1, phantom)
    for name, model in models.items():  # one by one, because only the last model stays loaded
        for pixel_mm, phantom in tqdm(phantoms, desc=f"phantoms, {name}"):
            result = segment(phantom.image, model, threshold=THRESHOLD)
            note(pixel_mm, name, "mask", result.mask.dataobj, phantom)
            note(pixel_mm, name, "soft", result.soft.dataobj, phantom)
    return found


def phantom_of(pixel_mm, site, number):
    """Make a phantom; the same site and number give the same cord at every pixel size."""
    side = round(PHANTOM_FIELD_MM / pixel_mm)
    return make_phantom(
        seed=FIRST_SEED + 2 * site + number,
        site=site + 1,
        spacing_mm=(pixel_mm, pixel_mm, PHANTOM_SLICE_MM),
        shape=(side, side, PHANTOM_SLICES),
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"cross_validation: {error}", file=sys.stderr)
        sys.exit(2)
