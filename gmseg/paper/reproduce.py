"""The paper again, in one go: from the challenge's folder to its table and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gmseg.core import model, pipeline
from gmseg.datasets.folders import LabelledScan, find_scans, unlabelled_scans
from gmseg.datasets.labelled import check_scans, read_labelled
from gmseg.datasets.splits import split_by_subject, subjects_named
from gmseg.errors import InputError
from gmseg.evaluation import evaluate, metrics, score_table
from gmseg.evaluation.evaluate import majority
from gmseg.inference import engines, segment
from gmseg.io import image
from gmseg.io.files import check_folder, read_json, sha256, write_text
from gmseg.io.resources import commit
from gmseg.models import registry
from gmseg.paper import published
from gmseg.paper.figures import make_figures
from gmseg.paper.results import Method, Results, load_results, save_results
from gmseg.training.protocol import load_protocol
from gmseg.training.train import train

PAPER_THRESHOLD = 0.999
"""The authors' (their code): of the soft segmentation on the working grid."""
FOLDERS = {PAPER_THRESHOLD: "masks", 0.5: "masks-0.5"}


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
    """Train on the challenge, or take a model; segment, evaluate, write table and figures.

    Parameters
    ----------
    challenge : path-like
        A folder of the GM Challenge: see `gmseg.datasets.folders.challenge_scans`.
    out : path-like
        Folder for everything; created if missing.
    model : str, path-like or Model, optional
        A model to take; by default one is trained.
    protocol, split, seed
        See `gmseg.training.train.train`. With a model, `split` says which scans are evaluated; scans
        that a model was trained on flatter it.
    resume : bool
        Go on in `out` where the same call was interrupted: with the training's checkpoint, and
        with the scans that are not segmented yet.
    command : str
        Provenance.
    describe : callable, optional
        Called with lines about the data, and about what is done.
    progress : callable, optional
        Called with (stage, done, in all).

    Returns
    -------
    Results
        Mean over the raters of each scan's metrics over the whole volume, by the paper's
        threshold and by 0.5; and the raters against each other.

    Raises
    ------
    gmseg.errors.InputError
        If the data cannot be used, or `out` holds something else.

    Notes
    -----
    Paper, "Methods" and "Evaluation". Window at the image's centre; a voxel of the working grid
    is GM where the soft segmentation is over 0.999, and the mask comes back to the scan's grid
    linearly, cut at 0.5. Beside it ``masks-0.5``: the soft segmentation brought back, cut at 0.5,
    as everywhere else in gmseg. Subjects without masks are segmented, too, to be handed in.
    """
    tell = describe or (lambda _: None)
    step = progress or (lambda *_: None)
    out = check_folder(out)
    scans = find_scans(challenge)
    for line in check_scans(scans):
        tell(line)
    training, held_out = split_by_subject(scans, split)
    scored = held_out or training
    unlabelled = unlabelled_scans(challenge)
    chosen = None if model is None else _loaded(model)
    plan = None if chosen else load_protocol(protocol)
    _begin(out, _identity(scans, scored, chosen, plan, seed), resume)

    if chosen is None:
        chosen = _trained(challenge, out / "training", protocol, split, seed, command, tell, step)
    seen = subjects_named(chosen.trained_on) & {item.subject for item in scored}
    provenance = f"it was trained on: {chosen.trained_on}"
    if seen:
        provenance = f"it was trained on scans that it is scored on: {', '.join(sorted(seen))}"
    tell(f"{chosen.name}: {provenance}")
    everything = [*scored, *unlabelled]
    for done, item in enumerate(everything, 1):
        _segment(item, chosen, out)
        step("segmenting", done, len(everything))

    label = chosen.name if plan is None else "trained here"
    methods, found, cases = _evaluated(scored, label, out, step)
    results = Results(
        f"{len(scored)} scans of {Path(challenge).name}",
        f"over the whole volume, mean over the raters, window at the image's centre. The model: "
        f"{provenance}.",
        f"{command}, commit {commit()}",
        methods,
    )
    save_results(results, out / "results.json")
    score_table.write_scores(found, tsv=out / "scores.tsv", json_file=out / "scores.json")
    write_text(out / "results.md", published.as_markdown(results))
    make_figures(
        out / "figures",
        dataset=challenge,
        results=load_results(out / "results.json"),
        cases=cases,
        overwrite=True,
        progress=lambda done, count: step("drawing", done, count),
    )
    return results


def _loaded(model) -> model.Model:
    return model if isinstance(model, model.Model) else registry.load_model(model)


def _identity(scans, scored, model, protocol, seed: int) -> dict:
    """Return what two calls must have in common for one to go on with the other's files."""
    return {
        "files": {
            file.name: sha256(file) for item in scans for file in (item.scan, *item.references)
        },
        "scored": [item.name for item in scored],
        "model": model.weights_sha256 if model else None,
        "protocol": asdict(protocol) if protocol else None,
        "seed": None if model else seed,
    }


def _begin(out: Path, identity: dict, resume: bool) -> None:
    """Note what this run is of, or refuse a folder that holds another or anything else."""
    identity = json.loads(json.dumps(identity))
    file = out / "run.json"
    if file.exists():
        before = read_json(file)
        differs = [key for key in identity if before.get(key) != identity[key]]
        if differs:
            raise InputError(
                f"{out}: holds a run with other {', '.join(differs)}; give another folder"
            )
        if not resume:
            raise InputError(f"{out}: holds this very run; use --resume to go on with it")
        return
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no run.json; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(identity, indent=1) + "\n")


def _trained(challenge, folder, protocol, split, seed, command, tell, step) -> model.Model:
    if not (folder / "model.json").exists():
        resume = (folder / "checkpoint.npz").exists()
        train(
            challenge,
            folder,
            protocol=protocol,
            split=split,
            seed=seed,
            resume=resume,
            command=command,
            commit=commit(),
            describe=tell,
            progress=lambda state: step("training", state["step"], state["steps"]),
        )
    return registry.load_model(folder / "model.json")


def _segment(item: LabelledScan, model: model.Model, out: Path) -> None:
    """Write a scan's masks, unless they are there."""
    files = {threshold: _mask_file(out, threshold, item) for threshold in FOLDERS}
    if all(file.exists() for file in files.values()):
        return
    scan = image.read_scan(item.scan)
    ready = pipeline.prepare(scan, model, name=item.scan, centre="image")
    soft = segment.predict_windows(engines.load_predictor(model), ready.windows)
    over = (soft > PAPER_THRESHOLD).astype(np.float32)
    masks = {PAPER_THRESHOLD: over, 0.5: soft}
    for threshold, file in files.items():
        file.parent.mkdir(exist_ok=True)
        mask = pipeline.soft_on_scan(masks[threshold], ready) > 0.5
        image.write_image(image.like_scan(scan, mask.astype(np.uint8)), file)


def _mask_file(out: Path, threshold: float, item: LabelledScan) -> Path:
    return out / FOLDERS[threshold] / f"{item.scan.name.split('.nii')[0]}_gmseg.nii.gz"


def _evaluated(scored: list[LabelledScan], label: str, out: Path, step) -> tuple[list, dict, list]:
    """Return methods for the table, all scores by the paper's threshold, cases to show."""
    names = {t: f"{label}, threshold {t:g}" for t in FOLDERS}
    rows: dict[str, list] = {name: [] for name in names.values()}
    between, found, cases = [], {}, []
    for done, item in enumerate(scored, 1):
        scan, references = read_labelled(item)
        raters = {f"r{n}": reference for n, reference in enumerate(references, 1)}
        masks = {t: image.read_segmentation(_mask_file(out, t, item)) for t in FOLDERS}
        place = {"name": item.name, "group": item.site or item.subject}
        arrays = {t: np.asarray(mask.dataobj, bool) for t, mask in masks.items()}
        compared = evaluate.compare_raters(arrays[PAPER_THRESHOLD], raters, scan.affine)
        found[item.name] = compared
        native = metrics.mean_of(
            [metrics.compare(arrays[0.5], one, scan.affine) for one in references]
        )
        for threshold, scores in ((PAPER_THRESHOLD, compared["volume"]), (0.5, native)):
            rows[names[threshold]].append(place | {"scores": scores})
        if "between_raters" in compared:
            between.append(place | {"scores": compared["between_raters"]["volume"]})
        agreed = image.like_scan(scan, majority(references).astype(np.uint8))
        cases.append(
            place
            | {
                "scan": scan,
                "mask": masks[PAPER_THRESHOLD],
                "reference": agreed,
                "dice": compared["volume"]["DSC"],
            }
        )
        step("evaluating", done, len(scored))
    methods = [Method(name, scans) for name, scans in rows.items()]
    if between:
        methods.append(Method("raters among them", between))
    return methods, evaluate.pool(found), cases
