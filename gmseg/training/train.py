"""Training: loss, schedule, loop."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gmseg.core import model
from gmseg.datasets.folders import LabelledScan, find_scans, without_masks
from gmseg.datasets.labelled import check_scans
from gmseg.datasets.splits import split_by_subject, subjects_named
from gmseg.errors import InputError
from gmseg.io.files import check_folder, sha256
from gmseg.models import registry
from gmseg.models.backend import import_keras
from gmseg.models.factory import build, network_entry, network_sizes
from gmseg.training import checkpoint
from gmseg.training.loop import _batches, _events, _interruptible, _write_curves, _write_log
from gmseg.training.losses import make_loss, poly_rate
from gmseg.training.protocol import Protocol, load_protocol
from gmseg.training.samples import INFERENCE_WINDOW, TrainingSet, prepare_training_set
from gmseg.training.validation import calibrate, mean_dice, read_cases

_GM_SHARE = 0.02  # of a window, about: where a network begins that has learnt nothing


# ------------------------------------------------------------------------- loss and schedule


# ---------------------------------------------------------------------------------- training


def train(
    dataset,
    out,
    *,
    protocol="default",
    split: str | None = None,
    start=None,
    template=None,
    early_stop: int | None = None,
    tensorboard: bool = False,
    seed: int = 0,
    resume: bool = False,
    command: str = "gmseg.training.train.train",
    commit: str = "unknown",
    describe: Callable[[str], None] | None = None,
    progress: Callable[[dict], None] | None = None,
) -> model.Model:
    """Train a network on folders with GM masks.

    Parameters
    ----------
    dataset : path-like or list of path-like
        GM Challenge or BIDS folders: see `gmseg.datasets.folders.find_scans`.
    out : path-like
        Folder for ``model.weights.h5``, ``model.json``, ``log.csv``, ``curves.png`` and the
        checkpoint; created if missing.
    protocol : str or path-like
        See `load_protocol`.
    split : str, optional
        Subjects to validate on, never trained on; ``"all"``; ``"challenge"``: see
        `gmseg.datasets.splits.split_by_subject`.
    start : str, path-like or Model, optional
        A model whose weights to begin with, of the protocol's sizes; by default from scratch.
    template : path-like, optional
        See `gmseg.training.template.read_template`; without it nothing is painted from a template.
    early_stop : int, optional
        Stop after so many validations without a better Dice, and keep the best weights.
    tensorboard : bool
        Write loss, Dice and rate for TensorBoard, too, into ``out/tensorboard``.
    seed : int
    resume : bool
        Go on from the checkpoint in `out`.
    command, commit : str
        Provenance, for the model's card.
    describe : callable, optional
        Called with lines about the data before anything starts.
    progress : callable, optional
        Called after every step with a dict: step, steps, loss, dice, waiting (share of the
        time spent waiting for samples).

    Returns
    -------
    gmseg.Model
        The network after the last step (its running average where the protocol has one; the
        best of all validations with `early_stop`).

    Raises
    ------
    gmseg.errors.InputError
        If the data or the protocol cannot be used, or `out` holds another run.
    KeyboardInterrupt
        After Ctrl-C: the step was finished and a checkpoint written.
    """
    keras = import_keras()
    from gmseg.core.network import logits_of

    if not isinstance(protocol, Protocol):
        protocol = load_protocol(protocol)
    out = check_folder(out)
    saved = out / "checkpoint.npz"
    for name in ("checkpoint.npz", "model.json", "model.weights.h5", "log.csv", "curves.png"):
        if (out / name).exists() and not (resume and saved.exists()):
            raise InputError(f"{out / name}: exists; use --resume to go on, or another --out")
    folders = dataset if isinstance(dataset, list | tuple) else [dataset]
    found = [scan for folder in folders for scan in find_scans(folder)]
    training, held_out = split_by_subject(found, split)
    if early_stop and not held_out:
        raise InputError("--early-stop: needs somebody held out; choose another --split")
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: is not installed; pip install tensorboard")
    if start is not None:
        start = start if isinstance(start, model.Model) else registry.load_model(start)
        _check_start(start, network_sizes(protocol.network), held_out)
    lines = _description(folders, training, held_out, protocol, start)
    if resume and not saved.exists():
        lines.append(f"{out} holds no checkpoint: this run starts from the beginning")
    for line in lines:
        if describe is not None:
            describe(line)

    keras.utils.set_random_seed(seed)
    sizes = network_sizes(protocol.network)
    network, averaged = logits_of(build(sizes)), build(sizes)
    network.get_layer("logits").bias.assign([np.log(_GM_SHARE / (1 - _GM_SHARE))])
    if start is not None:
        network.set_weights(registry.load_network(start).get_weights())
    network.compile(
        keras.optimizers.Adam(protocol.optimiser.rate), loss=make_loss(protocol.loss.cross_entropy)
    )
    network.optimizer.build(network.trainable_variables)
    identity = _identity(protocol, seed, training, held_out, start, template)
    state = checkpoint.State(network.get_weights(), network.get_weights())
    if saved.exists():
        state = checkpoint.load(saved, network, identity)

    source = prepare_training_set(training, protocol, template)
    card = {
        "network": network_entry(sizes),
        "voxel_size_mm": protocol.windows.spacing_mm,
        "window": INFERENCE_WINDOW,
        "standardise": protocol.windows.standardise,
        "trained_on": _trained_on(training, protocol, source, start),
        "command": command,
        "commit": commit,
    }
    if protocol.windows.standardise == "training":
        card |= {"mean": source.mean, "std": source.std}
    blank = model.Model(name="model", weights=out, weights_sha256="", **card)
    validation = read_cases(held_out, blank, protocol.windows.centre)

    def validate() -> None:
        averaged.set_weights(state.average)
        state.validated(mean_dice(averaged, validation))
        checkpoint.save(saved, network, state, identity)
        _write_log(out / "log.csv", state.rows)

    out.mkdir(parents=True, exist_ok=True)
    optimiser, started, waited = protocol.optimiser, time.perf_counter(), 0.0
    with (
        _interruptible() as interrupted,
        _batches(source, protocol, seed, state.step) as batches,
        _events(out / "tensorboard" if tensorboard else None) as write_event,
    ):
        while state.step < optimiser.steps and not interrupted.is_set():
            if early_stop and state.validations_since_best() >= early_stop:
                break
            before = time.perf_counter()
            windows, masks = next(batches)
            waited += time.perf_counter() - before
            network.optimizer.learning_rate = poly_rate(state.step, optimiser)
            if keras.backend.backend() == "torch":
                # its dropout draws from a global state, which no checkpoint holds; on
                # TensorFlow this would clear caches and take three times as long
                keras.utils.set_random_seed((seed * 1_000_003 + state.step) % 2**32)
            network.reset_metrics()  # or older Keras returns the mean of all steps
            state.losses.append(float(network.train_on_batch(windows, masks)))
            if not np.isfinite(state.losses[-1]):
                raise InputError(
                    f"{out}: the loss is no number any more at step {state.step}; "
                    f"start again with a lower [optimiser] rate"
                )
            state.step += 1
            last = state.step == optimiser.steps
            due = state.step % optimiser.validate_every == 0 or last
            if state.step % checkpoint.AVERAGE_EVERY == 0 or due:
                state.follow(network.get_weights(), optimiser.average)
            if due:
                validate()
                write_event(
                    state.step,
                    loss=state.loss,
                    dice=state.dice,
                    rate=poly_rate(state.step - 1, optimiser),
                )
            if progress is not None:
                progress(
                    {
                        "step": state.step,
                        "steps": optimiser.steps,
                        "loss": state.loss,
                        "dice": state.dice,
                        "waiting": waited / (time.perf_counter() - started),
                    }
                )
    if interrupted.is_set() and state.step < optimiser.steps:
        checkpoint.save(saved, network, state, identity)
        raise KeyboardInterrupt
    averaged.set_weights(state.best if early_stop else state.average)
    if protocol.loss.calibrate:
        manual = [scan for scan in training if scan.manual]
        shift = calibrate(averaged, read_cases(manual, blank))
        if abs(shift) >= 0.005:  # else it says 0.00
            card["trained_on"] += f"; logits shifted by {-shift:.2f} to give their areas"
    if held_out:
        place = {"cord": "on the reference", "image": "at the image's centre"}
        score = {
            "what": "mean Dice over labelled slices, native grid, window "
            + place[protocol.windows.centre],
            "on": ", ".join(item.name for item in held_out),
            "value": round(mean_dice(averaged, validation), 4),
        }
        card["scores"] = [score]
    _write_curves(out / "curves.png", state.rows)
    return registry.save_model(averaged, out, "model", **card)


def _check_start(start: model.Model, sizes, held_out: list[LabelledScan]) -> None:
    """Refuse to begin with a network of another shape, or one that has seen the held-out."""
    theirs, ours = network_entry(network_sizes(start.network)), network_entry(sizes)
    for what in sorted((theirs.keys() | ours.keys()) - {"dropout", "batchnorm_momentum"}):
        if theirs.get(what) != ours.get(what):
            raise InputError(
                f"--from {start.name}: its network has {what} {theirs.get(what)}, the "
                f"protocol's {ours.get(what)}; change the protocol's [network]"
            )
    seen = subjects_named(start.trained_on) & {scan.subject for scan in held_out}
    if seen:
        raise InputError(
            f"--from {start.name}: was trained on {', '.join(sorted(seen))}, who are held out; "
            f"hold out others, or begin with another model"
        )


def _description(folders, training, held_out, protocol: Protocol, start) -> list[str]:
    """Return what to tell before anything starts; every fault of the data is raised here."""
    lines = check_scans(training + held_out)
    if left_out := [name for folder in folders for name in without_masks(folder)]:
        lines.append(f"left out, for they have no mask: {', '.join(left_out)}")
    subjects = sorted({scan.subject for scan in training})
    lines.append(f"trained on: {', '.join(subjects)}")
    names = ", ".join(scan.name for scan in held_out)
    lines.append(f"held out: {names or 'nobody, so nothing is validated'}")
    if start is None and protocol.name == "default":
        lines.append("the protocol default is made to go on from a model: --from default")
    if start is not None and not subjects_named(start.trained_on):
        lines.append(f"{start.name}'s card names no subjects: it may have seen those held out")
    return lines


def _identity(protocol: Protocol, seed: int, training, held_out, start, template) -> str:
    """Return what two runs must have in common for one to go on from the other's checkpoint."""
    maps = sorted(Path(template).glob("*_[gw]m.nii.gz")) if template is not None else []
    scans = {
        kind: {item.name: [sha256(f) for f in (item.scan, *item.references)] for item in items}
        for kind, items in (("training", training), ("held_out", held_out))
    }
    return json.dumps(
        {
            "protocol": asdict(protocol),
            "seed": seed,
            **scans,
            "start": start.weights_sha256 if start is not None else None,
            "template": [sha256(file) for file in maps],
        }
    )


def _trained_on(
    training: list[LabelledScan], protocol: Protocol, source: TrainingSet, start
) -> str:
    text = f"{len(training)} scans: {', '.join(item.name for item in training)}"
    if automatic := [item.name for item in training if not item.manual]:
        text += f" (with automatic masks: {', '.join(automatic)})"
    if source.sections is not None and protocol.template.share > 0:
        text += f"; template cross-sections over {protocol.template.share:.0%} of the known cords"
    if protocol.phantoms.share > 0:
        text += f"; and {protocol.phantoms.count} made-up phantoms"
    if start is not None:
        text += f"; begun with the weights of {start.name} ({start.trained_on})"
    return text
