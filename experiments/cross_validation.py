"""Cross-validate: ``python experiments/cross_validation.py SHARED_DATA FOLDS``.

SHARED_DATA holds ``t2starw-multicentre`` (BIDS, with masks of gray matter and cord) and
``t2s-small-fov``. FOLDS holds one sub-folder per held-out subject, ``PERSON/model.json`` with its
weights: a model that was trained without that subject. Writes ``cross-validation.md`` and
``img/reliability.png``; keeps every prediction in ``FOLDS/PERSON/predictions``, and those of the
models to compare with in ``FOLDS/published`` and ``FOLDS/final``.

What is computed is here; ``cross_validation_folds.py`` refuses folds that have seen whom they are
asked about, and ``cross_validation_page.py`` writes it all down.
"""

import argparse
import csv
import json
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from cross_validation_folds import load_folds, model_shown
from cross_validation_page import draw_reliability, write_page
from tqdm import tqdm

import gmseg
from gmseg.core import geometry
from gmseg.datasets.folders import bids_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.datasets.phantom import SITES, make_phantom
from gmseg.errors import InputError
from gmseg.evaluation import calibration, metrics
from gmseg.evaluation.evaluate import majority
from gmseg.io.files import atomic_path, check_folder, read_json, sha256
from gmseg.io.image import GRID_MM, affine_difference_mm, read_mask, read_scan, write_images
from gmseg.io.resources import commit
from gmseg.paper.results import Method, Results, save_results

THRESHOLD = 0.5
NEAR_MM = 2.0
FAR_MM = 15.0  # from the middle of a reference: no cord is so wide
SATURATED = 0.999  # the threshold of the 2018 paper
RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
MULTICENTRE, SMALL_FIELD = "t2starw-multicentre", "t2s-small-fov"
FOLD, PUBLISHED, FINAL = "fold", "published", "final"
RESCAN = "place"  # the window on a rescan, at the place of the cord in the scan
REGIONS = {"labelled slices": metrics.compare_labelled, "volume": metrics.compare}
PIXELS_MM = (0.25, 0.5, 0.8)
FIRST_SEED = 10_001  # training counts its phantoms from 0
PHANTOM_FIELD_MM, PHANTOM_SLICE_MM, PHANTOM_SLICES = 60, 5.0, 4


def main(arguments=None):
    """Predict what is not there yet, score it, write the page and the picture."""
    choices = _choices(arguments)
    cases = multicentre_cases(choices.data / MULTICENTRE)
    folds = load_folds(choices.folds, {case.subject for case in cases})
    published = gmseg.load_model(choices.published)
    final = gmseg.load_model(choices.final) if choices.final else None
    left_out = sorted({case.subject for case in cases} - set(folds))
    cases = [case for case in cases if case.subject in folds]
    small = small_field_case(choices.data / SMALL_FIELD)
    check_folder(choices.folds)
    check_folder(choices.out / "img").mkdir(parents=True, exist_ok=True)

    jobs = scan_jobs(cases, small, folds, published, final, choices.folds)
    soft = {
        (job.system, job.case.name, job.window): predicted(job)
        for job in tqdm(jobs, desc="scans", unit="scan")
    }
    ours = final or next(iter(folds.values()))
    found = {
        "cases": cases,
        "left_out": left_out,
        "models": {**folds, PUBLISHED: published, **({FINAL: final} if final else {})},
        "ours": FINAL if final else f"the fold of {next(iter(folds))}",
        "command": _command_shown(choices),
        "dice": scores(soft, cases, dice_of),
        "small_field": small_field_scores(soft, small),
        "metrics": {
            region: scores(soft, cases, partial(metrics_of, compare), windows=("cord",))
            for region, compare in REGIONS.items()
        },
        "strays": {case.name: far for case in cases if (far := stray_mm(case)) > FAR_MM},
        "area_ratio": scores(soft, cases, area_ratio_of, windows=("cord",)),
        "calibration": {
            system: calibration_of(soft, cases, system) for system in (FOLD, PUBLISHED)
        },
        "repeats": {system: repeats(soft, cases, system) for system in (FOLD, PUBLISHED)},
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
    parser.add_argument("--final", metavar="NAME|FILE", help="a model trained on everybody")
    parser.add_argument("--published", metavar="NAME|FILE", default="published")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(__file__).parents[1] / "docs"
    )
    parser.add_argument("--results", type=Path, metavar="DIR", default=RESULTS)
    return parser.parse_args(arguments)


def _command_shown(choices) -> str:
    """Return the command without the folders that are this machine's own."""
    words = ["python", "experiments/cross_validation.py", choices.data.resolve().name]
    words.append(choices.folds.resolve().name)
    for option in ("final", "published"):
        if value := getattr(choices, option):
            words += [f"--{option}", model_shown(value)]
    return shlex.join(words)


# ------------------------------------------------------------------------------------- scans


@dataclass(frozen=True)
class Case:
    """A labelled scan: its files, its reference (bool, on the scan's grid) and affine."""

    name: str
    subject: str
    site: str
    scan: Path
    cord: Path
    rescan: Path | None
    reference: np.ndarray
    affine: np.ndarray

    @property
    def axis(self) -> int:
        """The slice axis."""
        return geometry.slice_axis(self.affine)


def multicentre_cases(folder) -> list[Case]:
    """Read the scans whose reference a human drew or corrected, each with its rescan."""
    sites = read_sites(folder / "participants.tsv")
    cases = []
    for item in bids_scans(folder):
        if not item.manual:
            continue
        if item.cord is None:
            raise InputError(
                f"{item.scan}: has no cord mask; add *_seg-manual.nii.gz beside its GM"
            )
        rescan = item.scan.with_name(item.scan.name.replace("_run-1_", "_run-2_"))
        rescan = rescan if rescan.is_file() and rescan != item.scan else None
        scan, references = read_labelled(item)
        if rescan:
            check_same_grid(rescan, scan)
        site = sites.get(item.name.split("_")[0], "unknown")
        files = item.scan, item.cord, rescan
        cases.append(Case(item.name, item.subject, site, *files, majority(references), scan.affine))
    return cases


def check_same_grid(rescan, scan) -> None:
    """Refuse a rescan whose slices are not those of the scan."""
    other = read_scan(rescan)
    if other.shape != scan.shape or affine_difference_mm(other.affine, scan.affine) > GRID_MM:
        raise InputError(f"{rescan}: lies on another grid than run-1; leave this rescan out")


def read_sites(file) -> dict[str, str]:
    """Return the site of each participant, as ``participants.tsv`` has it."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            row["participant_id"]: row.get("Site") or "unknown"
            for row in csv.DictReader(lines, delimiter="\t")
        }


def small_field_case(folder) -> Case:
    """Read the scan of 25 mm from another site, which nothing was trained on."""
    file, gm, cord = (folder / f"t2s{end}.nii.gz" for end in ("", "_gmseg_manual", "_seg"))
    scan = read_scan(file)
    reference = read_mask(gm, scan, what="reference")
    return Case(SMALL_FIELD, SMALL_FIELD, "unknown", file, cord, None, reference, scan.affine)


# -------------------------------------------------------------------------------- predicting


class Job(NamedTuple):
    """One prediction: by which model, on which scan, with the window where."""

    system: str
    model: gmseg.Model
    case: Case
    window: str
    folder: Path


def scan_jobs(cases, small, folds, published, final, folder) -> list[Job]:
    """List the predictions, model by model, for the last model used stays loaded."""

    def jobs(system, model, name, chosen):
        for case in chosen:
            for window in ("image", "cord", *([RESCAN] if case.rescan else [])):
                yield Job(system, model, case, window, folder / name / "predictions")

    listed = [*jobs(PUBLISHED, published, PUBLISHED, [*cases, small])]
    for subject, model in folds.items():
        listed += jobs(FOLD, model, subject, [case for case in cases if case.subject == subject])
        listed += jobs(subject, model, subject, [small])
    return [*listed, *jobs(FINAL, final, FINAL, [small])] if final else listed


def predicted(job) -> np.ndarray:
    """Return a soft segmentation on its scan's grid, from its folder if it is there already."""
    case, model = job.case, job.model
    scan = case.rescan if job.window == RESCAN else case.scan
    made_from = {
        "weights_sha256": model.weights_sha256,
        "scan_sha256": sha256(scan),
        "cord_sha256": None if job.window == "image" else sha256(case.cord),
        "window": job.window,
        "standardise": model.standardise,
        "threshold": THRESHOLD,
        "gmseg_version": gmseg.__version__,
    }
    stem = f"{scan.name.removesuffix('.nii.gz')}_window-{job.window}"
    record = job.folder / f"{stem}.json"
    files = {kind: job.folder / f"{stem}_gm{kind}.nii.gz" for kind in ("seg", "soft")}
    there = record.is_file() and all(file.is_file() for file in files.values())
    if there and read_json(record) == made_from:
        return np.asarray(nib.load(files["soft"]).dataobj)
    if job.window == "image":
        where = {"centre": "image"}
    else:
        where = {"cord": case.cord} if job.window == "cord" else {"centre": cord_place_mm(case)}
    result = gmseg.segment(scan, model, threshold=THRESHOLD, **where)
    job.folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # never an old record beside new images
    write_images({files["seg"]: result.mask, files["soft"]: result.soft})
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
    return np.asarray(result.soft.dataobj)


def cord_place_mm(case) -> tuple[float, float]:
    """Return the centre of a scan's cord mask, x and y in mm in world space."""
    cord = read_mask(case.cord, read_scan(case.scan), what="cord mask")
    x, y, _ = nib.affines.apply_affine(case.affine, np.argwhere(cord).mean(axis=0))
    return float(x), float(y)


# ----------------------------------------------------------------------------------- scoring


def scores(soft, cases, score, windows=("image", "cord")) -> dict:
    """Score the folds' and the published predictions: ``{(system, window): {scan: score}}``."""
    return {
        (system, window): {c.name: score(soft[system, c.name, window], c) for c in cases}
        for window in windows
        for system in (FOLD, PUBLISHED)
    }


def as_results(found: dict) -> Results:
    """Return every scan's ten metrics over its labelled slices, as `gmseg figures` reads them."""
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
        "references are probably corrected automatic masks, and agreement with them may flatter.",
        f"{found['command']}, commit {commit()}",
        methods,
    )


def dice_of(soft, case) -> float:
    """Dice over the slices that the reference labels."""
    return metrics.dice_labelled(soft > THRESHOLD, case.reference, case.axis)


def metrics_of(compare, soft, case) -> dict[str, float]:
    """All metrics of the GM Challenge, over the region that `compare` looks at."""
    return compare(soft > THRESHOLD, case.reference, case.affine)


def stray_mm(case) -> float:
    """Return how far a reference's farthest voxel is from its middle, in plane, in mm."""
    voxels = np.argwhere(case.reference)
    sizes = nib.affines.voxel_sizes(case.affine).copy()
    sizes[case.axis] = 0
    off = (voxels - np.median(voxels, axis=0)) * sizes
    return float(np.linalg.norm(off, axis=1).max())


def area_ratio_of(soft, case) -> float:
    """Predicted over reference area, over the slices that the reference labels."""
    keep = metrics.labelled_slices(case.reference, case.axis)
    mask, reference = (
        geometry.slice_areas_mm2(part, case.affine)[keep].sum()
        for part in (soft > THRESHOLD, case.reference)
    )
    return mask / reference


def small_field_scores(soft, small) -> dict:
    """Dice of every model on the small field of view: ``{system: {window: score}}``."""
    found = {}
    for (system, name, window), values in soft.items():
        if name == small.name:
            found.setdefault(system, {})[window] = dice_of(values, small)
    return found


def calibration_of(soft, cases, system) -> dict:
    """Reliability near the border, pooled over scans, and the share of saturated voxels."""
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
    """Areas of scan and rescan: ``{scan: {"slices", "mask", "soft"}}``, pairs of mean mm^2.

    Over the slices in which the mask has GM in both; NaN where there is none.
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
    """Errors of area in % of the true area, slice by slice, on cords of known truth.

    Returns
    -------
    dict
        ``{pixel in mm: {(who, "mask" or "soft"): errors}}``; the mask of ``"truth"`` is every
        pixel that is GM by half or more.
    """
    runs = [(mm, i, k) for mm in PIXELS_MM for i in range(len(SITES)) for k in (0, 1)]
    phantoms = [(mm, phantom_of(mm, i, k)) for mm, i, k in tqdm(runs, desc="phantoms")]
    found = {pixel_mm: {} for pixel_mm in PIXELS_MM}

    def note(pixel_mm, who, kind, values, made):
        areas = geometry.slice_areas_mm2(np.asarray(values), made.image.affine)
        errors = 100 * (areas / made.gm_area_mm2 - 1)
        found[pixel_mm].setdefault((who, kind), []).extend(errors)

    for pixel_mm, made in phantoms:
        note(pixel_mm, "truth", "mask", np.asarray(made.mask.dataobj) == 1, made)
    for who, model in models.items():  # one by one, for the last model used stays loaded
        for pixel_mm, made in tqdm(phantoms, desc=f"phantoms, {who}"):
            result = gmseg.segment(made.image, model, threshold=THRESHOLD)
            note(pixel_mm, who, "mask", result.mask.dataobj, made)
            note(pixel_mm, who, "soft", result.soft.dataobj, made)
    return found


def phantom_of(pixel_mm, site, number):
    """Make a cord of known truth: the same site and number is the same cord at any pixel."""
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
