"""The paper's table of results, and a comparison of other results with it."""

from __future__ import annotations

import math

from gmseg.evaluation.metrics import METRICS
from gmseg.evaluation.score_table import shown
from gmseg.paper.results import Results

TRANSCRIBED = "transcribed, verify against the paper"
OUTLIERS = (
    "HSD and SHD are maxima: one stray voxel in a reference sets them, and with few scans their "
    "mean; compare HSD95, which the paper does not give."
)
PAPER = "Perone 2018"
TEST_SCANS = 40

_NAMES = ("JCSCS", "DEEPSEG", "MGAC", "GSBME", "SCT", "VBEM", PAPER)
_TABLE = """
DSC   0.79±0.04   0.80±0.06   0.75±0.07   0.76±0.06  0.69±0.07   0.61±0.13   0.85±0.04
MSD   0.39±0.44   0.46±0.48   0.70±0.79   0.62±0.64  0.69±0.76   1.04±1.14   0.36±0.34
HSD   2.65±3.40   4.07±3.27   3.56±1.34   4.92±3.30  3.26±1.35   5.34±15.35  2.61±2.15
SHD   1.00±0.35   1.26±0.65   1.07±0.37   1.86±0.85  1.12±0.41   2.77±8.10   0.85±0.32
SMD   0.37±0.18   0.45±0.20   0.39±0.17   0.61±0.35  0.39±0.16   0.54±0.25   0.36±0.17
TPR  77.98±4.88  78.89±10.33 87.51±6.65  75.69±8.08 70.29±6.76  65.66±14.39 94.97±3.50
TNR  99.98±0.03  99.97±0.04  99.94±0.08  99.97±0.05 99.95±0.06  99.93±0.09  99.95±0.06
P    81.06±5.97  82.78±5.19  65.60±9.01  76.26±7.41 67.87±8.62  59.07±13.69 77.29±6.46
J     0.66±0.05   0.68±0.08   0.60±0.08   0.61±0.08  0.53±0.08   0.45±0.13   0.74±0.06
CC   47.17±11.87 49.52±20.29 29.36±29.53 33.69±24.23 6.46±30.59 -44.25±90.61 64.24±10.83
"""
_VALUES = {
    key: [tuple(map(float, cell.split("±"))) for cell in cells]
    for key, *cells in map(str.split, _TABLE.strip().splitlines())
}

PAPER_METRICS = tuple(_VALUES)
"""The ten metrics of the table, in its order."""

PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    name: {key: (row[column][0], row[column][1]) for key, row in _VALUES.items()}
    for column, name in enumerate(_NAMES)
}
"""Method to metric to (mean, standard deviation) over the challenge's 40 test scans.

Transcribed, verify against the paper: its table of results, which takes the first six from
Prados et al., NeuroImage 152:312-329 (2017)."""


def as_markdown(results: Results) -> str:
    """Return a Markdown table of results and the published ones.

    Parameters
    ----------
    results : Results
        Results of an experiment.

    Returns
    -------
    str
        Mean and standard deviation over the scans in a row per metric; below the table, what was
        measured and how.

    Examples
    --------
    >>> from gmseg.paper.results import stored_results
    >>> print(as_markdown(stored_results("unet")).splitlines()[0])
    ### Network and U-Net, trained alike on the same folds
    """
    columns = _columns(results)
    lines = [f"### {results.title}", ""]
    lines.append("| | " + " | ".join(columns) + " |")
    lines.append("|---|" + "--:|" * len(columns))
    for key in (*PAPER_METRICS, "HSD95"):
        cells = (
            _cell(key, name, *column[key]) if key in column else "-"
            for name, column in columns.items()
        )
        lines.append(f"| {_with_unit(key)} | " + " | ".join(cells) + " |")
    counts = "; ".join(f"{method.name}: {len(method.scans)} scans" for method in results.methods)
    note = (
        f"{', '.join(PUBLISHED)}: the challenge's {TEST_SCANS} test scans; *{TRANSCRIBED}*. These "
        f"are not our scans, so the columns cannot be compared directly."
    )
    ours = f"Ours ({counts}): {results.how} Mean ± standard deviation over the scans."
    by_group = "; ".join(
        f"{method.name} {shown('DSC', method.group_mean()['DSC'])}" for method in results.methods
    )
    ours += f" Mean DSC over the subjects or sites, each of them once: {by_group}. {OUTLIERS}"
    return "\n".join([*lines, "", ours, "", note, "", f"Written by `{results.made_by}`.", ""])


def as_text(results: Results) -> str:
    """Return a short table for the terminal: our columns and the paper's.

    Examples
    --------
    >>> from gmseg.paper.results import stored_results
    >>> print(as_text(stored_results("cross-validation")).splitlines()[1].strip())
    DSC   0.927 ± 0.023      0.936 ± 0.025    0.85 ± 0.04
    """
    columns = {
        name: column
        for name, column in _columns(results).items()
        if name == PAPER or name not in PUBLISHED
    }
    rows = [["", *columns]]
    for key in PAPER_METRICS:
        cells = (_cell(key, name, *column[key]) for name, column in columns.items())
        rows.append([_with_unit(key), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, f"{PAPER}: other scans than ours; {TRANSCRIBED}"])


def table_rows(results: Results) -> list[dict]:
    """Return the same table as rows for `gmseg.io.tables.as_tsv`, one per metric and method.

    Examples
    --------
    >>> from gmseg.paper.results import stored_results
    >>> rows = table_rows(stored_results("cross-validation"))
    >>> rows[0]["metric"], rows[0]["method"], round(rows[0]["mean"], 3)
    ('DSC', 'default, folds', 0.927)
    """
    scans = {method.name: len(method.scans) for method in results.methods}
    return [
        {
            "metric": key,
            "unit": METRICS[key].unit,
            "method": name,
            "mean": mean,
            "sd": deviation,
            "scans": scans.get(name, TEST_SCANS),
            "source": results.made_by if name in scans else TRANSCRIBED,
        }
        for key in PAPER_METRICS
        for name, (mean, deviation) in ((n, c[key]) for n, c in _columns(results).items())
    ]


def _columns(results: Results) -> dict[str, dict[str, tuple[float, float]]]:
    """Return metric to (mean, standard deviation) of every method, ours first."""
    ours = {}
    for method in results.methods:
        mean, deviation = method.mean(), method.deviation()
        ours[method.name] = {key: (mean[key], deviation[key]) for key in (*PAPER_METRICS, "HSD95")}
    return ours | PUBLISHED


def _with_unit(key: str) -> str:
    return f"{key} {METRICS[key].unit}".strip()


def _cell(key: str, method: str, mean: float, deviation: float) -> str:
    if method in PUBLISHED:
        return f"{mean:.2f} ± {deviation:.2f}"  # as many digits as the paper prints
    spread = f" ± {shown(key, deviation)}" if math.isfinite(deviation) else ""
    return f"{shown(key, mean)}{spread}"
