"""The page and the picture of ``cross_validation.py``: words and tables, no computing."""

import numpy as np
from cross_validation_folds import model_shown
from matplotlib.figure import Figure

from gmseg.evaluation.calibration import (
    coefficient_of_variation_percent,
    expected_calibration_error,
)
from gmseg.evaluation.metrics import METRICS, deviation_of, mean_of
from gmseg.evaluation.score_table import shown
from gmseg.report.overlays import INK

PALE, ORANGE = "#9aa3ad", "#d55e00"
NAMES = {"fold": "fold model", "published": "published"}
WINDOWS = {"image": "image's centre", "cord": "cord"}


def write_page(found) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    found : dict
        All that ``cross_validation.py`` found, by the name of the section.
    """
    sections = (
        _opening,
        _models,
        _dice,
        _small_field,
        _metrics,
        _areas,
        _calibration,
        _repeats,
        _partial_volume,
    )
    return "\n\n".join(section(found).strip() for section in sections) + "\n"


# ----------------------------------------------------------------------------------- sections


def _opening(found):
    left_out = ", ".join(f"`{subject}`" for subject in found["left_out"])
    missing = f"\n**Not complete:** there is no fold yet for {left_out}.\n" if left_out else ""
    return f"""
# Cross-validation

Every subject is left out once: the model that is scored on a subject's scans (a *fold model*) was
trained without any scan of that subject. Written by

```sh
{found["command"]}
```
{missing}
Read the numbers with care:

- **The masks flatter.** They are probably corrected automatic segmentations, so that agreement
  with them is not agreement with a human who drew from scratch.
- **The published weights (2017) may have been used to make them**, directly or by way of a
  program that includes them. If so, the published model's Dice is flattered more than ours.
- The scans are few, and two of the same subject are not two subjects.
- The folds share how they were trained. Whoever chose that by looking at these scans has seen
  them, though the fold models have not.

"Published" are the weights of 2017, run through our own pipeline. All masks: threshold 0.5 on the
scan's own grid. Numbers have three digits.
"""


def _models(found):
    rows = []
    for who, model in found["models"].items():
        role = who if who in {"published", "final"} else f"fold without {who}"
        rows.append(
            [
                role,
                f"`{model.weights_sha256[:12]}`",
                model.standardise,
                model.trained_on,
                f"`{_without_folders(model.command)}`",
            ]
        )
    header = ["model", "SHA-256 of the weights", "standardised by", "trained on", "command"]
    automatic = any("automatic masks" in model.trained_on for model in found["models"].values())
    return f"""
## Models

A fold model is refused if its card names a scan of the subject who is left out, be it among those
that it was trained on or among those of the model whose weights it began with.
{_AUTOMATIC if automatic else ""}
{_table(header, rows, text=5)}
"""


_AUTOMATIC = """
Where the card says "automatic masks", a program drew them (in `experiments/default_model.py` the
published network): such a model has learnt, in part, to agree with the published one.
"""


def _dice(found):
    subjects = {case.subject for case in found["cases"]}
    sites = {case.site for case in found["cases"]}
    pairs = {(case.subject, case.site) for case in found["cases"]}
    alike = "Each subject is the only one of a site, so their means are the same.\n"
    return f"""
## Agreement with the masks

Dice over the slices that the mask labels, with the window (50 x 50 mm) at the image's centre or
on the cord mask. Where the cord lies far off the image's centre, only the window on the cord is
fair. The mean over subjects first takes each subject's own mean; the one over sites likewise.
{alike if len(subjects) == len(sites) == len(pairs) else ""}
{_score_table(found["cases"], found["dice"], lowest=True)}
"""


def _small_field(found):
    rows = []
    for who, windows in found["small_field"].items():
        role = who if who in {"published", "final"} else f"fold without {who}"
        rows.append([role, *(number(windows[window]) for window in WINDOWS)])
    return f"""
### `t2s-small-fov`

A scan with a field of view of 25 mm from yet another site, which no fold was trained on. Each
fold model has its own score; no mean is taken over them, for nobody would use a mean of models.

{_table(["model", *(f"window on the {where}" for where in WINDOWS.values())], rows)}
"""


def _metrics(found):
    header = ["scan", "model"]
    header += [f"{key} {metric.unit}".strip() for key, metric in METRICS.items()]
    parts = []
    for region, systems in found["metrics"].items():
        rows = []
        for case in found["cases"]:
            for (system, _), of in systems.items():
                cells = (shown(key, of[case.name][key]) for key in METRICS)
                rows.append([f"`{case.name}`", NAMES[system], *cells])
        for (system, _), of in systems.items():
            mean, deviation = (f(list(of.values())) for f in (mean_of, deviation_of))
            cells = (f"{shown(key, mean[key])} ± {shown(key, deviation[key])}" for key in METRICS)
            rows.append(["**mean ± s.d.**", NAMES[system], *cells])
        parts.append(f"### Over the {region}\n\n{_table(header, rows, text=2)}")
    strays = "".join(
        f"The mask of `{name}` has GM {far:.0f} mm from its middle, where there is no cord: its "
        f"HSD and SHD say nothing of any model.\n"
        for name, far in found["strays"].items()
    )
    return (
        """
## The ten metrics of the challenge

And the Hausdorff distance at 95 %. [Their definitions](metrics.md), with mm taken from the affine;
window on the cord. Over the volume, GM in slices that the mask does not label counts as wrong.
"""
        + strays
        + "\n".join(f"\n{part}\n" for part in parts)
    )


def _areas(found):
    return f"""
## Area

Predicted over reference area, over the slices that the mask labels, window on the cord. More than
1 is too large, if the mask is right.

{_score_table(found["cases"], found["area_ratio"], lowest=True, highest=True)}
"""


def _calibration(found):
    rows = [
        [
            NAMES[system],
            number(expected_calibration_error(of["table"])),
            number(of["mean_error"]),
            number(100 * of["saturated"]),
        ]
        for system, of in found["calibration"].items()
    ]
    header = [
        "model",
        "calibration error, pooled",
        "calibration error, mean of the scans' own",
        "positive voxels over 0.999, %",
    ]
    return f"""
## Is 0.7 seventy per cent?

Expected calibration error (Guo et al., ICML 2017) of the soft segmentation: voxels within 2 mm of
the border of the mask's GM, within their slice, are put into ten bins of equal width by their soft
value; in each, the mean soft value is compared with the share of voxels that are GM in the mask.
The error is the mean difference, bins weighted by their share of the voxels, so that the many
voxels near 0 weigh most: look at the picture as well. All scans are pooled, each with the same
weight; too much GM in one then makes up for too little in another, which it does not in the mean
of the scans' own errors. Window on the cord. Last column: of the voxels with soft > 0.5, how many
have soft > 0.999, mean over the scans; where all do, the soft segmentation says no more than the
mask.

{_table(header, rows)}

![Share of GM over soft value, and share of voxels per bin](img/reliability.png)
{_step(found["calibration"])}"""


def _step(calibrations):
    """Say where the masks betray that they were thresholded predictions of the network."""
    shares = {system: of["table"].gm_share[4:6] for system, of in calibrations.items()}
    below, above = shares["published"]
    if not above - below > _STEP:
        return ""
    leap = {s: " to ".join(number(100 * v) for v in pair) + " %" for s, pair in shares.items()}
    return f"""
Across a soft value of 0.5 (from the bin below it to the one above), the share of GM in the masks
leaps from {leap["published"]} for the published network; for the fold models it goes from
{leap["fold"]}. A mask that was drawn without the network would hardly know of its 0.5: this is
what masks look like that began as its own output, thresholded.
"""


_STEP = 0.3  # more than chance and a steep but honest curve would give


def _repeats(found):
    systems = found["repeats"]
    rows = []
    for name in systems["fold"]:
        row = [f"`{name}`"]
        for pairs in systems.values():
            of = pairs[name]
            row += [str(of["slices"]), *(_pair(of[kind]) for kind in ("mask", "soft"))]
        rows.append(row)
    last = [f"**CV, %** (pairs: {len(rows)})"]
    for pairs in systems.values():
        last += ["", *(_cv(pairs.values(), kind) for kind in ("mask", "soft"))]
    header = ["scan"] + [
        f"{NAMES[system]}: {what}" for system in systems for what in ("slices", "mask", "soft")
    ]
    return f"""
## Scan and rescan

Each subject was scanned a second time in the same session and moved in between, so that the runs
cannot be compared voxel by voxel; but the GM has not changed. Compared is the GM volume over the
slices that both runs have, per slice: the mean area in mm^2 over the slices in which the model's
mask has GM in both runs (their number is given), as "run 1 / run 2". The area is counted from the
mask, or summed over the soft segmentation. The window is on the cord mask in run 1; run 2 has no
cord mask, and its window is at the same place in world space as the centre of run 1's. CV is the
within-subject coefficient of variation: of each pair abs(a - b) / sqrt(2) over the mean, and of
these the root mean square (Hyslop & White, J. Air & Waste Manage. Assoc. 59:1032, 2009). It says
how well a number repeats, not whether it is right. That a slice moved along the cord is in it.

{_table(header, [*rows, last])}
"""


def _partial_volume(found):
    rows = []
    for pixel_mm, errors in found["partial_volume"].items():
        for (who, kind), values in errors.items():
            label = "the truth itself" if who == "truth" else who
            means = number(np.mean(values), sign=True), number(np.mean(np.abs(values)))
            rows.append([f"{pixel_mm:g}", label, kind, *means])
    slices = len(next(iter(next(iter(found["partial_volume"].values())).values())))
    header = ["pixel, mm", "model", "area from", "mean error, %", "mean absolute error, %"]
    return f"""
## Pixels that are partly GM

On made-up cords (`gmseg/phantom.py`), whose true area is known below the size of a pixel: two
cords at each of four made-up sites, the same cords at each pixel size, {slices} slices each time,
none of them among the phantoms of any training (those count their seeds from 0, these from
10,001). Errors are of the area in a slice, in % of the true one. "Ours" is {found["ours"]}; "the
truth itself" as a mask has every pixel that is half GM or more, and shows what a mask can do at
best. **This is not a fair comparison:** ours was trained on phantoms of this kind, with the true
share of GM in each pixel as the label, if its card says so; the published weights never saw any.

{_table(header, rows, text=3)}
"""


# ------------------------------------------------------------------------------------- tables


def number(value, *, sign=False) -> str:
    """Return a number with three digits."""
    if not np.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    return f"{value:{'+' if sign else ''}#.3g}".rstrip(".")


def _pair(values):
    return "-" if np.isnan(values).any() else " / ".join(number(v) for v in values)


def _cv(pairs, kind):
    """Return the CV over the pairs that have slices in common."""
    areas = np.array([pair[kind] for pair in pairs if pair["slices"]])
    return f"**{number(coefficient_of_variation_percent(*areas.T))}**" if len(areas) else "-"


def _table(header, rows, *, text=1):
    """Return a table whose first columns are text, and the others numbers."""
    align = ["---"] * text + ["--:"] * (len(header) - text)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, align, *rows))


def _score_table(cases, scores, *, lowest=False, highest=False):
    """Return scans over scores, ``{(system, window): {scan: score}}``, and what they come to."""
    header = ["scan", "subject", "site"]
    header += [f"{NAMES[system]}, window on the {WINDOWS[window]}" for system, window in scores]
    rows = [
        [f"`{c.name}`", c.subject, c.site, *(number(of[c.name]) for of in scores.values())]
        for c in cases
    ]
    ends = {
        "mean over scans": lambda of: np.mean([of[c.name] for c in cases]),
        "mean over subjects": lambda of: _mean_by(of, {c.name: c.subject for c in cases}),
        "mean over sites": lambda of: _mean_by(of, {c.name: c.site for c in cases}),
        **({"lowest": lambda of: min(of.values())} if lowest else {}),
        **({"highest": lambda of: max(of.values())} if highest else {}),
    }
    for name, summary in ends.items():
        cells = (f"**{number(summary(of))}**" for of in scores.values())
        rows.append([f"**{name}**", "", "", *cells])
    return _table(header, rows, text=3)


def _mean_by(scores, groups):
    """Return the mean of the groups' means; groups is ``{scan: group}``."""
    means = [
        np.mean([scores[name] for name in scores if groups[name] == group])
        for group in sorted(set(groups.values()))
    ]
    return np.mean(means)


def _without_folders(command):
    """Return a command with its paths shortened: where they lie is this machine's own."""
    words = (model_shown(word) if "/" in word else word for word in command.split())
    return " ".join(words)


# ------------------------------------------------------------------------------------ picture


def draw_reliability(calibrations) -> Figure:
    """Draw shares of GM over soft values, and how many voxels have them.

    Line styles and markers tell the models apart where colours do not.

    Parameters
    ----------
    calibrations : dict
        ``{"fold" or "published": {"table": gmseg.evaluation.calibration.Reliability}}``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    styles = {
        "fold": dict(color=INK, ls="-", marker="o", mfc=INK),
        "published": dict(color=ORANGE, ls="--", marker="s", mfc="white"),
    }
    figure = Figure(figsize=(5.2, 6.4), facecolor="white", layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=PALE, lw=1.2, ls=":", label="as it should be")
    for i, (system, of) in enumerate(calibrations.items()):
        table, style = of["table"], styles[system]
        filled = table.count > 0
        label = f"{NAMES[system]}: error {number(expected_calibration_error(table))}"
        upper.plot(
            table.mean_soft[filled],
            table.gm_share[filled],
            ms=6,
            lw=1.8,
            label=label,
            clip_on=False,
            zorder=3,
            **style,
        )
        width = 1 / len(table.count)
        left = np.arange(len(table.count)) * width + width * (0.1 + 0.4 * i)
        lower.bar(
            left,
            100 * table.count,
            width * 0.4,
            align="edge",
            ec=style["color"],
            lw=1.2,
            fc=style["color"] if system == "fold" else "white",
            hatch=None if system == "fold" else "/////",
        )
    upper.set(ylabel="share that is GM in the mask", xlim=(0, 1), ylim=(0, 1))
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="soft segmentation", ylabel="voxels, %")
    upper.set_title("Voxels within 2 mm of the GM's border", size=11)
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
    return figure
