"""The values that a mask may contain: one rule for all commands.

- NaN and infinite voxels are refused. Values within 1e-3 of a whole number are that number.
- A mask contains 0 and 1. Other whole numbers need `label`, the value that is in the mask.
- A cord mask, a soft segmentation and a spread may contain fractions from 0 to 1. A cord mask may
  also contain 0 and one other whole number, such as 255.
- Ranges are checked and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from gmseg.errors import InputError

CORD = "cord mask"
_FRACTIONAL = (CORD, "soft segmentation", "spread")
_WHOLE = 1e-3  # distance from a whole number that rounding in another program may leave
_OVERSHOOT = 0.01  # by which interpolated fractions may exceed the range from 0 to 1
_MOST_LABELS = 100  # more different whole numbers are those of a scan


@dataclass
class _Tally:
    """What occurs in an image."""

    low: float = np.inf
    high: float = -np.inf
    fraction: float | None = None
    labels: set[int] = field(default_factory=set)  # besides 0

    def add(self, name, values: np.ndarray) -> None:
        """Add a part of the image."""
        values = values[values != 0]
        if not values.size:
            return
        if not np.isfinite(values).all():
            raise InputError(f"{name}: contains NaN or infinity; write 0 where nothing is marked")
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        whole = np.abs(values - np.rint(values)) <= _WHOLE
        if self.fraction is None and not whole.all():
            fractions = values[~whole]
            self.fraction = float(fractions[len(fractions) // 2])
        if len(self.labels) <= _MOST_LABELS:
            labels = np.unique(np.rint(values[whole]))
            self.labels |= {int(value) for value in labels if value}


def value_inside(
    name, parts: Iterable[np.ndarray], *, what: str, label: int | None = None
) -> int | None:
    """Return the value of the voxels that are in a mask, after checking all values.

    Parameters
    ----------
    name : str or path-like
        Name of the mask in messages.
    parts : iterable of numpy.ndarray
        Voxels of the mask, in parts.
    what : str
        Kind of the mask: ``"cord mask"``, ``"soft segmentation"`` or ``"spread"`` may contain
        fractions; all others contain whole numbers.
    label : int, optional
        Value of the voxels in a mask of several labels.

    Returns
    -------
    int or None
        None if the values are fractions.

    Raises
    ------
    gmseg.errors.InputError
        If a value is not allowed.

    Examples
    --------
    >>> value_inside("gm.nii", [np.array([0, 1, 2])], what="mask", label=2)
    2
    >>> value_inside("cord.nii", [np.array([0, 0.4, 1])], what="cord mask") is None
    True
    """
    tally = _Tally()
    for part in parts:
        tally.add(name, part)
    if what in _FRACTIONAL:
        return _fractional(name, tally, what)
    return _labelled(name, tally, what, label)


def as_mask(values: np.ndarray, value: int | None) -> np.ndarray:
    """Return voxels as 0, 1 and fractions between, float32; `value` is from `value_inside`.

    Examples
    --------
    >>> as_mask(np.array([0, 1, 2.0000001]), 2)
    array([0., 0., 1.], dtype=float32)
    """
    if value is None:
        return np.clip(values, 0, 1)  # changes the overshoot of interpolation at most
    return (np.abs(values - value) <= _WHOLE).astype(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    """Return voxels with those within 1e-3 of a whole number rounded.

    Examples
    --------
    >>> rounded(np.array([1.0000001, 1.5]))
    array([1. , 1.5])
    """
    whole = np.rint(values)
    return np.where(np.abs(values - whole) <= _WHOLE, whole, values)


def _fractional(name, tally: _Tally, what: str) -> int | None:
    """Return the value inside a mask that may contain fractions."""
    if tally.fraction is None and tally.labels <= {1}:
        return 1
    if tally.fraction is None and what == CORD and len(tally.labels) == 1 and tally.low > 0:
        return tally.labels.pop()
    if tally.low >= -_OVERSHOOT and tally.high <= 1 + _OVERSHOOT:
        return None
    if tally.fraction is None and len(tally.labels) <= 9:
        raise InputError(
            f"{name}: the {what} contains {_listed(tally.labels)}, as labels of several tissues; "
            f"give one of 0 and 1"
        )
    raise InputError(
        f"{name}: contains values from {min(tally.low, 0):g} to {tally.high:g}; a {what} has 0 to "
        f"1: divide it by its largest possible value, or give another file"
    )


def _labelled(name, tally: _Tally, what: str, label: int | None) -> int:
    """Return the value inside a mask of whole numbers."""
    in_range = tally.low >= -_OVERSHOOT and tally.high <= 1 + _OVERSHOOT
    if tally.fraction is not None and in_range:
        raise InputError(
            f"{name}: contains values such as {tally.fraction:g}, as a soft segmentation does; "
            f"give a mask of 0 and 1"
        )
    if tally.fraction is not None or len(tally.labels) > _MOST_LABELS:
        raise InputError(
            f"{name}: contains many values from {min(tally.low, 0):g} to {tally.high:g}, as a scan "
            f"does; give a mask of 0 and 1"
        )
    wanted = 1 if label is None else label
    others = tally.labels - {wanted}
    if others and label is None:
        which = 1 if 1 in tally.labels else min(others)
        remedy = f"say which value is GM with `label={which}`"
        remedy = remedy if what == "mask" else "give one with GM alone"
        raise InputError(f"{name}: contains {_listed(others)} besides 0 and 1; {remedy}")
    if others and wanted not in tally.labels:
        remedy = "give the value of GM with `label`" if what == "mask" else "relabel it"
        raise InputError(f"{name}: contains {_listed(others)} and no {label}; {remedy}")
    return wanted


def _listed(labels: set[int]) -> str:
    shown = ", ".join(str(label) for label in sorted(labels)[:3])
    return f"{shown}, ..." if len(labels) > 3 else shown
