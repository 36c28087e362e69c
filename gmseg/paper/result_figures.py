"""Figures of results: ours beside the published ones, per site, best to worst, two networks.

Every figure is told apart without colour, too: by markers, hatches and names.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmseg.core.geometry import runs_downwards
from gmseg.core.resampling import to_las
from gmseg.evaluation.metrics import METRICS
from gmseg.paper.published import PAPER, PAPER_METRICS, PUBLISHED, TRANSCRIBED
from gmseg.paper.results import Method, Results
from gmseg.paper.sample_figures import limits_near, outline_plane, show_plane
from gmseg.report.overlays import DARK, INK, PALE, PREDICTION, REFERENCE, axes_at

# after Okabe & Ito; their grays differ as well, and so do markers and hatches
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
_MARKERS = ("o", "s", "D", "^")
_HATCHES = ("", "///", "...", "xx")
_GRAY = "#7a828c"
_SMALL_IS_GOOD = {"MSD", "HSD", "SHD", "SMD"}


def draw_results(results: Results) -> Figure:
    """Draw mean and standard deviation of the ten metrics, the published ones beside ours.

    Parameters
    ----------
    results : Results
        Up to four methods.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per metric, a line per method, the published ones in gray.
    """
    names = [*(method.name for method in results.methods), *reversed(PUBLISHED)]
    figure = Figure(figsize=(11.5, 1.15 + 0.44 * len(names)), layout="constrained")
    panels = figure.subplots(2, 5, sharey=True)
    for ax, key in zip(panels.flat, PAPER_METRICS, strict=True):
        for row, name in enumerate(reversed(list(PUBLISHED))):
            mean, deviation = PUBLISHED[name][key]
            _bar(
                ax,
                mean,
                deviation,
                len(results.methods) + row,
                _GRAY,
                "D" if name == PAPER else "o",
                hollow=name != PAPER,
            )
        for row, method in enumerate(results.methods):
            mean, deviation = method.mean()[key], method.deviation()[key]
            if np.isfinite(mean):
                _bar(ax, mean, deviation, row, _COLOURS[row], _MARKERS[row])
        better = "smaller" if key in _SMALL_IS_GOOD else "larger"
        unit = f" ({METRICS[key].unit})" if METRICS[key].unit else ""
        ax.set_title(f"{key}{unit}", size=10, color=INK)
        ax.set_xlabel(f"{better} is better", size=8, color=_GRAY)
        ax.axhline(len(results.methods) - 0.5, color="#c9ced6", linewidth=0.8)
        _tidy(ax, axis="x")
        ax.xaxis.set_tick_params(labelsize=8)
        _keep_to_means(ax, key, results.methods)
    for ax in panels[:, 0]:
        ax.set_yticks(range(len(names)), names, size=8.5)
    panels[0, 0].invert_yaxis()
    told = f"mean ± standard deviation; gray: the challenge's 40 test scans, {TRANSCRIBED}"
    figure.supxlabel(told, size=9, color=INK)
    return figure


def _bar(ax, mean, deviation, row, colour, marker, *, hollow=False) -> None:
    deviation = deviation if np.isfinite(deviation) else 0
    face = "white" if hollow else colour
    ax.errorbar(
        mean,
        row,
        xerr=deviation,
        fmt=marker,
        color=colour,
        markerfacecolor=face,
        markersize=5.5,
        linewidth=1.3,
        capsize=2.5,
    )


def _keep_to_means(ax, key: str, methods: list[Method]) -> None:
    """Keep one method's huge deviation from squeezing all the others: arrows leave the panel."""
    spans = [PUBLISHED[name][key] for name in PUBLISHED]
    spans += [(m.mean()[key], m.deviation()[key]) for m in methods if np.isfinite(m.mean()[key])]
    means, deviations = np.nan_to_num(np.array(spans)).T
    low, high = (means - deviations).min(), (means + deviations).max()
    usual = 2.5 * np.median(deviations)
    low, high = max(low, means.min() - usual), min(high, means.max() + usual)
    margin = 0.06 * (high - low)
    # a mean less its deviation may be below 0, a distance cannot
    low = max(low, 0) if key in _SMALL_IS_GOOD else low
    ax.set_xlim(low - margin, high + margin)


def draw_boxes(results: Results) -> Figure:
    """Draw the ten metrics of every scan, per site.

    Parameters
    ----------
    results : Results
        Of each method the scans' ``group`` says which site, or subject.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per metric: boxes from quartile to quartile, the median as a line, whiskers to
        the farthest scan within 1.5 times the box, and every scan as a point.
    """
    groups = sorted({scan["group"] for method in results.methods for scan in method.scans})
    count = len(results.methods)
    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    panels = figure.subplots(2, 5)
    wide = 0.8 / count
    for ax, key in zip(panels.flat, PAPER_METRICS, strict=True):
        for m, method in enumerate(results.methods):
            for g, group in enumerate(groups):
                values = [s["scores"][key] for s in method.scans if s["group"] == group]
                values = np.array([value for value in values if np.isfinite(value)])
                if not values.size:
                    continue
                at = g + (m - (count - 1) / 2) * wide
                _box(ax, values, at, 0.8 * wide, m)
        unit = f" ({METRICS[key].unit})" if METRICS[key].unit else ""
        ax.set_title(f"{key}{unit}", size=10, color=INK)
        ax.set_xticks(range(len(groups)), groups, size=8)
        ax.set_xlim(-0.6, len(groups) - 0.4)
        if key in _SMALL_IS_GOOD:
            ax.set_ylim(0, max(1.08 * ax.get_ylim()[1], 0.1))
        _tidy(ax, axis="y")
        ax.yaxis.set_tick_params(labelsize=8)
    handles = [Patch(label=method.name, **_filled(m)) for m, method in enumerate(results.methods)]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=count, frameon=False, fontsize=9
    )
    return figure


def _box(ax, values, at: float, wide: float, m: int) -> None:
    drawn = ax.boxplot(
        values,
        positions=[at],
        widths=wide,
        patch_artist=True,
        showfliers=False,
        manage_ticks=False,
        medianprops={"color": INK, "linewidth": 1.6},
    )
    for box in drawn["boxes"]:
        box.set(**_filled(m))
    spread = np.linspace(-0.25, 0.25, len(values)) * wide if len(values) > 1 else [0]
    ax.plot(
        at + np.array(spread),
        values,
        _MARKERS[m],
        color=_COLOURS[m],
        markeredgecolor=INK,
        markersize=4.2,
        markeredgewidth=0.7,
        zorder=3,
    )


def _filled(m: int) -> dict:
    """Return how areas of the method m are filled."""
    return {"facecolor": _COLOURS[m], "edgecolor": INK, "hatch": _HATCHES[m], "alpha": 0.75}


def draw_comparison(results: Results) -> Figure:
    """Draw two or more networks trained alike: every scan's Dice, and what each costs.

    Parameters
    ----------
    results : Results
        Whose methods score the same scans, and tell ``parameters``, ``multiply_adds``,
        ``training_s`` and ``slice_s``.

    Returns
    -------
    matplotlib.figure.Figure
        Each scan's Dice joined by a line from network to network, the mean as a broad mark;
        and a bar per network for parameters, arithmetic and times.
    """
    methods = results.methods
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    dice, *costs = figure.subplots(1, 5, width_ratios=(1.9, 1, 1, 1, 1))
    values = np.array([[scan["scores"]["DSC"] for scan in method.scans] for method in methods])
    for line in values.T:
        dice.plot(range(len(methods)), line, "-", color="#9aa3ad", linewidth=1, zorder=1)
    for m, method in enumerate(methods):
        dice.plot([m] * values.shape[1], values[m], _MARKERS[m], color=_COLOURS[m], markersize=6)
        mean = method.mean()["DSC"]
        side = -0.14 if m == 0 else 0.14
        dice.plot([m - 0.09 + side, m + 0.09 + side], [mean] * 2, color=INK, linewidth=2.5)
        dice.text(
            m + 1.9 * side,
            mean,
            f"{mean:.3f}",
            size=10,
            va="center",
            color=INK,
            ha="right" if m == 0 else "left",
        )
    dice.set_xlim(-0.75, len(methods) - 0.25)
    dice.set_xticks(range(len(methods)), [method.name for method in methods], size=9)
    dice.set_title("Dice of every scan", size=10, color=INK)
    _tidy(dice, axis="y")
    for ax, (key, title, scale) in zip(costs, _COSTS, strict=True):
        for m, method in enumerate(methods):
            cost = method.facts.get(key)
            if cost is None:
                continue
            ax.bar(m, cost / scale, 0.62, **_filled(m))
            ax.text(m, cost / scale, f"{cost / scale:.3g}", ha="center", va="bottom", size=9)
        ax.set_title(title, size=10, color=INK)
        names = [method.name.replace(" ", "\n") for method in methods]
        ax.set_xticks(range(len(methods)), names, size=8)
        ax.margins(y=0.14)
        _tidy(ax, axis="y")
        ax.yaxis.set_tick_params(labelsize=8)
    return figure


_COSTS = (
    ("parameters", "parameters\n(thousands)", 1e3),
    ("multiply_adds", "multiply-adds per\nslice (billions)", 1e9),
    ("slice_s", "a slice, segmented\n(seconds)", 1),
    ("training_s", "the training\n(minutes)", 60),
)


def draw_extremes(cases: list[dict], *, field_mm: float = 20.0) -> Figure:
    """Draw the best, the median and the worst segmentation, each beside its reference.

    Parameters
    ----------
    cases : list of dict
        Each with ``name``, ``dice``, and on one grid the nibabel images ``scan``, ``mask``,
        ``reference``.
    field_mm : float
        Side of the square that is shown.

    Returns
    -------
    matplotlib.figure.Figure
        Of each, the slice whose own Dice is nearest to the scan's: plain and outlined.
    """
    ranked = sorted(cases, key=lambda case: case["dice"])
    chosen = {"best": ranked[-1], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[0]}
    side, gap, head, foot = 2.9, 0.06, 0.5, 0.34
    size = (3 * (side + gap) + gap, head + 2 * (side + gap) + foot)
    figure = Figure(figsize=size, facecolor=DARK)
    for i, (what, case) in enumerate(chosen.items()):
        left = gap + i * (side + gap)
        (scan, sizes), (mask, _), (reference, _) = (
            to_las(case[part]) for part in ("scan", "mask", "reference")
        )
        mask, reference = mask > 0.5, reference > 0.5
        k = _typical_slice(mask, reference, case["dice"])
        number = mask.shape[2] - 1 - k if runs_downwards(case["scan"].affine) else k
        drawn = np.argwhere(reference[..., k])
        centre = (drawn.min(axis=0) + drawn.max(axis=0)) / 2 * sizes[:2]
        limits = limits_near(scan[..., k], sizes[:2], centre, field_mm / 4)
        for row in range(2):
            ax = axes_at(figure, f"{what} {row}", left, foot + (1 - row) * (side + gap), side, side)
            show_plane(ax, scan[..., k], sizes[:2], limits)
            half = field_mm / 2
            ax.set(
                xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half)
            )
            if row:
                outline_plane(ax, reference[..., k], sizes[:2], REFERENCE, 1.6, "dashed")
                outline_plane(ax, mask[..., k], sizes[:2], PREDICTION, 1.6)
        x = left / size[0]
        text = f"{what}: Dice {case['dice']:.3f}"
        figure.text(x, 1 - 0.22 / size[1], text, color="white", size=11)
        figure.text(x, 1 - 0.42 / size[1], f"{case['name']}, slice {number}", color=PALE, size=8.5)
    lines = [
        Line2D([], [], color=PREDICTION, label="prediction"),
        Line2D([], [], color=REFERENCE, linestyle="dashed", label="reference"),
    ]
    figure.legend(
        handles=lines, loc="lower left", ncols=2, frameon=False, labelcolor=PALE, fontsize=9
    )
    return figure


def _typical_slice(mask: np.ndarray, reference: np.ndarray, dice: float) -> int:
    both = 2 * (mask & reference).sum(axis=(0, 1))
    either = mask.sum(axis=(0, 1)) + reference.sum(axis=(0, 1))
    slices = np.flatnonzero(reference.any(axis=(0, 1)))
    return int(slices[np.abs(both[slices] / either[slices] - dice).argmin()])


def _tidy(ax, *, axis: str) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=axis, color="#e4e7eb")
    ax.set_axisbelow(True)
