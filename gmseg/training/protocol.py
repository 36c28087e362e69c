"""Protocols: all settings of a training run except the data and the seed."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gmseg.errors import InputError
from gmseg.io.resources import bundled
from gmseg.models.factory import sizes_fit, window_step
from gmseg.training.augmentation import Augmentation
from gmseg.training.template import Template


@dataclass(frozen=True)
class Windows:
    """Windows of the training: see ``models/protocols/default.toml``."""

    spacing_mm: float = 0.25
    standardise: str = "volume"
    raters: str = "majority"
    size: int = 128
    inference_size: int = 200
    batch: int = 8
    centre: str = "cord"
    near_cord: float = 0.85
    near_cord_mm: float = 6.0
    small_field: float = 0.0
    small_field_mm: tuple[float, float] = (18.0, 35.0)


@dataclass(frozen=True)
class Phantoms:
    """Synthetic phantoms in the training: see ``models/protocols/default.toml``."""

    share: float = 0.0
    count: int = 0
    slices: int = 4


@dataclass(frozen=True)
class Loss:
    """Share of cross-entropy in the loss (the rest is Dice), and whether to calibrate areas."""

    cross_entropy: float = 0.25
    calibrate: bool = False


@dataclass(frozen=True)
class Optimiser:
    """Adam with the poly schedule, averaging of weights, and steps between validations."""

    rate: float = 1.5e-3
    power: float = 0.9
    steps: int = 1000
    epoch: int = 1
    average: float = 0.0
    validate_every: int = 100


@dataclass(frozen=True)
class Protocol:
    """All settings of a training run except the data and the seed."""

    name: str
    network: dict
    windows: Windows
    phantoms: Phantoms
    template: Template
    augmentation: Augmentation
    loss: Loss
    optimiser: Optimiser

    @property
    def outputs(self) -> int:
        """Number of outputs of the network: GM, and the cord if there are two."""
        return self.network.get("outputs", 1)


_SECTIONS: dict[str, Any] = {
    "windows": Windows,
    "phantoms": Phantoms,
    "template": Template,
    "augmentation": Augmentation,
    "loss": Loss,
    "optimiser": Optimiser,
}


def load_protocol(name="default") -> Protocol:
    """Return a protocol.

    Parameters
    ----------
    name : str or path-like
        Name of a protocol of the package, or a TOML file.

    Raises
    ------
    gmseg.errors.InputError
        If there is no such protocol, or a setting is unknown or cannot be used.

    Examples
    --------
    >>> load_protocol("paper2018").windows.size
    200
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
    """Return a protocol from its sections, with default values for missing settings.

    Examples
    --------
    >>> protocol_of("mine", {"optimiser": {"steps": 50}}).optimiser.steps
    50
    """
    if unknown := content.keys() - _SECTIONS.keys() - {"network"}:
        raise InputError(f"{source}: unknown section {', '.join(sorted(unknown))}; remove it")
    network = content.get("network", {})
    if not sizes_fit(network):
        raise InputError(f"{source}: [network] describes no network that can be built; correct it")
    parts = {name: _section(name, content.get(name, {}), source) for name in _SECTIONS}
    for key in ("size", "inference_size"):
        if getattr(parts["windows"], key) % (step := window_step(network)):
            raise InputError(
                f"{source}: [windows] {key} must be a multiple of {step} for this network"
            )
    if network.get("outputs", 1) != 1:
        raise InputError(f"{source}: [network] outputs must be 1; training learns GM only")
    if parts["phantoms"].share > 0 and parts["phantoms"].count == 0:
        raise InputError(f"{source}: [phantoms] share needs a count; give both or neither")
    return Protocol(name=name, network=network, **parts)


def _section(section: str, values, source: str):
    """Return a section of a protocol as its dataclass, after checking its values."""
    if not isinstance(values, dict):
        raise InputError(f"{source}: {section} is not a section; write [{section}]")
    defaults = {field.name: field.default for field in fields(_SECTIONS[section])}
    if unknown := sorted(values.keys() - defaults.keys()):
        raise InputError(f"{source}: [{section}] has unknown {', '.join(unknown)}; remove it")
    for key, value in values.items():
        if not _fits(key, value, defaults[key]):
            raise InputError(
                f"{source}: [{section}] {key} = {value!r} cannot be used; see default.toml"
            )
    ranges = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return _SECTIONS[section](**ranges)


def shortened(protocol: Protocol, steps: int | None, *, batch: int, size: int) -> Protocol:
    """Return a protocol for a trial: few steps with few and small windows.

    Parameters
    ----------
    protocol : Protocol
    steps : int or None
        Number of steps, with four validations; None returns the protocol unchanged.
    batch, size : int
        Windows per step, and rows and columns of a window.

    Raises
    ------
    gmseg.errors.InputError
        If a number cannot be used.

    Examples
    --------
    >>> shortened(load_protocol("paper2018"), 40, batch=2, size=64).optimiser.validate_every
    10
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
        epoch=max(1, whole.epoch * steps // whole.steps),  # the rate falls in the same way
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
_SHARES = {"near_cord", "small_field", "share", "flip", "blur", "sharpen", "coarse", "noise"}
_SHARES |= {"cross_entropy", "average"}


def _fits(key: str, value, default) -> bool:
    """Return whether a value has the type of its default and is within its limits."""
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
        low, high = 1 if key in _AT_LEAST_ONE else 0, 10**9
        if key in ("size", "inference_size"):
            low, high = 16, 200
        return type(value) is int and low <= value <= high
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        return False
    if key == "spacing_mm":
        return 0.05 <= value <= 2
    return value <= 1 if key in _SHARES else value > 0 if key in _MORE_THAN_ZERO else True
