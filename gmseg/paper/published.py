"""The paper's table of results, and ours beside it."""

from __future__ import annotations

import csv
import io
import math

from gmseg.evaluation.metrics import METRICS
from gmseg.evaluation.score_table import shown
from gmseg.paper.results import Results

TRANSCRIBED = "transcribed, verify against the paper"
PAPER = "Perone 2018"

_NAMES = ("JCSCS", "DEEPSEG", "MGAC", "GSBME", "SCT", "VBEM", PAPER)
_TABLE = {
    "DSC": (
        (0.79, 0.04),
        (0.80, 0.06),
        (0.75, 0.07),
        (0.76, 0.06),
        (0.69, 0.07),
        (0.61, 0.13),
        (0.85, 0.04),
    ),
    "MSD": (
        (0.39, 0.44),
        (0.46, 0.48),
        (0.70, 0.79),
        (0.62, 0.64),
        (0.69, 0.76),
        (1.04, 1.14),
        (0.36, 0.34),
    ),
    "HSD": (
        (2.65, 3.40),
        (4.07, 3.27),
        (3.56, 1.34),
        (4.92, 3.30),
        (3.26, 1.35),
        (5.34, 15.35),
        (2.61, 2.15),
    ),
    "SHD": (
        (1.00, 0.35),
        (1.26, 0.65),
        (1.07, 0.37),
        (1.86, 0.85),
        (1.12, 0.41),
        (2.77, 8.10),
        (0.85, 0.32),
    ),
    "SMD": (
        (0.37, 0.18),
        (0.45, 0.20),
        (0.39, 0.17),
        (0.61, 0.35),
        (0.39, 0.16),
        (0.54, 0.25),
        (0.36, 0.17),
    ),
    "TPR": (
        (77.98, 4.88),
        (78.89, 10.33),
        (87.51, 6.65),
        (75.69, 8.08),
        (70.29, 6.76),
        (65.66, 14.39),
        (94.97, 3.50),
    ),
    "TNR": (
        (99.98, 0.03),
        (99.97, 0.04),
        (99.94, 0.08),
        (99.97, 0.05),
        (99.95, 0.06),
        (99.93, 0.09),
        (99.95, 0.06),
    ),
    "P": (
        (81.06, 5.97),
        (82.78, 5.19),
        (65.60, 9.01),
        (76.26, 7.41),
        (67.87, 8.62),
        (59.07, 13.69),
        (77.29, 6.46),
    ),
    "J": (
        (0.66, 0.05),
        (0.68, 0.08),
        (0.60, 0.08),
        (0.61, 0.08),
        (0.53, 0.08),
        (0.45, 0.13),
        (0.74, 0.06),
    ),
    "CC": (
        (47.17, 11.87),
        (49.52, 20.29),
        (29.36, 29.53),
        (33.69, 24.23),
        (6.46, 30.59),
        (-44.25, 90.61),
        (64.24, 10.83),
    ),
}

PUBLISHED = {
    name: {metric: row[column] for metric, row in _TABLE.items()}
    for column, name in enumerate(_NAMES)
}
"""Method to metric to (mean, standard deviation) over the challenge's 40 test scans.

Transcribed, verify against the paper: its table of results, which takes the first six from
Prados et al., NeuroImage 152:312-329 (2017)."""

PAPER_METRICS = tuple(_TABLE)
"""The ten metrics of the table, in its order."""


def as_markdown(results: Results) -> str:
    """Return results as a Markdown table, with the published ones beside them.

    Parameters
    ----------
    results : Results

    Returns
    -------
    str
        A row per metric, mean and standard deviation over the scans; below it, what was
        measured, and how.
    """
    columns = _columns(results)
    lines = [f"### {results.title}", ""]
    lines.append("| | " + " | ".join(columns) + " |")
    lines.append("|---|" + "--:|" * len(columns))
    for key in PAPER_METRICS:
        cells = (_cell(key, name, *column[key]) for name, column in columns.items())
        lines.append(f"| {f'{key} {METRICS[key].unit}'.strip()} | " + " | ".join(cells) + " |")
    counts = "; ".join(f"{method.name}: {len(method.scans)} scans" for method in results.methods)
    lines += [
        "",
        f"Ours ({counts}): {results.how}",
        "",
        (
            f"{', '.join(PUBLISHED)}: on the challenge's 40 test scans; *{TRANSCRIBED}*. Those are "
            f"other scans than ours: lay the columns beside each other, but do not subtract them."
        ),
        "",
        f"Made by `{results.made_by}`.",
    ]
    return "\n".join(lines) + "\n"


def as_text(results: Results) -> str:
    """Return a short table for the terminal: ours, and the paper's column."""
    columns = {
        name: column
        for name, column in _columns(results).items()
        if name == PAPER or name not in PUBLISHED
    }
    rows = [["", *columns]]
    for key in PAPER_METRICS:
        cells = (_cell(key, name, *column[key]) for name, column in columns.items())
        rows.append([f"{key} {METRICS[key].unit}".strip(), *cells])
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, wide, strict=True)) for row in rows]
    return "\n".join([*lines, f"{PAPER}: on other scans; {TRANSCRIBED}"])


def as_tsv(results: Results) -> str:
    """Return the same table as tab-separated values: a line per metric and method."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["metric", "unit", "method", "mean", "sd", "scans", "source"])
    counts = {method.name: len(method.scans) for method in results.methods}
    for key in PAPER_METRICS:
        for name, column in _columns(results).items():
            values = (f"{value:.5g}" if math.isfinite(value) else "n/a" for value in column[key])
            ours = name in counts
            source = results.made_by if ours else TRANSCRIBED
            unit = METRICS[key].unit or "n/a"
            writer.writerow([key, unit, name, *values, counts.get(name, 40), source])
    return text.getvalue()


def _columns(results: Results) -> dict[str, dict[str, tuple[float, float]]]:
    ours = {}
    for method in results.methods:
        mean, deviation = method.mean(), method.deviation()
        ours[method.name] = {key: (mean[key], deviation[key]) for key in PAPER_METRICS}
    return ours | PUBLISHED


def _cell(key: str, method: str, mean: float, deviation: float) -> str:
    if method in PUBLISHED:
        return f"{mean:.2f} ± {deviation:.2f}"  # as many digits as were transcribed
    spread = f" ± {shown(key, deviation)}" if math.isfinite(deviation) else ""
    return f"{shown(key, mean)}{spread}"
