"""Figures of results: against the published ones, per site, best to worst, two networks.

Markers, hatches and names distinguish the methods, so that no figure depends on colour.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gmseg.core.geometry import runs_downwards
from gmseg.core.resampling import to_las
from gmseg.evaluation.metrics import METRICS
from gmseg.paper.published import PAPER, PAPER_METRICS, PUBLISHED
from gmseg.paper.results import Method, Results
from gmseg.paper.sample_figures import limits_near, mask_centre_mm, outline_plane, show_plane, zoom
from gmseg.paper.style import PAGE_IN, SMALL_PT, TEXT_PT, TITLE_PT
from gmseg.report.panels import DARK, INK, PALE, PREDICTION, REFERENCE, axes_at

# Okabe & Ito; their grays, the markers and the hatches differ as well
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
_MARKERS = ("o", "s", "D", "^")
_HATCHES = ("", "///", "...", "xx")
_GRAY = "#7a828c"
_DISTANCES = {"MSD", "HSD", "SHD", "SMD", "HSD95"}  # smaller is better
_SHOWN = (*PAPER_METRICS, "HSD95")
"""Metrics of a figure: the paper's, and the Hausdorff distance without its outliers."""
_FEWEST = 5
"""Scans of which a box is drawn; fewer have no quartiles worth the name."""


def draw_results(results: Results) -> Figure:
    """Draw mean and standard deviation of the ten metrics, compared with the published ones.

    Parameters
    ----------
    results : Results
        Results of up to four methods.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per metric, a line per method, the published ones in gray. A vertical tick is the
        median of our scans. HSD95, which the paper does not give, is not swamped by single voxels.

    Examples
    --------
    >>> from gmseg.paper.results import stored_results
    >>> draw_results(stored_results("cross-validation")).axes[0].get_title()
    'DSC'
    """
    published = list(reversed(PUBLISHED))
    names = [*(method.name for method in results.methods), *published]
    figure = Figure(figsize=(PAGE_IN, 1.9 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(3, 4, sharey=True)
    for ax, key in zip(panels.flat, _SHOWN, strict=False):
        for row, name in enumerate(published, len(results.methods)):
            if key not in PUBLISHED[name]:
                continue
            face, marker = (_GRAY, "D") if name == PAPER else ("white", "o")
            _error_bar(ax, *PUBLISHED[name][key], row, _GRAY, marker, face)
        for row, method in enumerate(results.methods):
            mean, deviation = method.mean()[key], method.deviation()[key]
            if np.isfinite(mean):
                _error_bar(ax, mean, deviation, row, _COLOURS[row], _MARKERS[row], _COLOURS[row])
                median = np.nanmedian([scan["scores"][key] for scan in method.scans])
                ax.plot(median, row, "|", color=INK, markersize=8, zorder=4)
        ax.set_title(_title(key), size=TITLE_PT, color=INK)
        better = "smaller" if key in _DISTANCES else "larger"
        ax.set_xlabel(f"{better} is better", size=SMALL_PT, color=INK)
        ax.axhline(len(results.methods) - 0.5, color="#c9ced6", linewidth=0.8)
        _tidy(ax, axis="x")
        ax.xaxis.set_tick_params(labelsize=SMALL_PT)
        ax.ticklabel_format(axis="x", useOffset=False)
        _limit_to_means(ax, key, results.methods)
    for ax in panels[:, 0]:
        ax.set_yticks(range(len(names)), names, size=SMALL_PT)
    panels[0, 0].invert_yaxis()
    _write_legend(
        panels[-1, -1],
        "mean ± standard deviation\nover the scans; long lines\nleave the panel\n\n"
        "| median of our scans\n\ngray: the challenge's 40\ntest scans (transcribed,\n"
        "verify against the paper),\nwithout HSD95",
    )
    return figure


def _write_legend(ax, text: str) -> None:
    """Use a panel that no metric needs for a text."""
    ax.set_axis_off()
    ax.text(0, 1, text, size=SMALL_PT, color=INK, va="top", transform=ax.transAxes)


def _error_bar(ax, mean, deviation, row, colour, marker, face) -> None:
    ax.errorbar(
        mean,
        row,
        xerr=deviation if np.isfinite(deviation) else 0,
        fmt=marker,
        color=colour,
        markerfacecolor=face,
        markersize=4,
        linewidth=1,
        capsize=2,
    )


def _limit_to_means(ax, key: str, methods: list[Method]) -> None:
    """Let a very long error bar leave the panel, so that it does not squeeze the others."""
    spans = [PUBLISHED[name][key] for name in PUBLISHED if key in PUBLISHED[name]]
    spans += [(m.mean()[key], m.deviation()[key]) for m in methods if np.isfinite(m.mean()[key])]
    means, deviations = np.nan_to_num(np.array(spans)).T
    low, high = (means - deviations).min(), (means + deviations).max()
    usual = 2.5 * np.median(deviations)
    low, high = max(low, means.min() - usual), min(high, means.max() + usual)
    margin = 0.06 * (high - low)
    # the mean less its deviation may be negative, a distance is not
    low = 0 if key in _DISTANCES else low
    ax.set_xlim(low - margin, high + margin)


def draw_boxes(results: Results) -> Figure:
    """Draw the ten metrics, and HSD95, of every scan, per site.

    Parameters
    ----------
    results : Results
        Results whose scans have the site or the subject as ``group``.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per metric: every scan as a point, and the median as a line. Five scans or more
        have a box from quartile to quartile, with whiskers to the farthest scan within 1.5 times
        the box. A distance far above all others is a triangle at the edge, with its value.
    """
    groups = sorted({scan["group"] for method in results.methods for scan in method.scans})
    count = len(results.methods)
    figure = Figure(figsize=(PAGE_IN, 5.2), layout="constrained")
    panels = figure.subplots(3, 4)
    width = 0.8 / count
    for ax, key in zip(panels.flat, _SHOWN, strict=False):
        top = _upper_limit(results, key)
        for m, method in enumerate(results.methods):
            for g, group in enumerate(groups):
                scores = [scan["scores"][key] for scan in method.scans if scan["group"] == group]
                values = np.array(scores)[np.isfinite(scores)]
                if values.size:
                    _draw_scans(ax, values, g + (m - (count - 1) / 2) * width, 0.8 * width, m, top)
        ax.set_title(_title(key), size=TITLE_PT, color=INK)
        ax.set_xticks(range(len(groups)), groups, size=SMALL_PT)
        ax.set_xlim(-0.6, len(groups) - 0.4)
        if key in _DISTANCES:
            ax.set_ylim(0, top or max(1.08 * ax.get_ylim()[1], 0.1))
        _tidy(ax, axis="y")
        ax.ticklabel_format(axis="y", useOffset=False)
        ax.yaxis.set_tick_params(labelsize=SMALL_PT)
    handles = [
        Line2D([], [], label=method.name, linestyle="none", **_point(m))
        for m, method in enumerate(results.methods)
    ]
    handles.append(Line2D([], [], color=INK, linewidth=1.6, label="median"))
    handles.append(
        Line2D([], [], linestyle="none", marker="^", color=_GRAY, label="beyond the panel")
    )
    panels[-1, -1].set_axis_off()
    panels[-1, -1].legend(handles=handles, loc="upper left", frameon=False, fontsize=SMALL_PT)
    return figure


def _upper_limit(results: Results, key: str) -> float | None:
    """Return where a panel of distances ends if some are far above the others, else None."""
    values = np.array([scan["scores"][key] for m in results.methods for scan in m.scans])
    values = values[np.isfinite(values)]
    if key not in _DISTANCES or not values.size:
        return None
    low, high = np.percentile(values, [25, 75])
    inside = values[values <= high + 3 * (high - low)]
    return 1.3 * float(inside.max()) if 0 < inside.max() < values.max() else None


def _draw_scans(ax, values: np.ndarray, x: float, width: float, m: int, top: float | None) -> None:
    """Draw the points of a method's scans, their median, and a box if they are enough."""
    if len(values) >= _FEWEST:
        drawn = ax.boxplot(
            values,
            positions=[x],
            widths=width,
            patch_artist=True,
            showfliers=False,
            manage_ticks=False,
            medianprops={"color": INK, "linewidth": 1.6},
        )
        for box in drawn["boxes"]:
            box.set(**_filled(m))
    else:
        ax.plot(
            x + np.array([-0.5, 0.5]) * width, [np.median(values)] * 2, color=INK, linewidth=1.6
        )
    spread = np.linspace(-0.25, 0.25, len(values)) * width if len(values) > 1 else np.zeros(1)
    for place, value in zip(x + spread, values, strict=True):
        if top is None or value <= top:
            ax.plot(place, value, zorder=3, linestyle="none", **_point(m))
        else:
            ax.plot(place, 0.93 * top, zorder=3, linestyle="none", **_point(m) | {"marker": "^"})
            words = {"size": SMALL_PT, "color": INK, "va": "top", "ha": ("right", "left")[m % 2]}
            ax.text(place, 0.86 * top, f"{value:.2g}", **words)


def _point(m: int) -> dict:
    """Return the style of points of the method of number m."""
    return {
        "marker": _MARKERS[m],
        "color": _COLOURS[m],
        "markeredgecolor": INK,
        "markersize": 3.8,
        "markeredgewidth": 0.6,
    }


def _filled(m: int) -> dict:
    """Return the style of areas of the method of number m."""
    return {"facecolor": _COLOURS[m], "edgecolor": INK, "hatch": _HATCHES[m], "alpha": 0.75}


_COSTS = (
    ("parameters", "parameters\n(thousands)", 1e3),
    ("multiply_adds", "multiply-adds per\nslice (billions)", 1e9),
    ("slice_s", "segmentation of\na slice (seconds)", 1),
    ("training_s", "training\n(minutes)", 60),
)


def draw_comparison(results: Results, *, item: str = "scan") -> Figure:
    """Draw two or more networks trained identically: every scan's Dice, and the costs of each.

    Parameters
    ----------
    results : Results
        Results whose methods score the same scans and have facts: ``parameters``,
        ``multiply_adds``, ``training_s`` and ``slice_s``.
    item : str
        What each score belongs to: a ``"scan"`` or a ``"slice"``.

    Returns
    -------
    matplotlib.figure.Figure
        Lines that join each scan's Dice by the networks, the mean as a broad mark; and a bar per
        network for parameters, arithmetic and times.

    Examples
    --------
    >>> from gmseg.paper.results import stored_results
    >>> draw_comparison(stored_results("unet")).axes[0].get_title()
    'Dice of every scan'
    """
    methods = results.methods
    figure = Figure(figsize=(PAGE_IN, 2.3), layout="constrained")
    dice, *costs = figure.subplots(1, 5, width_ratios=(1.9, 1, 1, 1, 1))
    _draw_dice(dice, methods, item)
    for ax, (key, title, scale) in zip(costs, _COSTS, strict=True):
        for m, method in enumerate(methods):
            if (cost := method.facts.get(key)) is not None:
                ax.bar(m, cost / scale, 0.62, **_filled(m))
                ax.text(
                    m, cost / scale, f"{cost / scale:.3g}", ha="center", va="bottom", size=SMALL_PT
                )
        ax.set_title(title, size=SMALL_PT, color=INK)
        names = [method.name.replace(" ", "\n") for method in methods]
        ax.set_xticks(range(len(methods)), names, size=SMALL_PT)
        ax.margins(y=0.14)
        _tidy(ax, axis="y")
        ax.yaxis.set_tick_params(labelsize=SMALL_PT)
    return figure


def _draw_dice(ax, methods: list[Method], item: str) -> None:
    """Draw every item's Dice by every method, joined by lines, and the means."""
    values = np.array([[scan["scores"]["DSC"] for scan in method.scans] for method in methods])
    for line in values.T:
        ax.plot(range(len(methods)), line, "-", color="#9aa3ad", linewidth=1, zorder=1)
    for m, method in enumerate(methods):
        ax.plot([m] * values.shape[1], values[m], _MARKERS[m], color=_COLOURS[m], markersize=4.5)
        mean = method.mean()["DSC"]
        side, align = (-0.14, "right") if m == 0 else (0.14, "left")
        ax.plot([m - 0.09 + side, m + 0.09 + side], [mean] * 2, color=INK, linewidth=2.5)
        label = f"{mean:.3f}"
        ax.text(m + 1.9 * side, mean, label, size=TEXT_PT, va="center", color=INK, ha=align)
    ax.set_xlim(-0.75, len(methods) - 0.25)
    names = [method.name.replace(" ", "\n") for method in methods]
    ax.set_xticks(range(len(methods)), names, size=SMALL_PT)
    ax.set_title(f"Dice of every {item}", size=TITLE_PT, color=INK)
    _tidy(ax, axis="y")
    ax.yaxis.set_tick_params(labelsize=SMALL_PT)


def draw_extremes(cases: list[dict], *, field_mm: float = 20.0) -> Figure:
    """Draw the best, the median and the worst segmentation, each with its reference.

    Parameters
    ----------
    cases : list of dict
        ``name``, ``dice``, and the nibabel images ``scan``, ``mask`` and ``reference`` on one
        grid.
    field_mm : float
        Side of the square that is shown, in mm.

    Returns
    -------
    matplotlib.figure.Figure
        The slice whose own Dice is nearest to the scan's, plain and outlined.

    Examples
    --------
    >>> from gmseg.datasets.phantom import make_phantom
    >>> phantom = make_phantom(seed=0, shape=(64, 64, 1))
    >>> case = {"name": "a", "dice": 1.0, "scan": phantom.image}
    >>> figure = draw_extremes([case | {"mask": phantom.mask, "reference": phantom.mask}])
    >>> figure.texts[0].get_text()
    'best: Dice 1.000'
    """
    ranked = sorted(cases, key=lambda case: case["dice"])
    chosen = {"best": ranked[-1], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[0]}
    gap, head, foot = 0.06, 0.42, 0.3
    side = (PAGE_IN - 4 * gap) / 3
    width, height = PAGE_IN, head + 2 * (side + gap) + foot
    figure = Figure(figsize=(width, height), facecolor=DARK)
    for i, (rank, case) in enumerate(chosen.items()):
        left = gap + i * (side + gap)
        plain, outlined = (
            axes_at(figure, f"{rank} {row}", left, foot + (1 - row) * (side + gap), side, side)
            for row in range(2)
        )
        number = _draw_case(plain, outlined, case, field_mm)
        x, text = left / width, f"{rank}: Dice {case['dice']:.3f}"
        figure.text(x, 1 - 0.18 / height, text, color="white", size=TITLE_PT)
        text = f"{case['name']}, slice {number}"
        figure.text(x, 1 - 0.35 / height, text, color=PALE, size=SMALL_PT)
    lines = [
        Line2D([], [], color=PREDICTION, label="prediction"),
        Line2D([], [], color=REFERENCE, linestyle="dashed", label="reference"),
    ]
    figure.legend(
        handles=lines, loc="lower left", ncols=2, frameon=False, labelcolor=PALE, fontsize=TEXT_PT
    )
    return figure


def _draw_case(plain, outlined, case: dict, field_mm: float) -> int:
    """Draw a case's typical slice into two panels; return its number in the scan's own order."""
    scan, sizes_mm = to_las(case["scan"])
    mask, reference = (to_las(case[part])[0] > 0.5 for part in ("mask", "reference"))
    k, spacing_mm = _typical_slice(mask, reference, case["dice"]), sizes_mm[:2]
    centre_mm = mask_centre_mm(reference[..., k], spacing_mm)
    limits = limits_near(scan[..., k], spacing_mm, centre_mm, field_mm / 4)
    for ax in (plain, outlined):
        show_plane(ax, scan[..., k], spacing_mm, limits)
        zoom(ax, centre_mm, field_mm / 2)
    outline_plane(outlined, reference[..., k], spacing_mm, REFERENCE, 1.6, "dashed")
    outline_plane(outlined, mask[..., k], spacing_mm, PREDICTION, 1.6)
    return mask.shape[2] - 1 - k if runs_downwards(case["scan"].affine) else k


def _typical_slice(mask: np.ndarray, reference: np.ndarray, dice: float) -> int:
    """Return the slice whose Dice is nearest to the scan's."""
    both = 2 * (mask & reference).sum(axis=(0, 1))
    total = mask.sum(axis=(0, 1)) + reference.sum(axis=(0, 1))
    slices = np.flatnonzero(reference.any(axis=(0, 1)))
    return int(slices[np.abs(both[slices] / total[slices] - dice).argmin()])


def _title(key: str) -> str:
    return f"{key} ({METRICS[key].unit})" if METRICS[key].unit else key


def _tidy(ax, *, axis: str) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=axis, color="#e4e7eb")
    ax.set_axisbelow(True)
