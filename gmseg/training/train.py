"""Train a network on labelled scans: check, describe, build, run the loop, finish."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gmseg.core.model import Model
from gmseg.datasets.folders import LabelledScan, find_scans, unlabelled_scans
from gmseg.datasets.labelled import check_scans
from gmseg.datasets.splits import split_by_subject, subjects_named
from gmseg.errors import InputError
from gmseg.io.files import atomic_path, check_folder, new_folders, sha256
from gmseg.io.temporary import locked
from gmseg.models import registry
from gmseg.models.backend import import_keras
from gmseg.models.factory import build, network_entry, network_sizes
from gmseg.training import checkpoint
from gmseg.training.loop import Run, run_steps
from gmseg.training.losses import make_loss
from gmseg.training.protocol import Protocol, load_protocol
from gmseg.training.samples import TrainingSet, prepare_training_set
from gmseg.training.validation import calibrate, mean_dice, read_cases

PRECISIONS = {"float32": "float32", "bf16": "mixed_bfloat16"}
"""Precisions of the arithmetic in training, and how Keras names them."""
_OUTPUTS = ("checkpoint.npz", "model.json", "model.weights.h5", "log.csv", "curves.png")
_GM_SHARE = 0.02  # GM in a window, about: the output of a new network
_LEAST_SHIFT = 0.005  # a smaller one would be written as 0.00


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
    precision: str = "float32",
    resume: bool = False,
    command: str = "gmseg.training.train.train",
    commit: str = "unknown",
    describe: Callable[[str], None] | None = None,
    progress: Callable[[dict], None] | None = None,
) -> Model:
    """Train a network on folders with GM masks, and return the model written to `out`.

    Parameters
    ----------
    dataset : path-like or list of path-like
        Folders for `gmseg.datasets.folders.find_scans`.
    out : path-like
        Output folder; created if missing.
    protocol, split
        See `load_protocol` and `gmseg.datasets.splits.split_by_subject`.
    start : str, path-like or Model, optional
        Model whose weights are the first ones; random weights by default.
    template : path-like, optional
        See `gmseg.training.template.read_template`.
    early_stop : int, optional
        Validations without a better Dice before the run stops and keeps its best weights.
    tensorboard, resume : bool
        Whether to write ``out/tensorboard``, and to continue from the checkpoint in `out`.
    seed : int
    precision : {"float32", "bf16"}
        Precision of convolutions in training. bfloat16 is meant for graphics cards; weights,
        loss and validation stay in single precision.
    command, commit : str
        Provenance for the model card.
    describe, progress : callable, optional
        Functions of a line about the data, before the first step, and of a dict after every
        step: step, steps, loss, dice, waiting (share of the time spent waiting for samples).

    Raises
    ------
    gmseg.errors.InputError
        If the data or the protocol cannot be used, or `out` contains another run.
    KeyboardInterrupt
        After Ctrl-C, SIGTERM or SIGHUP: the step is finished and a checkpoint written.
    """
    folders = dataset if isinstance(dataset, list | tuple) else [dataset]
    out = _check_out(out, resume)
    plan = _check(folders, out, protocol, split, start, template, early_stop, seed, precision)
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("`tensorboard=True` needs TensorBoard; pip install tensorboard")
    _describe(plan, folders, resume, describe)
    with _alone(out):
        _check_out(out, resume)  # again: another run may have ended in the meantime
        run = _build(plan)
        training_set = prepare_training_set(plan.training, plan.protocol, template)
        draft = replace(_draft(plan, training_set), command=command, commit=commit)
        run.cases = read_cases(plan.held_out, draft, plan.protocol.windows.centre)
        run_steps(run, training_set, tensorboard=tensorboard, progress=progress)
        return _finish(run, plan, draft)


# ------------------------------------------------------------------------------------- check


@dataclass(frozen=True)
class _Plan:
    """The choices of a run, checked."""

    out: Path
    protocol: Protocol
    seed: int
    training: list[LabelledScan]
    held_out: list[LabelledScan]
    start: Model | None
    template: Path | None
    early_stop: int | None
    precision: str


def _check_out(out, resume: bool) -> Path:
    """Return the output folder; refuse one that contains another run."""
    out = check_folder(out)
    for name in _OUTPUTS:
        if (out / name).exists() and not (resume and (out / checkpoint.NAME).exists()):
            raise InputError(
                f"{out / name}: exists; set `resume=True` to continue, or choose another `out`"
            )
    return out


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Create the output folder, and refuse it while another run writes to it."""
    file = out / checkpoint.NAME
    with new_folders([file]), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(file, wait=False))
        except BlockingIOError:
            raise InputError(
                f"{out}: another training writes to it now; choose another `out`"
            ) from None
        yield


def _check(
    folders, out, protocol, split, start, template, early_stop, seed: int, precision: str
) -> _Plan:
    """Return the choices of a run, or say which of them cannot be used."""
    import_keras()
    if precision not in PRECISIONS:
        raise InputError(f"`precision`: {precision!r} is unknown; choose {' or '.join(PRECISIONS)}")
    if not isinstance(protocol, Protocol):
        protocol = load_protocol(protocol)
    scans = [scan for folder in folders for scan in find_scans(folder)]
    training, held_out = split_by_subject(scans, split)
    if early_stop and not held_out:
        raise InputError("`early_stop` needs held-out subjects; choose another `split`")
    if start is not None:
        start = start if isinstance(start, Model) else registry.load_model(start)
        _check_start(start, network_sizes(protocol.network), held_out)
        if start.has_cord and any(scan.cord is not None for scan in training):
            protocol = replace(protocol, network=protocol.network | {"outputs": 2})
    template = Path(template) if template is not None else None
    stop = early_stop or None
    return _Plan(out, protocol, seed, training, held_out, start, template, stop, precision)


def _check_start(start: Model, sizes, held_out: list[LabelledScan]) -> None:
    """Refuse a model with a network of other sizes, or one trained on held-out subjects."""
    theirs, ours = network_entry(network_sizes(start.network)), network_entry(sizes)
    for key in sorted((theirs.keys() | ours.keys()) - {"dropout", "batchnorm_momentum", "outputs"}):
        if theirs.get(key) != ours.get(key):
            raise InputError(
                f"`start={start.name}`: its network has {key} {theirs.get(key)}, the "
                f"protocol's {ours.get(key)}; change the protocol's [network]"
            )
    seen = subjects_named(start.trained_on) & {scan.subject for scan in held_out}
    if seen:
        raise InputError(
            f"`start={start.name}`: was trained on the held-out subjects "
            f"{', '.join(sorted(seen))}; hold out others, or start from another model"
        )


def _describe(plan: _Plan, folders, resume: bool, describe: Callable | None) -> None:
    """Read and check the data, and describe the data and the run in lines of text."""
    lines = check_scans(plan.training + plan.held_out)
    if left_out := [scan.name for folder in folders for scan in unlabelled_scans(folder)]:
        lines.append(f"left out because they have no mask: {', '.join(left_out)}")
    subjects = sorted({scan.subject for scan in plan.training})
    lines.append(f"trained on: {', '.join(subjects)}")
    names = ", ".join(scan.name for scan in plan.held_out)
    lines.append(f"held out: {names or 'none, so there is no validation'}")
    start = plan.start
    if start is not None and start.has_cord:
        count = sum(scan.cord is not None for scan in plan.training)
        also = " and cord" if plan.protocol.outputs == 2 else " alone"
        total = len(plan.training)
        lines.append(f"outputs: GM{also}; {count} of {total} training scans have a cord mask")
    if start is None and plan.protocol.name == "default":
        lines.append("the protocol default is made to continue from a model, and none is given")
    if start is not None and not subjects_named(start.trained_on):
        lines.append(f"the card of {start.name} names no subjects: held-out ones may be among them")
    if resume and not (plan.out / checkpoint.NAME).exists():
        lines.append(f"{plan.out} contains no checkpoint: this run starts from the beginning")
    if describe is not None:
        for line in lines:
            describe(line)


# ------------------------------------------------------------------------------------- build


def _build(plan: _Plan) -> Run:
    """Return the run with compiled networks, and the state of its checkpoint if there is one."""
    keras = import_keras()
    from gmseg.core.network import logits_of

    protocol = plan.protocol
    keras.utils.set_random_seed(plan.seed)
    sizes = network_sizes(protocol.network)
    with _precision(plan.precision):
        network = logits_of(build(sizes))
    averaged = build(sizes)
    first = np.log(_GM_SHARE / (1 - _GM_SHARE))
    network.get_layer("logits").bias.assign([first] * protocol.outputs)
    if plan.start is not None:
        _fill_from(network, registry.load_network(plan.start))
    network.compile(
        keras.optimizers.Adam(protocol.optimiser.rate), loss=make_loss(protocol.loss.cross_entropy)
    )
    network.optimizer.build(network.trainable_variables)
    identity = _identity(plan)
    state = checkpoint.State(network.get_weights(), network.get_weights())
    if (plan.out / checkpoint.NAME).exists():
        state = checkpoint.load(plan.out / checkpoint.NAME, network, identity)
    early_stop = plan.early_stop
    return Run(plan.out, protocol, plan.seed, network, averaged, state, identity, [], early_stop)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Build layers of this precision, see `train`."""
    config = import_keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(PRECISIONS[name])
    try:
        yield
    finally:
        config.set_dtype_policy(before)


def _fill_from(network, start) -> None:
    """Fill a network with the weights of another, which may have more outputs."""
    count = network.output.shape[-1]
    for layer, other in zip(network.layers, start.layers, strict=False):
        values = other.get_weights()
        if layer.name == "logits":
            values = [value[..., :count] for value in values]
        layer.set_weights(values)


def _identity(plan: _Plan) -> str:
    """Return what two runs must share for one to continue from the other's checkpoint."""
    maps = sorted(plan.template.glob("*_[gw]m.nii.gz")) if plan.template is not None else []
    scans = {
        kind: {item.name: [sha256(file) for file in _files(item)] for item in items}
        for kind, items in (("training", plan.training), ("held_out", plan.held_out))
    }
    return json.dumps(
        {
            "protocol": asdict(plan.protocol),
            "seed": plan.seed,
            "precision": plan.precision,
            **scans,
            "start": plan.start.weights_sha256 if plan.start is not None else None,
            "template": [sha256(file) for file in maps],
        }
    )


def _files(item: LabelledScan) -> list[Path]:
    return [item.scan, *item.references, *([] if item.cord is None else [item.cord])]


def _draft(plan: _Plan, training_set: TrainingSet) -> Model:
    """Return the card of the model to be trained, without weights."""
    windows = plan.protocol.windows
    own = windows.standardise == "training"
    return Model(
        name="model",
        weights=plan.out,
        weights_sha256="",
        network=network_entry(network_sizes(plan.protocol.network)),
        voxel_size_mm=windows.spacing_mm,
        window=windows.inference_size,
        standardise=windows.standardise,
        mean=training_set.mean if own else None,
        std=training_set.std if own else None,
        trained_on=_trained_on(plan, training_set),
    )


def _trained_on(plan: _Plan, training_set: TrainingSet) -> str:
    protocol, start = plan.protocol, plan.start
    text = f"{len(plan.training)} scans: {', '.join(item.name for item in plan.training)}"
    if automatic := [item.name for item in plan.training if not item.manual]:
        text += f" (with automatic masks: {', '.join(automatic)})"
    if training_set.sections is not None and protocol.template.share > 0:
        text += f"; template cross-sections over {protocol.template.share:.0%} of the known cords"
    if protocol.phantoms.share > 0:
        text += f"; and {protocol.phantoms.count} synthetic phantoms"
    if start is not None:
        text += f"; begun with the weights of {start.name} ({start.trained_on})"
    return text


# ------------------------------------------------------------------------------------ finish


def _finish(run: Run, plan: _Plan, draft: Model) -> Model:
    """Choose and calibrate the weights, score them, draw the curves and write the model."""
    network, state, protocol = run.averaged, run.state, run.protocol
    network.set_weights(state.best if run.early_stop else state.average)
    if protocol.loss.calibrate:
        manual = [scan for scan in plan.training if scan.manual]
        shift = calibrate(network, read_cases(manual, draft))
        if abs(shift) >= _LEAST_SHIFT:
            text = f"{draft.trained_on}; logits shifted by {-shift:.2f} to give their areas"
            draft = replace(draft, trained_on=text)
    if run.cases:
        place = {"cord": "on the reference", "image": "at the image's centre"}
        score = {
            "what": "mean Dice over labelled slices, native grid, window "
            + place[protocol.windows.centre],
            "on": ", ".join(item.name for item in plan.held_out),
            "value": round(mean_dice(network, run.cases), 4),
        }
        draft = replace(draft, scores=[score])
    _write_curves(run.out / "curves.png", state.rows)
    card = asdict(draft)
    for key in ("name", "weights", "weights_sha256"):
        del card[key]
    return registry.save_model(network, run.out, "model", **card)


def _write_curves(path: Path, rows: list) -> None:
    from gmseg.training.curves import draw_curves

    with atomic_path(path) as temporary:
        draw_curves(rows).savefig(temporary, format="png", dpi=150)
