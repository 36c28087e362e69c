"""Protocols: everything that a training run depends on, but the data and the seed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from gmseg.augment import Augmentation
from gmseg.bundled import bundled
from gmseg.errors import InputError


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
