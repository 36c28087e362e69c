"""Protocols: everything that a training run depends on, but the data and the seed."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from gmseg.errors import InputError
from gmseg.io.resources import bundled
from gmseg.models.factory import sizes_fit, window_step
from gmseg.training.augmentation import Augmentation
from gmseg.training.template import Template


@dataclass(frozen=True)
class Windows:
    """Which windows are trained on: see ``models/protocols/default.toml``."""

    spacing_mm: float = 0.25
    standardise: str = "volume"
    raters: str = "majority"
    size: int = 128
    batch: int = 8
    centre: str = "cord"
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
    """Share of cross-entropy in the loss, the rest being Dice; whether areas are set right."""

    cross_entropy: float = 0.25
    calibrate: bool = False


@dataclass(frozen=True)
class Optimiser:
    """Adam with the poly schedule, averaging of weights, and how often to validate."""

    rate: float = 1.5e-3
    power: float = 0.9
    steps: int = 1000
    epoch: int = 1
    average: float = 0.0
    validate_every: int = 100


@dataclass(frozen=True)
class Protocol:
    """Everything that a training run depends on, but the data and the seed."""

    name: str
    network: dict
    windows: Windows
    phantoms: Phantoms
    template: Template
    augmentation: Augmentation
    loss: Loss
    optimiser: Optimiser


_SECTIONS = {
    "windows": Windows,
    "phantoms": Phantoms,
    "template": Template,
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
    network = content.get("network", {})
    if not sizes_fit(network):
        raise InputError(f"{source}: [network] describes no network that can be built; repair it")
    parts = {}
    for section, kind in _SECTIONS.items():
        values = content.get(section, {})
        if not isinstance(values, dict):
            raise InputError(f"{source}: {section} is no section; write [{section}]")
        if unknown := values.keys() - kind.__dataclass_fields__.keys():
            unknown = ", ".join(sorted(unknown))
            raise InputError(f"{source}: [{section}] has unknown {unknown}; remove it")
        for key, value in values.items():
            if not _fits(key, value, kind.__dataclass_fields__[key].default):
                raise InputError(
                    f"{source}: [{section}] {key} = {value!r} cannot be used; see the default"
                )
        parts[section] = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
    if parts["windows"].size % (step := window_step(network)):
        raise InputError(f"{source}: [windows] size must be a multiple of {step} for this network")
    if parts["phantoms"].share > 0 and parts["phantoms"].count == 0:
        raise InputError(f"{source}: [phantoms] share needs a count; give both or neither")
    return Protocol(name=name, network=network, **parts)


def shortened(protocol: Protocol, steps: int | None, *, batch: int, size: int) -> Protocol:
    """Return a protocol for a trial: few steps, of few and small windows.

    Parameters
    ----------
    protocol : Protocol
    steps : int or None
        How many steps, with four validations among them; None gives the whole protocol back,
        as it is.
    batch, size : int
        Windows per step, and their rows and columns.

    Raises
    ------
    gmseg.errors.InputError
        If a number makes no sense.
    """
    if steps is None:
        return protocol
    for key, value in (("steps", steps), ("batch", batch), ("size", size)):
        if not _fits(key, value, 1):
            raise InputError(f"{key} = {value!r} cannot be used; choose another")
    whole = protocol.optimiser
    optimiser = replace(
        whole,
        steps=steps,
        epoch=max(1, whole.epoch * steps // whole.steps),  # the rate falls as in the whole
        validate_every=max(1, steps // 4),
    )
    windows = replace(protocol.windows, batch=batch, size=size)
    name = f"{protocol.name}-shortened"
    return replace(protocol, name=name, windows=windows, optimiser=optimiser)


_AT_LEAST_ONE = {"batch", "steps", "epoch", "validate_every", "slices"}
_MORE_THAN_ZERO = {"rate", "elastic_sigma"}
_CHOICES = {
    "standardise": ("volume", "training"),
    "raters": ("each", "majority"),
    "centre": ("cord", "image"),
}
_SHARES = {
    "near_cord",
    "small_field",
    "share",
    "flip",
    "blur",
    "sharpen",
    "coarse",
    "noise",
    "cross_entropy",
    "average",
}


def _fits(key: str, value, default) -> bool:
    """Return whether a value is of its default's kind and within its limits."""
    if isinstance(default, tuple):
        return (
            isinstance(value, list)
            and len(value) == 2
            and all(_fits("", end, 0.0) for end in value)
            and 0 < value[0] <= value[1]
        )
    if isinstance(default, str):
        return value in _CHOICES[key]
    if isinstance(default, bool):
        return isinstance(value, bool)
    if type(default) is int:
        low, high = (16, 200) if key == "size" else (1 if key in _AT_LEAST_ONE else 0, 10**9)
        return type(value) is int and low <= value <= high
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        return False
    if key == "spacing_mm":
        return 0.05 <= value <= 2
    return value <= 1 if key in _SHARES else value > 0 if key in _MORE_THAN_ZERO else True
