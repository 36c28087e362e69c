"""Compare the network with a U-Net of the paper's size, trained alike on the same folds.

    python experiments/unet_comparison.py SHARED_DATA PUBLISHED_WEIGHTS OUT [--only invivo exvivo]

SHARED_DATA contains t2starw-multicentre, t2star-unlabelled and amu7t-template. Both networks are
trained from scratch, briefly, into OUT:

unlabelled/              scans without masks, with automatic masks by the published network
invivo/NETWORK/SUBJECT/  by the protocol `default`, once for every held-out subject
exvivo/NETWORK/          on 15 slices of a synthetic cord at 0.1 mm, 7 to validate, 8 to test, by
                         the protocol `exvivo`, as in the paper with a real cord

Interrupted runs are resumed, completed ones skipped. The script writes data/results/unet.json and
data/results/exvivo.json, which `gmseg figures` draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from automatic_masks import label
from tqdm import tqdm

import gmseg
from gmseg.core import pipeline
from gmseg.datasets.folders import bids_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation import metrics
from gmseg.inference.engines import load_predictor
from gmseg.io.resources import commit
from gmseg.models import backend
from gmseg.models.factory import build, multiply_adds, network_sizes
from gmseg.models.registry import load_network
from gmseg.paper.results import Method, Results, save_results
from gmseg.training.losses import make_loss
from gmseg.training.protocol import Protocol, load_protocol
from gmseg.training.train import train

NETWORKS = {"dilated convolutions": {}, "U-Net": {"kind": "unet", "widths": [26, 48, 98, 192]}}
STEPS = {"invivo": 400, "exvivo": 250}
RATE = 2e-3  # learning rate from scratch; the default protocol starts from a model
PHANTOMS = 24
PARTS = {"train": 15, "validate": 7, "test": 8}
CORD_MM, EXVIVO_MM, CORD_SEED = 116, 0.1, 20_002
TIMED = 5
RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"


def main() -> None:
    """Train and evaluate the chosen experiments, and write their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("published", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    chosen = parser.parse_args()
    names = chosen.data.name, chosen.published.name
    command = shlex.join(["python", "experiments/unet_comparison.py", *names, "OUT"])
    made_by = f"{command}, commit {commit()}"
    RESULTS.mkdir(exist_ok=True)
    if "invivo" in chosen.only:
        save_results(in_vivo(chosen, made_by), RESULTS / "unet.json")
    if "exvivo" in chosen.only:
        save_results(ex_vivo(chosen.out / "exvivo", made_by), RESULTS / "exvivo.json")


def in_vivo(chosen, made_by: str) -> Results:
    """Train both networks on every fold of the labelled scans, and evaluate them."""
    labelled = chosen.data / "t2starw-multicentre"
    scans = bids_scans(labelled)
    unlabelled = chosen.out / "unlabelled"
    if not unlabelled.exists():
        partly = chosen.out / "unlabelled.partly"
        label(chosen.data, gmseg.load_model(chosen.published), partly)
        partly.rename(unlabelled)
    methods = []
    for name, network in NETWORKS.items():
        models = {}
        for subject in sorted({scan.subject for scan in scans}):
            protocol = short(load_protocol("default"), network, STEPS["invivo"], rate=RATE)
            protocol = dataclasses.replace(
                protocol, phantoms=dataclasses.replace(protocol.phantoms, count=PHANTOMS)
            )
            models[subject] = trained(
                [labelled, unlabelled],
                chosen.out / "invivo" / name / subject,
                protocol,
                subject,
                template=chosen.data / "amu7t-template",
            )
        scores = [
            scan_scores(scan, models[scan.subject])
            for scan in tqdm(scans, desc=f"evaluating {name}")
            if scan.manual
        ]
        methods.append(Method(name, scores, costs(models[subject], protocol)))
    return Results(
        "Network and U-Net, trained alike on the same folds",
        f"Both from scratch, {STEPS['invivo']} steps of 8 windows of 80 x 80 pixels, protocol "
        f"default at the rate {RATE:g}; leave one subject out; labelled slices, threshold 0.5, "
        f"window on the cord. The references are probably corrected automatic masks. The training "
        f"is short: it compares the networks, but does not show what either can reach.",
        made_by,
        methods,
    )


def ex_vivo(folder: Path, made_by: str) -> Results:
    """Train both networks on slices of a synthetic cord at 0.1 mm, and test on other slices."""
    cord = folder / "cord"
    if not cord.exists():
        write_cord(cord.with_name("cord.partly"))
        cord.with_name("cord.partly").rename(cord)
    test = [scan for scan in bids_scans(cord) if scan.subject == "test"]
    methods = []
    for name, network in NETWORKS.items():
        protocol = short(load_protocol("exvivo"), network, STEPS["exvivo"], batch=3, size=160)
        model = trained([cord], folder / name, protocol, "validate,test")
        methods.append(Method(name, slice_scores(test[0], model), costs(model, protocol)))
    return Results(
        "Small ex vivo experiment: a synthetic cord at 0.1 mm",
        f"Interleaved slices of one synthetic cord: {PARTS['train']} for training, "
        f"{PARTS['validate']} for validation, {PARTS['test']} for testing. From scratch, "
        f"{STEPS['exvivo']} steps of 3 windows of 160 x 160 pixels instead of the paper's 19,200 "
        f"of 11 of 200 x 200; otherwise the protocol exvivo. In plane, threshold 0.5. The cord is "
        f"synthetic and free of artefacts: this shows the experiment, not results on real cords.",
        made_by,
        methods,
    )


# -------------------------------------------------------------------------------- training


def short(protocol: Protocol, network: dict, steps: int, *, rate=None, **windows) -> Protocol:
    """Return a protocol for another network and fewer steps."""
    kept = ("dropout", "batchnorm_momentum")
    if network:
        network = network | {key: protocol.network[key] for key in kept}
    changes = {"steps": steps, "validate_every": steps // 4, "epoch": 1}
    optimiser = dataclasses.replace(
        protocol.optimiser, **changes, **({"rate": rate} if rate else {})
    )
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}-short",
        network=network or protocol.network,
        windows=dataclasses.replace(protocol.windows, **windows),
        optimiser=optimiser,
    )


def trained(folders, out: Path, protocol: Protocol, split: str, *, template=None):
    """Train one model unless it exists, and load it."""
    if not (out / "model.json").exists():
        with tqdm(desc=f"{out.parent.name}/{out.name}", total=protocol.optimiser.steps) as bar:
            train(
                folders,
                out,
                protocol=protocol,
                split=split,
                template=template,
                seed=1,
                resume=(out / "checkpoint.npz").exists(),
                commit=commit(),
                progress=lambda state: bar.update(state["step"] - bar.n),
            )
    return gmseg.load_model(out / "model.json")


def costs(model, protocol: Protocol) -> dict:
    """Return parameters, arithmetic and times of a network; run nothing else meanwhile."""
    keras = backend.import_keras()
    from gmseg.core.network import logits_of

    network, size = load_network(model), model.window
    predict = load_predictor(model)
    found = {
        "parameters": convolution_parameters(network),
        "multiply_adds": multiply_adds(network, size, size),
        "slice_s": shortest(lambda: predict(np.zeros((1, size, size), np.float32))),
    }
    logits = logits_of(build(network_sizes(protocol.network)))
    logits.compile(keras.optimizers.Adam(0.0), loss=make_loss(protocol.loss.cross_entropy))
    batch = np.zeros((protocol.windows.batch, *[protocol.windows.size] * 2, 1), np.float32)
    step_s = shortest(lambda: logits.train_on_batch(batch, batch))
    return found | {"training_s": step_s * protocol.optimiser.steps}


def shortest(call) -> float:
    """Return the shortest time of a call in seconds, after two calls to warm up."""
    times = []
    for _ in range(TIMED + 2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def convolution_parameters(network) -> int:
    """Return the number of parameters of the convolutions, which the paper counts."""
    return sum(
        layer.count_params()
        for layer in network.layers
        if type(layer).__name__ in {"Conv2D", "Conv2DTranspose"}
    )


# ------------------------------------------------------------------------------ evaluation


def segmented(item, model):
    """Return a scan's mask, its reference and its affine."""
    scan, references = read_labelled(item)
    prepared = pipeline.prepare(scan, model, name=item.scan, cord=references[0])
    windows = pipeline.predict_windows(load_predictor(model), prepared.windows)[:, 0]
    soft = pipeline.restore(windows, prepared.centres, prepared.grid)
    return soft > model.threshold, references[0], scan.affine


def scan_scores(item, model) -> dict:
    """Return the scores of a scan over its labelled slices."""
    mask, reference, affine = segmented(item, model)
    scores = metrics.compare_labelled(mask, reference, affine)
    return {"name": item.name, "group": item.subject, "scores": scores}


def slice_scores(item, model) -> list[dict]:
    """Return the scores of each slice of a scan."""
    mask, reference, affine = segmented(item, model)
    return [
        {"name": f"slice {number}", "group": "test", "scores": scores}
        for number, scores in metrics.compare_slices(mask, reference, affine).items()
    ]


# ------------------------------------------------------------------------ the synthetic cord


def write_cord(folder: Path) -> None:
    """Write slices of one synthetic cord as three scans: to train, to validate, to test."""
    count = sum(PARTS.values())
    cord = make_phantom(
        seed=CORD_SEED,
        spacing_mm=(EXVIVO_MM, EXVIVO_MM, CORD_MM / count),
        shape=(240, 240, count),
        acquired_mm=EXVIVO_MM,
        noise=0.05,
        drift_mm=0.3,
    )
    scan = np.asarray(cord.image.dataobj)
    gm = (np.asarray(cord.mask.dataobj) == 1).astype(np.uint8)
    for part, slices in split_slices().items():
        scans = folder / f"sub-{part}" / "anat"
        labels = folder / "derivatives" / "labels" / f"sub-{part}" / "anat"
        for place, values, end in ((scans, scan, ""), (labels, gm, "_gmseg-manual")):
            place.mkdir(parents=True)
            image = nib.Nifti1Image(values[..., slices], cord.image.affine)
            nib.save(image, place / f"sub-{part}_T2star{end}.nii.gz")


def split_slices() -> dict[str, list[int]]:
    """Return the slices to train, to validate and to test, each evenly spaced along the cord."""
    places = [((k + 0.5) / count, part) for part, count in PARTS.items() for k in range(count)]
    order = [part for _, part in sorted(places)]
    return {part: [k for k, name in enumerate(order) if name == part] for part in PARTS}


if __name__ == "__main__":
    sys.exit(main())
