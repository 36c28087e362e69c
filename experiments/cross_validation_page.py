"""The page and the picture of ``cross_validation.py``."""

import numpy as np
from folds import short_name
from matplotlib.figure import Figure
from pages import number, table

from gmseg.evaluation.calibration import (
    coefficient_of_variation_percent,
    expected_calibration_error,
)
from gmseg.evaluation.metrics import METRICS, deviation_of, mean_of
from gmseg.evaluation.score_table import shown
from gmseg.report.panels import INK

PALE, ORANGE, BLUE = "#9aa3ad", "#d55e00", "#0072b2"
NAMES = {"fold": "fold model", "unet": "fold U-Net", "published": "published"}
WINDOWS = {"auto": "localised", "cord": "on the cord mask"}


def write_page(found) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    found : dict
        Results of ``cross_validation.py`` by section.
    """
    sections = (
        _opening,
        _models,
        _dice,
        _small_field,
        _cord,
        _scanners,
        _metrics,
        _areas,
        _calibration,
        _repeats,
        _partial_volume,
    )
    texts = (section(found).strip() for section in sections)
    return "\n\n".join(filter(None, texts)) + "\n"


# ----------------------------------------------------------------------------------- sections


def _opening(found):
    left_out = ", ".join(f"`{subject}`" for subject in found["left_out"])
    missing = f"\n**Incomplete:** there is no fold yet for {left_out}.\n" if left_out else ""
    return f"""
# Cross-validation

Each subject is left out once: the model that is evaluated on a subject's scans was trained without
any scan of that subject (a leave-one-subject-out model, *fold model* for short). This page is
written by

```sh
{found["command"]}
```
{missing}
Limits of these numbers:

- **The references may favour the models.** They are probably corrected automatic segmentations, so
  agreement with them is not agreement with a manual segmentation from scratch.
- **The published weights (2017) may have been used to make the references**, directly or through
  a program that includes them. If so, the published model's Dice is more optimistic than that of
  the fold models.
- There are few scans, and two scans of one subject are not independent.
- All fold models were trained like the default model (`experiments/default_model`), with fewer
  steps: their scores rather understate it. Their U-Nets are the teachers of the same folds. These
  scans may have influenced the choice of the recipe, although no fold model was trained on its own
  subject.
- **The published network is one of the teachers**, so that fold models have partly learnt to agree
  with it, also where it was used to make the references.

The model "published" is the weights released in 2017, run by the pipeline of gmseg; the model
"final" is trained on all subjects, and is the default model. All masks are thresholded at 0.5 on
the native grid.
"""


def _models(found):
    header = ["model", "SHA-256 of the weights", "standardise", "trained on", "command"]
    rows = [
        [
            _role(name),
            f"`{model.weights_sha256[:12]}`",
            model.standardise,
            model.trained_on,
            f"`{_without_folders(model.command)}`",
        ]
        for name, model in found["models"].items()
    ]
    automatic = any("automatic masks" in model.trained_on for model in found["models"].values())
    return f"""
## Models

A fold model is refused if its card names a scan of the subject who is left out, either among its
own training scans or among those of the model that it was initialised from. The last two columns
are quoted from the cards, in their words.
{_AUTOMATIC if automatic else ""}
{table(header, rows, text=5)}
"""


_AUTOMATIC = """
Where a card says "automatic masks", a program made them: such a model has partly learnt to agree
with this program.
"""


def _role(name: str) -> str:
    return name if name in {"published", "final"} else f"fold model without {name}"


def _dice(found):
    subjects = {case.subject for case in found["cases"]}
    sites = {case.site for case in found["cases"]}
    pairs = {(case.subject, case.site) for case in found["cases"]}
    same = "Every site has one subject, so both means are equal.\n"
    return f"""
## Agreement with the references

Dice over the slices that the reference labels. The windows (32 x 32 mm for the fold models, 50 x 50
mm for the published network) lie where `gmseg segment` localises the cord, or on the cord mask. The
mean over subjects is the mean of each subject's own mean; likewise over sites.
{same if len(subjects) == len(sites) == len(pairs) else ""}
{_score_table(found["cases"], found["dice"], lowest=True)}
"""


def _small_field(found):
    rows = [
        [_role(name), *(number(windows[window]) for window in WINDOWS)]
        for name, windows in found["small_field"].items()
    ]
    return f"""
### `t2s-small-fov`

A scan with a field of view of 25 mm from another site, which no fold was trained on. The scores of
the fold models are not averaged, because a user runs a single model.

{table(["model", *(f"window {place}" for place in WINDOWS.values())], rows)}
"""


def _cord(found):
    if not found["cord"]:
        return ""
    systems = [system for system in NAMES if any(system in of for of in found["cord"].values())]
    rows = [
        [f"`{name}`", *(number(of.get(system, np.nan)) for system in systems)]
        for name, of in found["cord"].items()
    ]
    return f"""
## Cord

Dice of the cord with the cord masks of the datasets, over the slices that they label. The scans are
segmented without any mask. `t2s-small-fov`, which no model was trained on, is segmented by the
final model. The published network has no cord output.

{table(["scan", *(NAMES[system] for system in systems)], rows)}
"""


def _scanners(found):
    areas = found["scanners"]
    if not areas:
        return ""
    rows = [
        [f"`{site}`", *(number(of[site]) for of in areas.values())]
        for site in next(iter(areas.values()))
    ]
    values = [np.array(list(of.values())) for of in areas.values()]
    means = (f"**{number(np.nanmean(of))}**" for of in values)
    spreads = (f"**{number(100 * np.nanstd(of, ddof=1) / np.nanmean(of))}**" for of in values)
    rows += [["**mean**", *means], ["**coefficient of variation, %**", *spreads]]
    return f"""
## One subject on several scanners

Mean GM area in mm^2 over the slices with GM, of one subject (spine-generic, single subject) on
{len(rows) - 2} scanners. The fold models were trained without this subject. The scans are segmented
without any mask. No reference is needed: the GM is the same in all scans, apart from small
differences of the levels that they cover.

{table(["scanner", *(NAMES[system] for system in areas)], rows)}
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
        parts.append(f"### Over the {region}\n\n{table(header, rows, text=2)}")
    strays = "".join(
        f"The reference of `{name}` has GM {far:.0f} mm from its median position, where there is "
        f"no cord: its HSD and SHD do not measure the models.\n"
        for name, far in found["strays"].items()
    )
    return (
        """
## The ten metrics of the challenge

The ten metrics and the Hausdorff distance at 95 % ([definitions](metrics.md)); distances in mm by
the affine, window on the cord. Over the volume, predicted GM in slices that the reference does not
label counts as wrong.
"""
        + strays
        + "\n".join(f"\n{part}\n" for part in parts)
    )


def _areas(found):
    return f"""
## Area

Predicted over reference area, over the slices that the reference labels, window on the cord. A
ratio above 1 is an area that is too large, if the reference is right.

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
        "calibration error, mean of the scans",
        "positive voxels over 0.999, %",
    ]
    return f"""
## Calibration of the soft segmentation

Expected calibration error (Guo et al., ICML 2017): voxels within 2 mm of the border of the
reference GM, within their slice, are sorted into ten bins of equal width by their soft value. In
each bin, the mean soft value is compared with the share of voxels that are GM in the reference.
The error is the mean difference, weighted by the share of voxels in each bin; the many voxels near
0 dominate it, so see the figure as well. The pooled error gives all scans the same weight; too
much GM in one scan can offset too little in another, which cannot happen in the mean of the scans'
own errors. Window on the cord. Last column: the share of voxels with soft > 0.5 that have soft >
0.999, mean over the scans; at 100 %, the soft segmentation contains no more information than the
mask.

{table(header, rows)}

![Share of GM and share of voxels by soft value](img/reliability.png)
{_step(found["calibration"])}"""


def _step(calibrations):
    """Describe a step of the references at the network's own threshold, if there is one."""
    shares = {system: of["table"].gm_share[4:6] for system, of in calibrations.items()}
    below, above = shares["published"]
    if not above - below > _STEP:
        return ""
    rise = {s: " to ".join(number(100 * v) for v in pair) + " %" for s, pair in shares.items()}
    return f"""
From the bin below a soft value of 0.5 to the bin above it, the share of GM in the references rises
from {rise["published"]} for the published network, and from {rise["fold"]} for the fold
models. References drawn without the network would hardly have such a step at the network's own
threshold: these are probably corrected from its thresholded output.
"""


_STEP = 0.3  # more than chance or a steep calibration curve explains


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

Each subject was scanned twice in one session and repositioned in between, so the runs cannot be
compared voxel by voxel, but the GM is the same. The table compares the GM volume per slice: the
mean area in mm^2, as "run 1 / run 2", over the slices in which the model's mask has GM in both runs
(their number is given). The area is counted from the mask or summed over the soft segmentation. In
run 1 the window is on the cord mask; run 2 has no cord mask, and its window is at the centre of run
1's mask in world space. CV is the within-subject coefficient of variation: abs(a - b) / sqrt(2)
over the mean of each pair, and the root mean square over the pairs (Hyslop & White, J. Air & Waste
Manage. Assoc. 59:1032, 2009). It measures repeatability, not accuracy, and includes the shift of
slices along the cord.

{table(header, [*rows, last])}
"""


def _partial_volume(found):
    rows = []
    for pixel_mm, errors in found["partial_volume"].items():
        for (name, kind), values in errors.items():
            label = "true shape" if name == "truth" else name
            means = number(np.mean(values), sign=True), number(np.mean(np.abs(values)))
            rows.append([f"{pixel_mm:g}", label, kind, *means])
    slices = len(next(iter(next(iter(found["partial_volume"].values())).values())))
    header = ["pixel, mm", "model", "area from", "mean error, %", "mean absolute error, %"]
    return f"""
## Partial volume

Synthetic phantoms (`gmseg/datasets/phantom.py`) whose area is known to a fraction of a pixel: two
cords at each of four synthetic sites, the same cords at each pixel size, {slices} slices each. None
of them is among the phantoms of any training (training counts its seeds from 0, this page from
10,001). Errors are of the GM area in a slice, in % of the true area. "Ours" is {found["ours"]}. The
mask of the "true shape" has every pixel that is at least half GM, about the best that a mask can
do. **The comparison is not fair:** ours was trained on such phantoms with the true share of GM in
each pixel as the label, if its card says so; the published weights were not.

{table(header, rows, text=3)}
"""


# ------------------------------------------------------------------------------------- tables


def _pair(values):
    return "-" if np.isnan(values).any() else " / ".join(number(v) for v in values)


def _cv(pairs, kind):
    """Return the CV over the pairs that have slices in common."""
    areas = np.array([pair[kind] for pair in pairs if pair["slices"]])
    return f"**{number(coefficient_of_variation_percent(*areas.T))}**" if len(areas) else "-"


def _score_table(cases, scores, *, lowest=False, highest=False):
    """Return a table of ``{(system, window): {scan: score}}`` with means and extremes."""
    header = ["scan", "subject", "site"]
    header += [f"{NAMES[system]}, window {WINDOWS[window]}" for system, window in scores]
    rows = [
        [f"`{c.name}`", c.subject, c.site, *(number(of[c.name]) for of in scores.values())]
        for c in cases
    ]
    summaries = {
        "mean over scans": lambda of: np.mean([of[c.name] for c in cases]),
        "mean over subjects": lambda of: _mean_by(of, {c.name: c.subject for c in cases}),
        "mean over sites": lambda of: _mean_by(of, {c.name: c.site for c in cases}),
        **({"lowest": lambda of: min(of.values())} if lowest else {}),
        **({"highest": lambda of: max(of.values())} if highest else {}),
    }
    for name, summary in summaries.items():
        cells = (f"**{number(summary(of))}**" for of in scores.values())
        rows.append([f"**{name}**", "", "", *cells])
    return table(header, rows, text=3)


def _mean_by(scores, groups):
    """Return the mean of the groups' means; groups is ``{scan: group}``."""
    means = [
        np.mean([scores[name] for name in scores if groups[name] == group])
        for group in sorted(set(groups.values()))
    ]
    return np.mean(means)


def _without_folders(command):
    """Return a command without the folders of this machine."""
    words = (short_name(word) if "/" in word else word for word in command.split())
    return " ".join(words)


# ------------------------------------------------------------------------------------ picture


def draw_reliability(calibrations) -> Figure:
    """Draw the share of GM and the share of voxels by soft value.

    Line styles and markers distinguish the models without colour.

    Parameters
    ----------
    calibrations : dict
        ``{"fold", "unet" or "published": {"table": gmseg.evaluation.calibration.Reliability}}``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    styles = {
        "fold": dict(color=INK, ls="-", marker="o", mfc=INK),
        "unet": dict(color=BLUE, ls="-.", marker="^", mfc=BLUE),
        "published": dict(color=ORANGE, ls="--", marker="s", mfc="white"),
    }
    figure = Figure(figsize=(5.2, 6.4), facecolor="white", layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=PALE, lw=1.2, ls=":", label="perfect calibration")
    for i, (system, of) in enumerate(calibrations.items()):
        bins, style = of["table"], styles[system]
        filled = bins.count > 0
        label = f"{NAMES[system]}: error {number(expected_calibration_error(bins))}"
        upper.plot(
            bins.mean_soft[filled],
            bins.gm_share[filled],
            ms=6,
            lw=1.8,
            label=label,
            clip_on=False,
            zorder=3,
            **style,
        )
        width = 1 / len(bins.count)
        part = 0.8 * width / len(calibrations)
        left = np.arange(len(bins.count)) * width + 0.1 * width + part * i
        lower.bar(
            left,
            100 * bins.count,
            part,
            align="edge",
            ec=style["color"],
            lw=1.2,
            fc=style["color"] if system == "fold" else "white",
            hatch=None if system == "fold" else "/////",
        )
    upper.set(ylabel="share of GM in the reference", xlim=(0, 1), ylim=(0, 1))
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="soft segmentation", ylabel="voxels, %")
    upper.set_title("Voxels within 2 mm of the GM border", size=11)
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
    return figure
