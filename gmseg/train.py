"""Training: samples, loss, schedule, loop, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import signal
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gmseg import image as gm_image
from gmseg import measure, metrics, phantom, pipeline, pretrained, window
from gmseg.augment import Augmentation, change_intensity, random_coordinates, warp
from gmseg.bundled import bundled
from gmseg.datasets import LabelledScan, bids_scans, split_by_person
from gmseg.engine import import_keras
from gmseg.errors import InputError

INFERENCE_WINDOW = 200


# --------------------------------------------------------------------------------- protocol


@dataclass(frozen=True)
class Windows:
    """Which windows are trained on: see ``models/protocols/default.toml``."""

    size: int = 128
    batch: int = 8
    near_cord: float = 0.85
    near_cord_mm: float = 6.0
    small_field: float = 0.0
    small_field_mm: tuple[float, float] = (18.0, 35.0)


@dataclass(frozen=True)
class Phantoms:
    """How much of the training is made up: see ``models/protocols/default.toml``."""

    share: float = 0.0
    count: int = 0
    slices: int = 4


@dataclass(frozen=True)
class Loss:
    """Share of cross-entropy in the loss; the rest is Dice."""

    cross_entropy: float = 0.25


@dataclass(frozen=True)
class Optimiser:
    """Adam with the poly schedule, and how often to validate."""

    rate: float = 1.5e-3
    power: float = 0.9
    steps: int = 1000
    validate_every: int = 100


@dataclass(frozen=True)
class Protocol:
    """Everything that a training run depends on, but the data and the seed."""

    name: str
    network: dict
    windows: Windows
    phantoms: Phantoms
    augmentation: Augmentation
    loss: Loss
    optimiser: Optimiser


_SECTIONS = {
    "windows": Windows,
    "phantoms": Phantoms,
    "augmentation": Augmentation,
    "loss": Loss,
    "optimiser": Optimiser,
}


def load_protocol(name="default") -> Protocol:
    """Read a protocol.

    Parameters
    ----------
    name : str or path-like
        A known name or a TOML file.

    Raises
    ------
    gmseg.errors.InputError
        If there is none, or it holds something unknown.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = bundled("models/protocols") / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in bundled("models/protocols").glob("*.toml")))
        raise InputError(f"{name}: no such protocol; known are {known}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML ({error}); repair it") from None
    return protocol_of(path.stem, content, source=str(path))


def protocol_of(name: str, content: dict, *, source: str = "the protocol") -> Protocol:
    """Return a protocol from its sections; what is missing has its default value."""
    if unknown := content.keys() - _SECTIONS.keys() - {"network"}:
        raise InputError(f"{source}: unknown section {', '.join(sorted(unknown))}; remove it")
    parts = {}
    for section, kind in _SECTIONS.items():
        values = content.get(section, {})
        if unknown := values.keys() - kind.__dataclass_fields__.keys():
            raise InputError(f"{source}: [{section}] has unknown {', '.join(sorted(unknown))}")
        parts[section] = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
    return Protocol(name=name, network=content.get("network", {}), **parts)


# ------------------------------------------------------------------------------------ data


@dataclass(frozen=True)
class TrainingScan:
    """A labelled scan on the working grid, its labelled slices only.

    Attributes
    ----------
    slices, masks : numpy.ndarray
        float32, (slices, rows, columns): scan values; share of GM in 0-1.
    centres : numpy.ndarray
        (slices, 2), the GM's centre.
    mean, std : float
        Of the windows around those centres, in scan values.
    """

    slices: np.ndarray
    masks: np.ndarray
    centres: np.ndarray
    mean: float
    std: float


def read_labelled(item: LabelledScan):
    """Read a scan and its reference: nibabel image and bool mask on one grid."""
    scan = gm_image.read_scan(item.scan)
    return scan, gm_image.read_mask(item.reference, scan, what="reference")


def prepare_training_scan(item: LabelledScan) -> TrainingScan:
    """Read a labelled scan and bring it to the working grid.

    Slices without GM in the reference are left out: raters often label a part, so that an
    empty slice does not mean that there is no gray matter in it.
    """
    scan, reference = read_labelled(item)
    if not reference.any():
        raise InputError(f"{item.reference}: the reference is empty; remove it or label it")
    return _training_scan(np.asarray(scan.dataobj), reference, scan.affine)


def _training_scan(data: np.ndarray, gm: np.ndarray, affine: np.ndarray) -> TrainingScan:
    grid = gm_image.to_working_grid(data, affine)
    mask = gm_image.to_working_grid(gm.astype(np.float32), affine).data
    keep = (mask > 0.5).any(axis=(0, 1))
    centres = window.locate(grid, cord=mask)
    windows = window.cut(grid.data, centres, INFERENCE_WINDOW)
    return TrainingScan(
        slices=np.ascontiguousarray(np.moveaxis(grid.data, 2, 0)[keep]),
        masks=np.ascontiguousarray(np.moveaxis(mask, 2, 0)[keep]),
        centres=centres[keep],
        mean=float(windows.mean(dtype=np.float64)),
        std=float(windows.std(dtype=np.float64)),
    )


def prepare_phantoms(how: Phantoms) -> list[TrainingScan]:
    """Make up labelled scans: the label is the true share of GM in each voxel."""
    found = []
    for i in range(how.count):
        number = i % len(phantom.SITES)
        site = phantom.SITES[number]
        made = phantom.make_phantom(
            seed=i, site=number + 1, spacing_mm=site.spacing_mm, shape=(*site.shape[:2], how.slices)
        )
        image = made.image
        found.append(_training_scan(np.asarray(image.dataobj), made.gm_fraction, image.affine))
    return found


def make_sample(
    rng: np.random.Generator,
    scans: list[TrainingScan],
    phantoms: list[TrainingScan],
    protocol: Protocol,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training pair.

    Returns
    -------
    window, mask : numpy.ndarray
        float32, (size, size) each: standardised and augmented; share of GM in 0-1.
    """
    how, spacing_mm = protocol.windows, gm_image.WORKING_SPACING_MM
    pool = phantoms if rng.random() < protocol.phantoms.share else scans
    scan = pool[rng.integers(len(pool))]
    k = rng.integers(len(scan.slices))
    plane, mask, centre = scan.slices[k], scan.masks[k], scan.centres[k]
    if rng.random() < how.near_cord:
        radius = how.near_cord_mm / spacing_mm * np.sqrt(rng.random())
        angle = rng.uniform(0, 2 * np.pi)
        centre = centre + radius * np.array([np.cos(angle), np.sin(angle)])
    else:
        centre = rng.uniform((0, 0), plane.shape)
    where = random_coordinates(rng, centre, INFERENCE_WINDOW, protocol.augmentation)
    plane, mask = warp(plane, where), warp(mask, where)
    mean, std = scan.mean, scan.std
    if rng.random() < how.small_field:
        before = plane.mean() + 1e-6, plane.std() + 1e-6
        plane, mask = _blank_outside_field(rng, plane, mask, how.small_field_mm)
        # the scan's own mean and std would have changed as this slice's do
        mean *= plane.mean() / before[0]
        std *= max(plane.std() / before[1], 0.1)
    start = (INFERENCE_WINDOW - how.size) // 2
    inner = slice(start, start + how.size)
    plane = (plane[inner, inner] - mean) / std
    return change_intensity(rng, plane, protocol.augmentation), mask[inner, inner]


def _blank_outside_field(rng, plane, mask, field_mm):
    """Set everything outside a random rectangle about the middle to scan value 0."""
    size = np.array(plane.shape)
    half = rng.uniform(*field_mm, 2) / gm_image.WORKING_SPACING_MM / 2
    middle = size / 2 + rng.uniform(-0.3, 0.3, 2) * half
    low, high = np.maximum(middle - half, 0).astype(int), (middle + half).astype(int)
    seen = np.zeros(plane.shape, np.float32)
    seen[low[0] : high[0], low[1] : high[1]] = 1
    return plane * seen, mask * seen


def make_batch(
    scans: list[TrainingScan],
    phantoms: list[TrainingScan],
    protocol: Protocol,
    seed: int,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the batch of one step: it depends on seed and step alone, so runs can resume.

    Returns
    -------
    windows, masks : numpy.ndarray
        float32, (batch, size, size, 1).
    """
    pairs = [
        make_sample(np.random.default_rng([seed, step, i]), scans, phantoms, protocol)
        for i in range(protocol.windows.batch)
    ]
    windows, masks = (np.stack(part)[..., None] for part in zip(*pairs, strict=True))
    return windows, masks


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


# -------------------------------------------------------------------------------- validation


def make_validator(items: list[LabelledScan], model: pretrained.Model) -> Callable | None:
    """Return a function from a network to its mean Dice on held-out scans.

    The whole pipeline runs, on the scan's own grid, over the slices that the reference
    labels; only the window is centred on the reference.
    """
    if not items:
        return None
    cases = []
    for item in items:
        scan, reference = read_labelled(item)
        axis = measure.slice_axis(scan.affine)
        ready = pipeline.prepare(scan, model, name=item.scan, cord=reference)
        cases.append((ready, reference, axis))

    def validate(network) -> float:
        predict = pretrained.keras_predictor(network)
        scores = []
        for ready, reference, axis in cases:
            soft = pipeline.soft_on_scan(pipeline.predict_windows(predict, ready.windows), ready)
            scores.append(metrics.dice_labelled(soft > model.threshold, reference, axis))
        return float(np.mean(scores))

    return validate


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
        The network after the last step.

    Raises
    ------
    gmseg.errors.InputError
        If the data or the protocol cannot be used, or `out` holds another run.
    """
    keras = import_keras()
    from gmseg.network import build_network

    if not isinstance(protocol, Protocol):
        protocol = load_protocol(protocol)
    out = Path(out)
    checkpoint = out / "checkpoint.npz"
    if checkpoint.exists() and not resume:
        raise InputError(f"{checkpoint}: exists; use --resume to go on, or another --out")
    training, held_out = split_by_person(bids_scans(dataset), split)
    out.mkdir(parents=True, exist_ok=True)

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
    validate = make_validator(held_out, blank)
    scans = [prepare_training_scan(item) for item in training]
    data = scans, prepare_phantoms(protocol.phantoms), protocol

    steps, waited, started = protocol.optimiser.steps, 0.0, time.perf_counter()
    losses, dice = [], float("nan")
    with ThreadPoolExecutor(1) as pool, _interruptible() as interrupted:
        ahead = pool.submit(make_batch, *data, seed, step) if step < steps else None
        while step < steps and not interrupted:
            before = time.perf_counter()
            windows, masks = ahead.result()
            waited += time.perf_counter() - before
            if step + 1 < steps:
                ahead = pool.submit(make_batch, *data, seed, step + 1)
            optimiser.learning_rate = poly_rate(step, protocol.optimiser)
            losses.append(float(network.train_on_batch(windows, masks)))
            step += 1
            if step % protocol.optimiser.validate_every == 0 or step == steps:
                dice = validate(network) if validate else float("nan")
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
    if held_out:
        names = ", ".join(item.name for item in held_out)
        card["scores"] = [
            {"what": "mean Dice over labelled slices, native grid, window on the reference",
             "on": names, "value": round(rows[-1][2], 4)}
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
    with gm_image.atomic_path(path) as temporary:
        np.savez(temporary, identity=identity, step=step, rows=json.dumps(rows), **values)


def _load_checkpoint(path: Path, network, identity: str) -> tuple[int, list]:
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["identity"]) != identity:
            raise InputError(
                f"{path}: is of a run with another protocol, seed or data; choose another --out"
            )
        for i, variable in enumerate(_variables(network)):
            variable.assign(saved[f"variable_{i}"])
        return int(saved["step"]), json.loads(str(saved["rows"]))


def _write_log(path: Path, rows: list) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["step", "loss", "validation_dice"], *rows])
    with gm_image.atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


class _interruptible:  # noqa: N801 - used as a function
    """Within it, Ctrl-C asks the loop to stop after its step instead of tearing it down."""

    def __enter__(self):
        self._asked = False
        try:
            self._old = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not in the main thread: leave signals alone
            self._old = None
        return self

    def _ask(self, *_):
        self._asked = True

    def __bool__(self):
        return self._asked

    def __exit__(self, *_):
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
