"""Reproduce the paper: from the folder of the GM Challenge to the table and the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gmseg.core import pipeline
from gmseg.core.model import Model
from gmseg.datasets.folders import LabelledScan, find_scans, unlabelled_scans
from gmseg.datasets.labelled import check_scans, read_labelled
from gmseg.datasets.splits import split_by_subject, subjects_named
from gmseg.errors import InputError
from gmseg.evaluation import evaluate, metrics
from gmseg.evaluation.score_table import write_scores
from gmseg.inference import engines
from gmseg.io import image
from gmseg.io.files import check_folder, read_json, sha256, write_text
from gmseg.io.image_file import is_intact
from gmseg.io.resources import commit
from gmseg.models import registry
from gmseg.paper.figures import make_figures
from gmseg.paper.published import as_markdown
from gmseg.paper.results import Method, Results, load_results, save_results
from gmseg.training.protocol import Protocol, load_protocol
from gmseg.training.train import train

PAPER_THRESHOLD = 0.999
"""Threshold of the authors' code, on the working grid."""
FOLDERS = {PAPER_THRESHOLD: "masks", 0.5: "masks-0.5"}
"""Folder of the masks by each threshold."""
_HOW = "over the whole volume, mean over the raters, window at the image's centre."


def reproduce(
    challenge,
    out,
    *,
    model=None,
    protocol="paper2018",
    split: str | None = None,
    seed: int = 0,
    resume: bool = False,
    command: str = "gmseg.paper.reproduce.reproduce",
    describe: Callable[[str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Train on the challenge, segment, evaluate, and write the paper's table and figures.

    ``masks`` are the paper's: window at the image's centre, threshold 0.999 on the working grid.
    ``masks-0.5`` are thresholded at 0.5 on the scan's grid. Subjects without masks are segmented
    as well.

    Parameters
    ----------
    challenge, out : path-like
        Folder of the GM Challenge; folder for all results, created if missing.
    model : str, path-like or Model, optional
        Model to evaluate; by default one is trained.
    protocol, split, seed
        As for `gmseg.training.train.train`. With a model, `split` selects the evaluated scans.
    resume : bool
        Continue an interrupted call in `out`.
    command : str
        Command that the results name as their origin.
    describe, progress : callable, optional
        Called with every line about data and model; with (stage, done, total).

    Returns
    -------
    Results
        Every scan's metrics, mean over the raters, by both thresholds; and between the raters.

    Raises
    ------
    gmseg.errors.InputError
        If the data cannot be used, or `out` contains something else.
    """
    describe = describe or (lambda _: None)
    progress = progress or (lambda *_: None)
    out = check_folder(out)
    plan = _plan(challenge, model, protocol, split, seed, describe)
    unlabelled = unlabelled_scans(challenge)
    _begin(out, _identity(plan), resume)
    used = plan.model or _train(plan, out / "training", command, describe, progress)
    provenance = _provenance(used, plan.scored)
    describe(f"{used.name}: it {provenance}")
    for done, item in enumerate(scans := [*plan.scored, *unlabelled], 1):
        _segment(item, used, out)
        progress("segmenting", done, len(scans))
    label = used.name if plan.model else "trained here"
    methods, scores, cases = _evaluate(plan.scored, label, out, progress)
    title = f"{len(plan.scored)} scans of {plan.challenge.name}"
    how = f"{_HOW} The model {provenance}."
    results = Results(title, how, f"{command}, commit {commit()}", methods)
    _write(out, results, scores, cases, plan, progress)
    return results


# ---------------------------------------------------------------------------------- the plan


@dataclass(frozen=True)
class _Plan:
    """What a run works on: either a model is given, or a protocol to train one."""

    challenge: Path
    scans: list[LabelledScan]
    scored: list[LabelledScan]
    model: Model | None
    protocol: Protocol | None
    split: str | None
    seed: int


def _plan(challenge, model, protocol, split, seed: int, describe) -> _Plan:
    """Check the data, choose the scans to evaluate, load the model or the protocol."""
    scans = find_scans(challenge)
    for line in check_scans(scans):
        describe(line)
    training, held_out = split_by_subject(scans, split)
    if model is not None and not isinstance(model, Model):
        model = registry.load_model(model)
    protocol = None if model else load_protocol(protocol)
    return _Plan(Path(challenge), scans, held_out or training, model, protocol, split, seed)


def _identity(plan: _Plan) -> dict:
    """Return what two calls must have in common for one to continue the other."""
    files = (file for item in plan.scans for file in (item.scan, *item.references))
    return {
        "files": {file.name: sha256(file) for file in files},
        "scored": [item.name for item in plan.scored],
        "model": plan.model.weights_sha256 if plan.model else None,
        "protocol": asdict(plan.protocol) if plan.protocol else None,
        "seed": None if plan.model else plan.seed,
    }


def _begin(out: Path, identity: dict, resume: bool) -> None:
    """Record the identity of the run; refuse a folder that contains another run or other files."""
    identity = json.loads(json.dumps(identity))
    file = out / "run.json"
    if file.exists():
        before = read_json(file)
        differs = [key for key in identity if before.get(key) != identity[key]]
        if differs:
            raise InputError(
                f"{out}: contains a run with other {', '.join(differs)}; give another folder"
            )
        if not resume:
            raise InputError(f"{out}: contains the same run; set `resume=True` to continue it")
        return
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and contains no run.json; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(identity, indent=1) + "\n", overwrite=False)


# --------------------------------------------------------------------------------- the model


def _train(plan: _Plan, folder: Path, command: str, describe, progress) -> Model:
    """Train the model, continue its training, or load it if it is complete."""
    if not (folder / "model.json").exists():
        train(
            plan.challenge,
            folder,
            protocol=plan.protocol,
            split=plan.split,
            seed=plan.seed,
            resume=(folder / "checkpoint.npz").exists(),
            command=command,
            commit=commit(),
            describe=describe,
            progress=lambda state: progress("training", state["step"], state["steps"]),
        )
    return registry.load_model(folder / "model.json")


def _provenance(model: Model, scored: list[LabelledScan]) -> str:
    """Return the model's training scans, or those of them that it is evaluated on."""
    seen = subjects_named(model.trained_on) & {item.subject for item in scored}
    if seen:
        return f"was trained on scans that it is evaluated on: {', '.join(sorted(seen))}"
    return f"was trained on: {model.trained_on}"


# --------------------------------------------------------------------------------- the masks


def _segment(item: LabelledScan, model: Model, out: Path) -> None:
    """Write the masks of a scan by both thresholds, unless they exist."""
    files = {threshold: _mask_file(out, threshold, item) for threshold in FOLDERS}
    if all(file.exists() and is_intact(file) for file in files.values()):
        return
    scan = image.read_scan(item.scan)
    prepared = pipeline.prepare(scan, model, name=item.scan, centre="image")
    soft = pipeline.predict_windows(engines.load_predictor(model), prepared.windows)[:, 0]
    windows = {PAPER_THRESHOLD: (soft > PAPER_THRESHOLD).astype(np.float32), 0.5: soft}
    for threshold, file in files.items():
        file.parent.mkdir(exist_ok=True)
        mask = pipeline.restore(windows[threshold], prepared.centres, prepared.grid) > 0.5
        image.write_image(image.like_scan(scan, mask.astype(np.uint8)), file)


def _mask_file(out: Path, threshold: float, item: LabelledScan) -> Path:
    return out / FOLDERS[threshold] / f"{item.scan.name.split('.nii')[0]}_gmseg.nii.gz"


# -------------------------------------------------------------------------------- evaluation


def _evaluate(
    scored: list[LabelledScan], label: str, out: Path, progress
) -> tuple[list[Method], dict, list[dict]]:
    """Return the methods of the table, all scores by the paper's threshold, and cases to draw."""
    by_paper, by_half, between, cases = [], [], [], []
    compared = {}
    for done, item in enumerate(scored, 1):
        scan, references = read_labelled(item)
        paper, half = (image.read_segmentation(_mask_file(out, t, item)) for t in FOLDERS)
        raters = {f"r{number}": reference for number, reference in enumerate(references, 1)}
        scores = evaluate.compare_raters(np.asarray(paper.dataobj, bool), raters, scan.affine)
        compared[item.name] = scores
        place = {"name": item.name, "group": item.site or item.subject}
        by_paper.append(place | {"scores": scores["volume"]})
        half_mask = np.asarray(half.dataobj, bool)
        each = [metrics.compare(half_mask, reference, scan.affine) for reference in references]
        by_half.append(place | {"scores": metrics.mean_of(each)})
        if "between_raters" in scores:
            between.append(place | {"scores": scores["between_raters"]["volume"]})
        majority = image.like_scan(scan, evaluate.majority(references).astype(np.uint8))
        images = {"scan": scan, "mask": paper, "reference": majority}
        cases.append(place | images | {"dice": scores["volume"]["DSC"]})
        progress("evaluating", done, len(scored))
    methods = [
        Method(f"{label}, threshold {threshold:g}", scans)
        for threshold, scans in zip(FOLDERS, (by_paper, by_half), strict=True)
    ]
    if between:
        methods.append(Method("between raters", between))
    return methods, evaluate.pool(compared), cases


def _write(out: Path, results: Results, scores: dict, cases, plan: _Plan, progress) -> None:
    """Write the table, all scores and the figures."""
    save_results(results, out / "results.json")
    write_scores(scores, tsv=out / "scores.tsv", json_file=out / "scores.json")
    write_text(out / "results.md", as_markdown(results))
    make_figures(
        out / "figures",
        dataset=plan.challenge,
        results=load_results(out / "results.json"),
        cases=cases,
        overwrite=True,
        progress=lambda done, count: progress("drawing", done, count),
    )
