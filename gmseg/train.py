"""Training: loss, schedule, validation, loop, checkpoints."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

from gmseg import measure, metrics, pipeline, pretrained
from gmseg.datasets import LabelledScan, bids_scans, split_by_person
from gmseg.engine import import_keras
from gmseg.errors import InputError
from gmseg.files import atomic_path, check_folder
from gmseg.protocol import Optimiser, Protocol, load_protocol
from gmseg.samples import (
    INFERENCE_WINDOW,
    make_batch,
    prepare_phantoms,
    prepare_training_scan,
    read_labelled,
)

# ------------------------------------------------------------------------- loss and schedule


def make_loss(cross_entropy: float) -> Callable:
    """Return the loss: Dice with a share of cross-entropy.

    Notes
    -----
    The Dice part is the paper's, smooth 1 over the flattened batch, as 1 - Dice. Alone, it
    is best served by calling GM whatever is GM with a probability over about 0.4, so that
    areas come out too large where the border is uncertain. Cross-entropy wants the
    probability itself. It is counted per pixel of GM, so that both parts pull about equally
    at the border, however much background there is.
    """
    from keras import losses, ops

    def loss(reference, soft):
        area = ops.sum(reference) + 1
        dice = (2 * ops.sum(reference * soft) + 1) / (area + ops.sum(soft))
        entropy = ops.sum(losses.binary_crossentropy(reference, soft)) / area
        return (1 - cross_entropy) * (1 - dice) + cross_entropy * entropy

    return loss


def poly_rate(step: int, optimiser: Optimiser) -> float:
    """Return the learning rate of a step: rate * (1 - n/N)^power (paper, "Training")."""
    return optimiser.rate * (1 - step / optimiser.steps) ** optimiser.power


# ------------------------------------------------------------------ validation, calibration


@dataclass(frozen=True)
class Case:
    """A labelled scan ready for the whole pipeline, its window centred on the reference."""

    ready: pipeline.Prepared
    reference: np.ndarray
    axis: int


def read_cases(items: list[LabelledScan], model: pretrained.Model) -> list[Case]:
    """Prepare labelled scans for the whole pipeline."""
    cases = []
    for item in items:
        scan, reference = read_labelled(item)
        ready = pipeline.prepare(scan, model, name=item.scan, cord=reference)
        cases.append(Case(ready, reference, measure.slice_axis(scan.affine)))
    return cases


def mean_dice(network, cases: list[Case], threshold: float = 0.5) -> float:
    """Return the mean Dice, on the scans' own grids, over the slices with reference GM."""
    predict = pretrained.keras_predictor(network)
    scores = []
    for case in cases:
        soft_windows = pipeline.predict_windows(predict, case.ready.windows)
        mask = pipeline.soft_on_scan(soft_windows, case.ready) > threshold
        scores.append(metrics.dice_labelled(mask, case.reference, case.axis))
    return float(np.mean(scores)) if scores else float("nan")


def logit_shift(cases: list[Case], soft_windows: list[np.ndarray], threshold=0.5) -> float:
    """Return what to take from the logits so that areas are right on the average.

    Parameters
    ----------
    cases : list of Case
        Training scans.
    soft_windows : list of numpy.ndarray
        The network's output on each, (slices, size, size).
    threshold : float

    Returns
    -------
    float
        With it, the mean over the scans of predicted over reference area is 1, over the
        slices that the reference labels.
    """
    soft_windows = [np.clip(soft, 1e-6, 1 - 1e-6) for soft in soft_windows]

    def excess(shift: float) -> float:
        ratios = []
        for case, soft in zip(cases, soft_windows, strict=True):
            shifted = 1 / (1 + np.exp(shift) * (1 / soft - 1))
            mask = pipeline.soft_on_scan(shifted.astype(np.float32), case.ready) > threshold
            keep = metrics.labelled_slices(case.reference, case.axis)
            area = np.compress(keep, mask, axis=case.axis).sum()
            ratios.append(area / case.reference.sum())
        return float(np.mean(ratios)) - 1

    low, high = -6.0, 6.0
    if excess(low) <= 0 or excess(high) >= 0:
        return 0.0  # nothing was learnt that a shift could mend
    return float(optimize.brentq(excess, low, high, xtol=0.01))


def calibrate(network, cases: list[Case]) -> float:
    """Shift the network's last bias by `logit_shift` of the training scans; return it.

    The Dice part of the loss still draws borders too wide: 12 to 38 % too much area on the
    very scans that were trained on. One number mends it, and no held-out scan is asked.
    """
    predict = pretrained.keras_predictor(network)
    soft = [pipeline.predict_windows(predict, case.ready.windows) for case in cases]
    shift = logit_shift(cases, soft)
    bias = network.get_layer("logits").bias
    bias.assign(np.asarray(bias) - shift)
    return shift


# ---------------------------------------------------------------------------------- training


def train(
    dataset,
    out,
    *,
    protocol="default",
    split: str,
    seed: int = 0,
    resume: bool = False,
    command: str = "gmseg.train.train",
    commit: str = "unknown",
    progress: Callable | None = None,
) -> pretrained.Model:
    """Train a network from scratch on a BIDS folder with GM masks.

    Parameters
    ----------
    dataset : path-like
        See `gmseg.datasets.bids_scans`.
    out : path-like
        Folder for ``model.weights.h5``, ``model.json``, ``log.csv`` and the checkpoint;
        created if missing.
    protocol : str or path-like
        See `load_protocol`.
    split : str
        Persons to validate on, never trained on; or ``"all"``.
    seed : int
    resume : bool
        Go on from the checkpoint in `out`.
    command, commit : str
        Provenance, for the model's card.
    progress : callable, optional
        Called after every step with a dict: step, steps, loss, dice, waiting (share of the
        time spent waiting for samples).

    Returns
    -------
    gmseg.Model
        The network after the last step, its areas calibrated on the training scans.

    Raises
    ------
    gmseg.errors.InputError
        If the data or the protocol cannot be used, or `out` holds another run.
    """
    keras = import_keras()
    from gmseg.network import build_network

    if not isinstance(protocol, Protocol):
        protocol = load_protocol(protocol)
    out = check_folder(out)
    checkpoint = out / "checkpoint.npz"
    for file in (checkpoint, out / "model.json", out / "model.weights.h5", out / "log.csv"):
        if file.exists() and not (resume and checkpoint.exists()):
            raise InputError(f"{file}: exists; use --resume to go on, or another --out")
    training, held_out = split_by_person(bids_scans(dataset), split)

    keras.utils.set_random_seed(seed)
    network = build_network(pretrained.network_sizes(protocol.network))
    optimiser = keras.optimizers.Adam(protocol.optimiser.rate)
    network.compile(optimiser, loss=make_loss(protocol.loss.cross_entropy))
    optimiser.build(network.trainable_variables)
    identity = json.dumps(
        {"protocol": asdict(protocol), "seed": seed, "training": [s.name for s in training]}
    )
    step, rows = 0, []
    if checkpoint.exists():
        step, rows = _load_checkpoint(checkpoint, network, identity)

    card = {
        "network": asdict(pretrained.network_sizes(protocol.network)),
        "window": INFERENCE_WINDOW,
        "trained_on": _describe(training, protocol),
        "command": command,
        "commit": commit,
    }
    blank = pretrained.Model(name="model", weights=out, weights_sha256="", network=card["network"])
    validation = read_cases(held_out, blank)
    scans = [prepare_training_scan(item) for item in training]
    data = scans, prepare_phantoms(protocol.phantoms), protocol

    out.mkdir(parents=True, exist_ok=True)
    steps, waited, started = protocol.optimiser.steps, 0.0, time.perf_counter()
    losses, dice = [], float("nan")
    with ThreadPoolExecutor(1) as pool, _interruptible() as interrupted:
        ahead = pool.submit(make_batch, *data, seed, step) if step < steps else None
        while step < steps and not interrupted.is_set():
            before = time.perf_counter()
            windows, masks = ahead.result()
            waited += time.perf_counter() - before
            if step + 1 < steps:
                ahead = pool.submit(make_batch, *data, seed, step + 1)
            optimiser.learning_rate = poly_rate(step, protocol.optimiser)
            losses.append(float(network.train_on_batch(windows, masks)))
            if not np.isfinite(losses[-1]):
                raise InputError(
                    f"{out}: the loss is no number any more at step {step}; "
                    f"start again with a lower [optimiser] rate"
                )
            step += 1
            if step % protocol.optimiser.validate_every == 0 or step == steps:
                dice = mean_dice(network, validation)
                rows.append([step, float(np.mean(losses)), dice])
                losses = []
                _save_checkpoint(checkpoint, network, identity, step, rows)
                _write_log(out / "log.csv", rows)
            if progress is not None:
                share = waited / (time.perf_counter() - started)
                loss = float(np.mean(losses)) if losses else rows[-1][1]
                progress(
                    {"step": step, "steps": steps, "loss": loss, "dice": dice, "waiting": share}
                )
    if step < steps:
        _save_checkpoint(checkpoint, network, identity, step, rows)
        raise KeyboardInterrupt
    shift = calibrate(network, read_cases(training, blank))
    card["trained_on"] += f"; logits shifted by {-shift:.2f} to give the training scans' areas"
    if held_out:
        names = ", ".join(item.name for item in held_out)
        card["scores"] = [
            {"what": "mean Dice over labelled slices, native grid, window on the reference",
             "on": names, "value": round(mean_dice(network, validation), 4)}
        ]  # fmt: skip
    return pretrained.save_model(network, out, "model", **card)


def _describe(training: list[LabelledScan], protocol: Protocol) -> str:
    text = f"{len(training)} scans: {', '.join(item.name for item in training)}"
    if protocol.phantoms.share > 0:
        text += f"; and {protocol.phantoms.count} made-up phantoms"
    return text


def _variables(network) -> list:
    return [*network.variables, *network.optimizer.variables]


def _save_checkpoint(path: Path, network, identity: str, step: int, rows: list) -> None:
    values = {f"variable_{i}": np.asarray(v) for i, v in enumerate(_variables(network))}
    with atomic_path(path) as temporary:
        np.savez(temporary, identity=identity, step=step, rows=json.dumps(rows), **values)


def _load_checkpoint(path: Path, network, identity: str) -> tuple[int, list]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            same = str(saved["identity"]) == identity
            if same:
                for i, variable in enumerate(_variables(network)):
                    variable.assign(saved[f"variable_{i}"])
                return int(saved["step"]), json.loads(str(saved["rows"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is no checkpoint that can be read ({type(error).__name__}); "
            f"remove it or choose another --out"
        ) from None
    raise InputError(
        f"{path}: is of a run with another protocol, seed or data; choose another --out"
    )


def _write_log(path: Path, rows: list) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["step", "loss", "validation_dice"], *rows])
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within it, Ctrl-C sets an event, so that a step is finished instead of torn down."""
    asked = threading.Event()
    try:
        before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    except ValueError:  # not in the main thread: signals are somebody else's
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
