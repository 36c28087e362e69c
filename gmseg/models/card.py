"""Check the card of a model, which is untrusted input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gmseg.core.standardisation import STANDARDISATIONS
from gmseg.errors import InputError
from gmseg.models.factory import is_number, sizes_fit, window_fits


def check_card(card: Path, model) -> None:
    """Raise InputError if a card, read as a `gmseg.core.model.Model`, cannot be used."""
    faults = {
        "name": not _is_name(model.name),
        "network": not sizes_fit(model.network),
        "voxel_size_mm": not is_number(model.voxel_size_mm) or not 0.05 <= model.voxel_size_mm <= 2,
        "window": type(model.window) is not int or not 16 <= model.window <= 1024,
        "standardise": model.standardise not in STANDARDISATIONS,
        "mean": model.mean is not None and not is_number(model.mean),
        "std": model.std is not None and not (is_number(model.std) and model.std > 0),
        "threshold": not is_number(model.threshold) or not 0 <= model.threshold <= 1,
        "threshold_grid": model.threshold_grid != "native",
        "scores": not isinstance(model.scores, list),
        "graphs": model.graphs is not None and not _are_graphs(model.graphs),
        "about": model.about is not None and not _is_about(model.about),
        "confidence": model.confidence is not None and not are_knots(model.confidence),
        **{key: not _is_text(getattr(model, key)) for key in ("trained_on", "command", "commit")},
    }
    if not faults["network"] and not faults["window"]:
        faults["window"] = not window_fits(model.network, model.window)
    wrong = [key for key, fault in faults.items() if fault]
    if wrong:
        raise InputError(f"{card}: {', '.join(wrong)} cannot be used; get the model's files again")


def _are_graphs(value) -> bool:
    """Return whether a value describes an exported graph; see `gmseg.core.model.Model`."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("window", "of")
    )


def _is_about(value) -> bool:
    """Return whether a value is a dict of texts; see `gmseg.core.model.Model`."""
    return isinstance(value, dict) and all(_is_text(text) for text in value.values())


def _is_text(value) -> bool:
    """Return whether a value is text without control characters."""
    return isinstance(value, str) and not re.search(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", value)


def _is_name(value) -> bool:
    """Return whether a value can be part of a file name."""
    return _is_text(value) and bool(value.strip()) and not re.search(r"[/\\\n\r\t]", value)


def are_knots(value) -> bool:
    """Return whether a ``confidence`` can be used: increasing pairs of numbers in 0 to 1."""
    try:
        pairs = np.array(value, float)
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(
        pairs.ndim == 2
        and pairs.shape[1] == 2
        and (pairs >= 0).all()
        and (pairs <= 1).all()
        and (np.diff(pairs[:, 0]) > 0).all()
    )
