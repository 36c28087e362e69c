"""Scores as a table for the terminal, as rows for a TSV file, and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gmseg.evaluation.evaluate import REGIONS
from gmseg.evaluation.metrics import METRICS
from gmseg.io.files import write_text
from gmseg.io.tables import as_tsv

_TITLES = {region: region.replace("_", " ") for region in REGIONS}
_DECIMALS = {"": 3, "mm": 2, "%": 1}
_MORE_DECIMALS = {"TNR": 2}  # nearly all voxels are true negatives: 100.0 would not inform
_SIGNIFICANT = 6  # digits in TSV files


def as_table(scores: dict) -> str:
    """Return scores as a table for the terminal.

    Parameters
    ----------
    scores : dict
        From `gmseg.evaluation.evaluate.evaluate`, `compare_raters` or `pool`.

    Returns
    -------
    str
        For one scan a line per metric; for several a line per scan, over the labelled slices
        and over the volume. A metric that is not defined is "-"; ``scores["undefined"]`` says why.

    Examples
    --------
    >>> import numpy as np
    >>> from gmseg.evaluation.evaluate import compare_raters
    >>> mask = np.ones((2, 2, 1), bool)
    >>> scores = compare_raters(mask, {"r1": mask}, np.eye(4))
    >>> print(as_table(scores).splitlines()[1])
    DSC   Dice similarity coefficient                   1.000            1.000
    """
    return "\n".join(_scans_table(scores) if "scans" in scores else _metrics_table(scores))


def _metrics_table(scores: dict) -> list[str]:
    raters = scores["raters"]
    if len(raters) == 1:
        return _block("", {title: scores[region] for region, title in _TITLES.items()})
    lines = []
    for region, title in _TITLES.items():
        columns = {"mean": scores[region]}
        columns |= {f"r{number}": rater[region] for number, rater in enumerate(raters, 1)}
        columns |= {"majority": scores["consensus"][region]}
        columns |= {"raters": scores["between_raters"][region]}
        lines += [*_block(f"over the {title}", columns), ""]
    legend = ", ".join(f"r{number} {rater['name']}" for number, rater in enumerate(raters, 1))
    return [
        *lines,
        f"mean of {legend}; majority: against the voxels that most raters mark;",
        "raters: the raters against each other",
    ]


def _block(title: str, columns: dict[str, dict]) -> list[str]:
    names = [f"{key:<6}{metric.name}" for key, metric in METRICS.items()]
    first = max(len(name) for name in names)
    widths = {column: max(8, len(column)) + 2 for column in columns}
    lines = [f"{title:<{first + 6}}" + "".join(f"{name:>{widths[name]}}" for name in columns)]
    for name, (key, metric) in zip(names, METRICS.items(), strict=True):
        cells = (f"{shown(key, column[key]):>{widths[head]}}" for head, column in columns.items())
        lines.append(f"{name:<{first}}  {metric.unit:<4}" + "".join(cells))
    return lines


def _scans_table(scores: dict) -> list[str]:
    first = max(len(name) for name in ["raters among them", *(s["name"] for s in scores["scans"])])
    heads = [f"{key} {metric.unit}".strip() for key, metric in METRICS.items()]
    lines = []
    for region, title in sorted(_TITLES.items()):
        lines += ["", f"{'over the ' + title:<{first}}" + "".join(f"  {h:>8}" for h in heads)]
        rows = {scan["name"]: scan[region] for scan in scores["scans"]}
        rows["mean"] = scores[region]
        if len(scores["scans"]) > 1:
            rows["s.d."] = scores[f"{region}_sd"]
        if "consensus" in scores:
            rows["mean, consensus"] = scores["consensus"][region]
            rows["raters among them"] = scores["between_raters"][region]
        for label, row in rows.items():
            cells = (f"  {shown(key, row[key]):>8}" for key in METRICS)
            lines.append(f"{label:<{first}}" + "".join(cells))
    return lines[1:]


def shown(key: str, value: float) -> str:
    """Return a metric's value with its usual number of decimals, "-" if it is not defined.

    Examples
    --------
    >>> shown("DSC", 0.85371), shown("HSD", 2.609), shown("TPR", 94.97), shown("CC", float("nan"))
    ('0.854', '2.61', '95.0', '-')
    """
    decimals = _MORE_DECIMALS.get(key, _DECIMALS[METRICS[key].unit])
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def score_rows(scores: dict) -> list[dict[str, Any]]:
    """Return scores as the rows of a table: one per scan, rater and region.

    Parameters
    ----------
    scores : dict
        See `as_table`.

    Returns
    -------
    list of dict
        The columns are ``scan``, ``rater`` (or ``consensus``), ``region`` (``volume``,
        ``labelled_slices`` or ``slice``), ``slice`` (its number in the file, counted from 0, else
        None), the metrics with their units, and ``undefined``: why a metric is NaN, or None.

    Examples
    --------
    >>> import numpy as np
    >>> from gmseg.evaluation.evaluate import compare_raters
    >>> mask = np.ones((2, 2, 1), bool)
    >>> scores = {"name": "t2s"} | compare_raters(mask, {"r1": mask}, np.eye(4))
    >>> [(row["rater"], row["region"], row["slice"], row["DSC"]) for row in score_rows(scores)]
    [('r1', 'volume', None, 1.0), ('r1', 'labelled_slices', None, 1.0), ('r1', 'slice', 0, 1.0)]
    """
    columns = {
        key: f"{key}_{metric.unit}".rstrip("_").replace("%", "percent")
        for key, metric in METRICS.items()
    }
    rows = []
    for scan in scores.get("scans", [scores]):
        raters = list(scan["raters"])
        if "consensus" in scan:
            raters.append({"name": "consensus"} | scan["consensus"])
        for rater in raters:
            reasons = rater["undefined"]
            parts = [(region, None, rater[region], reasons.get(region)) for region in REGIONS]
            parts += [("slice", s["slice"], s, s["undefined"]) for s in rater["slices"]]
            for region, number, values, undefined in parts:
                row = {"scan": scan["name"], "rater": rater["name"], "region": region}
                row |= {"slice": number} | {columns[key]: values[key] for key in METRICS}
                rows.append(row | {"undefined": undefined or None})
    return rows


def as_json(scores: dict) -> str:
    """Return scores as JSON; a metric that is not defined is null, and ``undefined`` says why.

    Examples
    --------
    >>> print(as_json({"volume": {"DSC": 0.5, "HSD": float("nan")}}), end="")
    {
      "volume": {
        "DSC": 0.5,
        "HSD": null
      }
    }
    """
    return json.dumps(_nan_to_none(scores), indent=2) + "\n"


def write_scores(
    scores: dict, *, tsv: Path | None = None, json_file: Path | None = None, overwrite: bool = True
) -> None:
    """Write `score_rows` to a TSV file, and `as_json` to a JSON file."""
    if tsv is not None:
        table = as_tsv(score_rows(scores), significant=_SIGNIFICANT)
        write_text(tsv, table, overwrite=overwrite)
    if json_file is not None:
        write_text(json_file, as_json(scores), overwrite=overwrite)


def _nan_to_none(value):
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
