"""Options of a segmentation, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from numbers import Integral, Real

from gmseg.errors import InputError
from gmseg.inference.postprocessing import check_steps


@dataclass(frozen=True)
class SegmentOptions:
    """Options of a segmentation; see `gmseg.segment`."""

    threshold: float | None = None
    standardise: str | None = None
    centre: str | tuple[float, float] = "auto"
    cord: object = None
    within_cord: bool = False
    clean: Collection[str] = ()
    tta: int = 0
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for options that cannot be used."""
        if self.threshold is not None and not (
            _is_real(self.threshold) and 0 <= self.threshold <= 1
        ):
            raise InputError(f"`threshold`: {self.threshold!r} is not a number between 0 and 1")
        named = isinstance(self.centre, str) and self.centre in ("auto", "image")
        if not (named or _is_position(self.centre)):
            raise InputError(
                f"`centre`: {self.centre!r} is unknown; choose 'auto', 'image' or a position "
                f"(x, y) in mm"
            )
        for name, least in (("tta", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise InputError(f"`{name}`: {value!r} is not a whole number of at least {least}")
        if self.within_cord and self.cord is None:
            raise InputError("`within_cord`: needs a cord mask; give one with `cord`")
        check_steps(self.clean)


def _is_real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_position(value) -> bool:
    """Return whether a value is two finite numbers."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    values = list(value)
    return len(values) == 2 and all(_is_real(one) and math.isfinite(one) for one in values)
