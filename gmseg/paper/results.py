"""Results of an experiment on disk: who was scored on what, in one small JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gmseg.errors import InputError
from gmseg.evaluation.metrics import METRICS, deviation_of, mean_of
from gmseg.io.files import read_json, write_text

_DIGITS = 5


@dataclass(frozen=True)
class Method:
    """One column of a table of results.

    Attributes
    ----------
    name : str
    scans : list of dict
        For each scan its ``name``, ``group`` (site or subject) and ``scores``, by the names in
        `gmseg.evaluation.metrics.METRICS`; what is not defined is NaN.
    facts : dict
        What else was measured: ``parameters``, ``multiply_adds``, ``training_s``, ``slice_s``.
    """

    name: str
    scans: list[dict]
    facts: dict = field(default_factory=dict)

    def mean(self) -> dict[str, float]:
        """Return every metric's mean over the scans."""
        return mean_of([scan["scores"] for scan in self.scans])

    def deviation(self) -> dict[str, float]:
        """Return every metric's standard deviation over the scans."""
        return deviation_of([scan["scores"] for scan in self.scans])


@dataclass(frozen=True)
class Results:
    """An experiment's results.

    Attributes
    ----------
    title, how : str
        What was compared, and how it was measured, for people to read.
    made_by : str
        The command, and the commit that it ran on.
    methods : list of Method
    """

    title: str
    how: str
    made_by: str
    methods: list[Method]


def save_results(results: Results, path) -> None:
    """Write results as JSON; numbers keep five digits, undefined ones are null."""
    text = json.dumps(_rounded(asdict(results)), indent=1) + "\n"
    write_text(path, text)


def load_results(path) -> Results:
    """Read results that `save_results` wrote.

    Raises
    ------
    gmseg.errors.InputError
        If the file holds something else.
    """
    content = read_json(Path(path))
    try:
        methods = [
            Method(one["name"], [_with_nan(scan) for scan in one["scans"]], dict(one["facts"]))
            for one in content["methods"]
        ]
        return Results(content["title"], content["how"], content["made_by"], methods)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: holds no results of gmseg ({error}); make it again") from None


def _with_nan(scan: dict) -> dict:
    scores = {key: scan["scores"][key] for key in METRICS}
    scores = {key: math.nan if value is None else float(value) for key, value in scores.items()}
    return {"name": scan["name"], "group": scan["group"], "scores": scores}


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
