"""Scores as people and programs read them: a table, TSV, JSON."""

from __future__ import annotations

import csv
import io
import json
import math

from gmseg.evaluation.evaluate import REGIONS
from gmseg.evaluation.metrics import METRICS

_REGIONS = {region: region.replace("_", " ") for region in REGIONS}
_DIGITS = {"": 3, "mm": 2, "%": 1}
_MORE_DIGITS = {"TNR": 2}  # nearly all voxels are far from any GM: 100.0 would say nothing


def as_table(found: dict) -> str:
    """Return scores as a table for the terminal.

    Parameters
    ----------
    found : dict
        From `gmseg.evaluation.evaluate.compare_raters` or `gmseg.evaluation.evaluate.pool`.

    Returns
    -------
    str
        Of one scan, a line per metric; of several, a line per scan, over the labelled slices
        and over the volume. What is not defined is "-": ``undefined`` says why.
    """
    return "\n".join(_scans_table(found) if "scans" in found else _metrics_table(found))


def _metrics_table(found: dict) -> list[str]:
    raters = found["raters"]
    if len(raters) == 1:
        return _block("", {name: found[region] for region, name in _REGIONS.items()})
    lines = []
    for region, name in _REGIONS.items():
        columns = {"mean": found[region]}
        columns |= {f"r{number}": rater[region] for number, rater in enumerate(raters, 1)}
        columns |= {"majority": found["consensus"][region]}
        columns |= {"raters": found["between_raters"][region]}
        lines += [*_block(f"over the {name}", columns), ""]
    named = [f"r{number} {rater['name']}" for number, rater in enumerate(raters, 1)]
    return [
        *lines,
        f"mean of {', '.join(named)}; majority: against what most of them see;",
        "raters: the raters against each other",
    ]


def _block(title: str, columns: dict[str, dict]) -> list[str]:
    names = [f"{key:<6}{metric.name}" for key, metric in METRICS.items()]
    first = max(len(name) for name in names)
    wide = {column: max(8, len(column)) + 2 for column in columns}
    lines = [f"{title:<{first + 6}}" + "".join(f"{name:>{wide[name]}}" for name in columns)]
    for name, (key, metric) in zip(names, METRICS.items(), strict=True):
        cells = (f"{shown(key, scores[key]):>{wide[column]}}" for column, scores in columns.items())
        lines.append(f"{name:<{first}}  {metric.unit:<4}" + "".join(cells))
    return lines


def _scans_table(found: dict) -> list[str]:
    first = max(len(scan["name"]) for scan in found["scans"])
    first = max(first, len("raters among them"))
    heads = [f"{key} {metric.unit}".strip() for key, metric in METRICS.items()]
    lines = []
    for region, name in sorted(_REGIONS.items()):
        lines += ["", f"{'over the ' + name:<{first}}" + "".join(f"  {head:>8}" for head in heads)]
        rows = {scan["name"]: scan[region] for scan in found["scans"]}
        rows["mean"] = found[region]
        if len(found["scans"]) > 1:
            rows["s.d."] = found[f"{region}_sd"]
        if "consensus" in found:
            rows["mean, consensus"] = found["consensus"][region]
            rows["raters among them"] = found["between_raters"][region]
        for label, scores in rows.items():
            cells = (shown(key, scores[key]) for key in METRICS)
            lines.append(f"{label:<{first}}" + "".join(f"  {cell:>8}" for cell in cells))
    return lines[1:]


def shown(key: str, value: float) -> str:
    """Return a metric's value with as many digits as mean something, "-" if not defined."""
    digits = _MORE_DIGITS.get(key, _DIGITS[METRICS[key].unit])
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def as_tsv(found: dict) -> str:
    """Return scores as tab-separated values: a line per scan, rater and region.

    The columns are scan, rater (or ``consensus``), region (``volume``, ``labelled_slices``, or
    ``slice`` with its number, from 0), the metrics with their units, and, where a metric is not
    defined (``n/a``), why.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    metrics = [
        f"{key}_{metric.unit}".rstrip("_").replace("%", "percent")
        for key, metric in METRICS.items()
    ]
    writer.writerow(["scan", "rater", "region", "slice", *metrics, "undefined"])
    for scan in found.get("scans", [found]):
        judges = list(scan["raters"])
        if "consensus" in scan:
            judges.append({"name": "consensus"} | scan["consensus"])
        for judge in judges:
            rows = [(region, "n/a", judge[region]) for region in _REGIONS]
            rows += [("slice", scores["slice"], scores) for scores in judge["slices"]]
            for region, number, scores in rows:
                values = [scores[key] for key in METRICS]
                cells = [f"{value:.6g}" if math.isfinite(value) else "n/a" for value in values]
                why = scores["undefined"] if region == "slice" else judge["undefined"].get(region)
                writer.writerow([scan["name"], judge["name"], region, number, *cells, why or "n/a"])
    return text.getvalue()


def as_json(found: dict) -> str:
    """Return scores as JSON; what is not defined is null, and ``undefined`` says why."""
    return json.dumps(_without_nan(found), indent=2) + "\n"


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
