"""The page and the figure of ``robustness.py``.

Run as a script, ``python experiments/robustness_page.py`` brings the page's table of limits up to
date, which needs no records.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from pages import table
from scipy.stats import spearmanr

from gmseg.datasets.degradations import DEGRADATIONS
from gmseg.inference.quality import expected_dice
from gmseg.inference.quality.flags import LIMITS, confidence_flags
from gmseg.io.files import write_between

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
BEGIN, END = "<!-- limits: python experiments/robustness_page.py -->", "<!-- end of limits -->"
SYSTEMS = {
    "release": "published weights, published pipeline",
    "published": "published weights, gmseg pipeline",
    "fold": "fold models, gmseg pipeline",
}
LOW_DICE = 0.8
FEATURES = {"soft_dice": "soft Dice", "agreement": "agreement with the U-Net"}
"""What the expected Dice may be computed from; the first is what the default model uses."""
NONE = "none"  # no degradation
NAMES = {
    "turned by quarters": "rotated by multiples of 90 degrees",
    "mirrored": "flipped",
    "turned": "rotated",
    "cut": "cropped field of view",
    "coarse": "larger pixels",
    "sagittal": "resampled to sagittal slices",
    "swollen": "one slice enlarged",
    "doubled": "second copy of the cord",
    "slices lost": "signal dropout",
    "ghosted": "motion ghosting",
    "flattened": "reduced GM/WM contrast",
    "one-sided": "one-sided contrast loss",
    "shaded": "bias field",
    "inverted": "inverted contrast",
    "clipped": "clipped at a percentile",
}
"""Names of degradations on the page, where they differ from their keys."""
AMOUNTS = {
    "mirrored": "anterior-posterior",
    "cut": "{:g} mm from the centre of the cord to the edge",
    "sagittal": "{:g} mm thick",
    "swollen": "{:g} times",
    "doubled": "{:g} mm left or right of the cord",
    "slices lost": "{:g} of 4 slices",
    "ghosted": "{:g} of every 2nd to 4th line of k-space",
    "inverted": "{:g} of the inverted intensities",
    "clipped": "{:g}th percentile",
}
"""Amounts in words, where they differ from value and unit."""
SCORED = (NONE, *DEGRADATIONS)
USUAL = (NONE, "noisy", "blurred", "ghosted", "flattened")


def write_page(records: list[dict]):
    """Return the page, curves of the expected Dice, and (expected, true, kind) by soft Dice."""
    found = {feature: expected_dice_of(records, feature) for feature in FEATURES}
    without = found["soft_dice"].without
    sections = (
        HEAD,
        dice_table(records),
        FLAGS_HEAD,
        flag_table(records, without),
        "All amounts of each degradation together:",
        flag_sums(records, without),
        whole_part(records, without),
        poor_part(records, without),
        LIMITS_HEAD,
        f"{BEGIN}\n\n{limits_table()}\n\n{END}",
        expected_part(records, found),
        OPTIONS_HEAD,
        options_table(records),
    )
    page = "\n\n".join(section.strip() for section in sections) + "\n"
    curves = {feature: of.curve for feature, of in found.items()}
    return page, curves, found["soft_dice"].pairs


def pick(records: list[dict], **wanted) -> list[dict]:
    """Return the records with these values."""
    return [r for r in records if all(r[key] == value for key, value in wanted.items())]


def grades():
    """Yield every degradation and grade, with its amount in words."""
    yield NONE, 0, ""
    for degradation, way in DEGRADATIONS.items():
        for grade, value in enumerate(way.values):
            yield degradation, grade, AMOUNTS.get(degradation, f"{{:g}} {way.unit}").format(value)


def expected_flag(degradation: str) -> str | None:
    """Return the flag that a degradation should raise, if there is one."""
    return DEGRADATIONS[degradation].flag if degradation in DEGRADATIONS else None


# -------------------------------------------------------------------------------------- Dice

HEAD = """
# Degraded scans: accuracy and QC flags

This page is written by
`python experiments/robustness.py SHARED_DATA FOLDS --published challenge_model.hdf5`.

Four neighbouring slices of one scan of each of four subjects, of `t2s-small-fov` and of two
synthetic phantoms are degraded with every degradation of `gmseg.datasets.degradations`, from mild
to severe. These are seven scans for the fold models and five for the published weights, which do
not segment the phantoms. A *fold model* is a leave-one-subject-out model: it was trained like the
default model but without the subject. No fold model was trained on `t2s-small-fov` or on these
phantoms; the first fold model segments them. The published pipeline places its window at the
image's centre and thresholds at 0.999 on the working grid; the pipeline of gmseg localises the cord
and thresholds at 0.5 on the native grid. The references are probably corrected automatic
segmentations, so these values may be optimistic.

## Dice

The table lists the mean Dice over the scans (lowest in brackets). Without degradation, the
published pipeline has a lower Dice than with a shift of 15 mm: the cord of `sub-9604` lies 26 mm
from the centre of its image, and the shifted scans have theirs 15 mm from it.
"""


def dice_table(records) -> str:
    """Return the Dice of every degradation, grade and system."""
    rows = []
    for degradation, grade, amount in grades():
        cells = []
        for system in SYSTEMS:
            chosen = pick(records, system=system, degradation=degradation, grade=grade)
            scores = [record["dice"] for record in chosen]
            cells.append(f"{np.mean(scores):.3f} ({min(scores):.2f})")
        rows.append([NAMES.get(degradation, degradation), amount, *cells])
    return table(["degradation", "amount", *SYSTEMS.values()], rows, text=2)


# ------------------------------------------------------------------------------------- flags

FLAGS_HEAD = """
## Flags

The table counts the scans that raised the flag expected of the degradation, and those that raised
any flag. The limits below were chosen with these scans and degradations: on other scans, flags may
be missed or wrong more often. Only the curve of `low-confidence` was fitted without the subject.
"""


def raised(record, without) -> set[str]:
    """Return the names of the flags, low confidence by the curve without the subject."""
    names = set(record["flags"]) - {"low-confidence"}
    return names | {flag.name for flag in low_confidence(record, without)}


def low_confidence(record, without) -> list:
    """Return the flags of a low expected Dice; only fold models have a curve."""
    if record["system"] != "fold":
        return []
    curve = without[record["subject"]]
    return confidence_flags(expected_dice.predict(numbers(record["soft_dice"]), curve))


def numbers(values) -> np.ndarray:
    """Return values with NaN for None."""
    return np.array([np.nan if value is None else value for value in values], float)


def flag_table(records, without) -> str:
    """Return how often the expected flag was raised, and any flag."""
    rows = []
    for degradation, grade, amount in grades():
        flag, cells = expected_flag(degradation), []
        for system in ("published", "fold"):
            chosen = pick(records, system=system, degradation=degradation, grade=grade)
            flags = [raised(record, without) for record in chosen]
            hits = sum(flag in names for names in flags) if flag else "-"
            cells.append(f"{hits}, {sum(map(bool, flags))} of {len(flags)}")
        rows.append([NAMES.get(degradation, degradation), amount, flag or "-", *cells])
    names = (SYSTEMS[s].split(",")[0] for s in ("published", "fold"))
    columns = [f"{name}: raised, any" for name in names]
    return table(["degradation", "amount", "expected flag", *columns], rows, text=3)


def flag_sums(records, without) -> str:
    """Return how often the expected flag was raised over all grades."""
    rows = []
    for degradation in DEGRADATIONS:
        if flag := expected_flag(degradation):
            cells = []
            for system in ("published", "fold"):
                chosen = pick(records, system=system, degradation=degradation)
                hits = sum(flag in raised(record, without) for record in chosen)
                cells.append(f"{hits} of {len(chosen)}")
            rows.append([NAMES.get(degradation, degradation), flag, *cells])
    columns = ["degradation", "expected flag", "published weights", "fold models"]
    return table(columns, rows, text=2)


WHOLE = """
The scans are those with a reference, `t2s-small-fov` included, and the second runs of the subjects.
""".strip()


def whole_part(records, without) -> str:
    """Return the flags of whole scans without degradation."""
    text = "### Whole scans without degradation\n\n" + WHOLE + "\n\n"
    for system in ("fold", "published"):
        whole = pick(records, system=system, degradation="whole")
        flagged = [r for r in whole if raised(r, without)]
        text += (
            f"{SYSTEMS[system].capitalize()}: {len(whole)} scans, {len(flagged)} with flags.\n\n"
        )
        text += "".join(f"- {r['scan']}: {'; '.join(texts(r, without))}\n" for r in flagged) + "\n"
    return text + (
        "The uppermost slices of `sub-9604` lie above the cord; "
        "its reference labels slices 0 to 13 and 17."
    )


def texts(record, without) -> list[str]:
    """Return the texts of the flags, those of a low expected Dice by this page's curves."""
    pairs = zip(record["flags"], record["texts"], strict=True)
    other = [text for name, text in pairs if name != "low-confidence"]
    return other + [flag.text for flag in low_confidence(record, without)]


def poor_part(records, without) -> str:
    """Return how many poor masks had a flag."""
    scored = [r for r in pick(records, system="fold") if r["degradation"] in SCORED]
    poor = [r for r in scored if r["dice"] < LOW_DICE]
    flagged = sum(bool(raised(r, without)) for r in poor)
    return (
        f"Of the {len(poor)} masks of the fold models with a Dice below {LOW_DICE}, {flagged} had "
        f"a flag ({100 * flagged / max(1, len(poor)):.0f} %)."
    )


LIMITS_HEAD = """
## Limits

This is the table `LIMITS` in `gmseg/inference/quality/flags.py`.
"""


def limits_table() -> str:
    """Return the table of limits."""
    rows = []
    for name, limit in LIMITS.items():
        value = f"{limit.limit:g} {limit.meaning}" if limit.limit is not None else limit.meaning
        rows.append([name, value, limit.reason])
    return table(["flag", "limit", "reason"], rows, text=3)


# ----------------------------------------------------------------------------- expected Dice


class Expected(NamedTuple):
    """Expected Dice from one feature.

    Attributes
    ----------
    curve : list of [float, float]
        Fitted on all subjects.
    without : dict
        Subject to the curve fitted without it.
    pairs : tuple of numpy.ndarray
        Expected Dice by these curves, true Dice and degradation, (slices,).
    correlations : dict
        Rank correlations of expected and true Dice, by group of slices.
    """

    curve: list
    without: dict
    pairs: tuple
    correlations: dict


def slices_of(records, feature):
    """Return a feature, true Dice, subject and degradation of every degraded slice of the folds."""
    found = [
        (value, dice, r["subject"], r["degradation"])
        for r in pick(records, system="fold")
        if r["degradation"] in SCORED
        for value, dice in zip(numbers(r[feature]), r["slice_dice"], strict=True)
        if dice is not None
    ]
    values, true, subject, degradation = map(np.array, zip(*found, strict=True))
    return values.astype(float), true.astype(float), subject, degradation


def expected_dice_of(records, feature) -> Expected:
    """Fit the curves of the expected Dice from a feature, and rank the slices by them."""
    values, true, subject, degradation = slices_of(records, feature)
    expected = np.full(len(true), np.nan)
    without = {}
    for name in map(str, np.unique(subject)):
        own = subject == name
        without[name] = expected_dice.fit(values[~own], true[~own])
        expected[own] = expected_dice.predict(values[own], without[name])
    known = np.isfinite(expected)
    groups = {
        "all": known,
        "usual": known & np.isin(degradation, USUAL),
        **{str(name): known & (subject == name) for name in np.unique(subject)},
    }
    correlations = {
        name: spearmanr(expected[group], true[group])[0] for name, group in groups.items()
    }
    # slices without GM have a flag of their own; here their expected Dice is 0
    correlations["with empty slices"] = spearmanr(np.where(known, expected, 0), true)[0]
    correlations |= clean_correlations(records, feature)
    pairs = expected[known], true[known], degradation[known]
    return Expected(expected_dice.fit(values, true), without, pairs, correlations)


def clean_correlations(records, feature) -> dict[str, float]:
    """Return rank correlations of a feature and Dice in whole scans: of all slices, in scans."""
    scans = []
    for record in pick(records, system="fold", degradation="whole"):
        if record["slice_dice"] is not None:
            values, true = numbers(record[feature]), numbers(record["slice_dice"])
            known = np.isfinite(values) & np.isfinite(true)
            scans.append((values[known], true[known]))
    within = [spearmanr(*scan)[0] for scan in scans if len(scan[0]) > _FEWEST_SLICES]
    together = spearmanr(*(np.concatenate(part) for part in zip(*scans, strict=True)))[0]
    return {"whole scans": together, "within whole scans": float(np.mean(within or [np.nan]))}


_FEWEST_SLICES = 4  # for a correlation within a scan


def expected_part(records, found) -> str:
    """Return what the expected Dice is, and its rank correlation with the true one."""
    best = found["soft_dice"]
    error = np.abs(best.pairs[0] - best.pairs[1]).mean()
    subjects = sorted({record["subject"] for record in records} & set(best.correlations))
    each = ", ".join(f"{name} {best.correlations[name]:.2f}" for name in subjects)
    rows = [
        [text, *(f"{of.correlations[group]:.2f}" for of in found.values())]
        for group, text in GROUPS.items()
    ]
    return f"""
## Expected Dice

`expected_dice` in the summary of a segmentation is the Dice that gmseg predicts for each slice. It
is computed from the soft Dice: the Dice of the soft segmentation with its own mask (soft > 0.5) on
the working grid, 2 sum(p over the mask) / (sum(p) + mask). A curve that was fitted on the degraded
scans of this page maps it to the expected Dice. Here, the curve of every subject was fitted without
that subject (a phantom counts as a subject).

Agreement with a second model was tried as the feature: the Dice of the two masks, slice by slice.
The second model was the U-Net of the same fold, which was not trained on the subject either. The
U-Net is the teacher of the fold model, so the two make similar errors. The table shows no gain, so
gmseg does without it.

Rank correlation of expected and true Dice of slices:

{table(["slices", *FEATURES.values()], rows)}

By soft Dice, the mean absolute error over the {len(best.pairs[0])} degraded slices is {error:.3f}.
By subject, the rank correlation over all degradations is: {each}.
The last row takes scans of more than {_FEWEST_SLICES} labelled slices. In whole scans without
degradation the Dice hardly varies, and the expected Dice tells little about which slices are
better.

![Expected and true Dice](img/confidence.png)
"""


GROUPS = {
    "usual": "noise, blur, ghosts, lost contrast, and no degradation",
    "all": "all degradations of this page",
    "with empty slices": "the same with slices without predicted GM, whose expected Dice is 0",
    "whole scans": "whole scans without degradation, all slices",
    "within whole scans": "whole scans without degradation, mean of the scans",
}
"""Groups of slices in the table of rank correlations."""


def draw_confidence(pairs) -> Figure:
    """Draw expected against true Dice, one point per slice."""
    expected, true, degradation = pairs
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    plain = degradation == NONE
    axes.plot(expected[~plain], true[~plain], ".", color="0.6", ms=4, label="degraded slices")
    axes.plot(expected[plain], true[plain], "x", color="#0072b2", ms=5, label="no degradation")
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.set(
        xlabel="expected Dice, fitted without the subject",
        ylabel="true Dice of the slice",
        xlim=(0, 1),
        ylim=(-0.02, 1),
    )
    axes.legend(loc="upper left", frameon=False)
    return figure


# ----------------------------------------------------------------------------------- options

OPTIONS_HEAD = """
## Options that are off by default

The table lists the mean Dice (lowest in brackets) over the labelled slices of the seven labelled
scans, as a whole, with windows on the cord mask: six of four subjects, and `t2s-small-fov`.
Test-time augmentation has six copies and seed 0.
"""


def options_table(records) -> str:
    """Return the Dice with test-time augmentation and post-processing."""
    chosen = pick(records, degradation="option")
    rows = []
    for name in dict.fromkeys(record["option"] for record in chosen):
        cells = []
        for system in ("fold", "published"):
            scores = [record["dice"] for record in pick(chosen, system=system, option=name)]
            cells.append(f"{np.mean(scores):.4f} ({min(scores):.3f})")
        rows.append([name, *cells])
    return table(["option", "fold models", "published weights"], rows)


if __name__ == "__main__":
    write_between(PAGE, BEGIN, END, limits_table())
    print(f"wrote the limits of {PAGE}")
