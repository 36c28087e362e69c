"""Results of an experiment: the scores of every scan by every method, in one small JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gmseg.errors import InputError
from gmseg.evaluation.metrics import METRICS, deviation_of, mean_of
from gmseg.io.files import read_json, write_text
from gmseg.io.resources import bundled

_DIGITS = 5


@dataclass(frozen=True)
class Method:
    """One column of a table of results.

    Attributes
    ----------
    name : str
        Name of the method.
    scans : list of dict
        ``name``, ``group`` (site or subject) and ``scores`` of every scan. The scores are by the
        names in `gmseg.evaluation.metrics.METRICS`; an undefined one is NaN.
    facts : dict
        Costs of the method: ``parameters``, ``multiply_adds``, ``training_s``, ``slice_s``.

    Examples
    --------
    >>> scores = dict.fromkeys(METRICS, 0.5)
    >>> scans = [{"name": "site1-sc01", "group": "site1", "scores": scores}]
    >>> Method("network", scans).mean()["DSC"]
    0.5
    """

    name: str
    scans: list[dict]
    facts: dict = field(default_factory=dict)

    def mean(self) -> dict[str, float]:
        """Return the mean over the scans of every metric."""
        return mean_of([scan["scores"] for scan in self.scans])

    def group_mean(self) -> dict[str, float]:
        """Return the mean over the groups, each with the mean of its scans, of every metric."""
        groups: dict[str, list[dict[str, float]]] = {}
        for scan in self.scans:
            groups.setdefault(scan["group"], []).append(scan["scores"])
        return mean_of([mean_of(scores) for scores in groups.values()])

    def deviation(self) -> dict[str, float]:
        """Return the standard deviation over the scans of every metric."""
        return deviation_of([scan["scores"] for scan in self.scans])


@dataclass(frozen=True)
class Results:
    """Results of an experiment.

    Attributes
    ----------
    title : str
        What was compared.
    how : str
        How it was measured, as a sentence.
    made_by : str
        Command and commit.
    methods : list of Method
        Methods that were compared.
    """

    title: str
    how: str
    made_by: str
    methods: list[Method]


def save_results(results: Results, path) -> None:
    """Write results as JSON: numbers have five digits, undefined ones are null.

    Parameters
    ----------
    results : Results
        Results to write.
    path : path-like
        File to write.
    """
    write_text(path, json.dumps(_rounded(asdict(results)), indent=1) + "\n")


def load_results(path) -> Results:
    """Read results that `save_results` wrote.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    Results
        Results of the experiment.

    Raises
    ------
    gmseg.errors.InputError
        If the file contains something else.
    """
    content = read_json(Path(path))
    try:
        methods = [
            Method(method["name"], [_with_nan(scan) for scan in method["scans"]], method["facts"])
            for method in content["methods"]
        ]
        return Results(content["title"], content["how"], content["made_by"], methods)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: contains no results of gmseg ({error}); give a file that gmseg wrote"
        ) from None


def stored_results(name: str) -> Results:
    """Return results that come with gmseg: ``"cross-validation"``, ``"unet"`` or ``"exvivo"``.

    Examples
    --------
    >>> [method.name for method in stored_results("unet").methods]
    ['dilated convolutions', 'U-Net']
    """
    return load_results(bundled(f"data/results/{name}.json"))


def _with_nan(scan: dict) -> dict:
    values = {key: scan["scores"][key] for key in METRICS}
    scores = {key: math.nan if value is None else float(value) for key, value in values.items()}
    return {"name": scan["name"], "group": scan["group"], "scores": scores}


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
