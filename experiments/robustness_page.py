"""The page of ``robustness.py``: its tables and its picture."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from gmseg.datasets.degradations import DEGRADATIONS
from gmseg.inference.quality import expected_dice
from gmseg.inference.quality.flags import LIMITS

SYSTEMS = {
    "release": "published weights, published pipeline",
    "published": "published weights, our pipeline",
    "fold": "our model (folds), our pipeline",
}
LOW_DICE = 0.8
SPOILED = ("as it is", *DEGRADATIONS)
USUAL = ("as it is", "noisy", "blurred", "ghosted", "flattened")

HEAD = """# Spoiled scans: what still works, and what is said where it does not

Written by `python experiments/robustness.py SHARED_DATA FOLDS --published challenge_model.hdf5`.

Four neighbouring slices of one scan of each of four subjects, of `t2s-small-fov` and of two made-up
cords (these for our model alone), spoiled in every way of `gmseg.datasets.degradations`, from mild to gross.
"Folds" are models of the default model's recipe that never saw the subject. The published pipeline
cuts its window at the image's centre and thresholds at 0.999 on the working grid; ours thresholds
at 0.5 on the native grid. References are probably corrected automatic segmentations, and
agreement with them may flatter.

## Dice
Mean over the scans (the lowest of them in brackets).

"""


def write_page(records):
    """Return the page, the knots of the confidence, and its (expected, true, kind) pairs."""
    knots, without, pairs, rho = confidence_of(records)
    text = HEAD + dice_table(records) + flag_table(records, without) + limits_table()
    text += confidence_part(records, pairs, rho) + choices_part(records)
    return text, knots, pairs


def pick(records, **wanted):
    """Return the records with these values."""
    return [r for r in records if all(r[key] == value for key, value in wanted.items())]


def rows():
    """Yield every way of spoiling and its grades."""
    yield "as it is", 0, ""
    for spoil, way in DEGRADATIONS.items():
        for grade, value in enumerate(way.values):
            yield spoil, grade, f"{value:g} {way.unit}"


def dice_table(records) -> str:
    """Return the Dice of every way, grade and system."""
    lines = [
        "| scan | how much | " + " | ".join(SYSTEMS.values()) + " |",
        "|---|---|" + "--:|" * len(SYSTEMS),
    ]
    for spoil, grade, amount in rows():
        cells = []
        for system in SYSTEMS:
            scores = [r["dice"] for r in pick(records, system=system, spoil=spoil, grade=grade)]
            cells.append(f"{np.mean(scores):.3f} ({min(scores):.2f})")
        lines.append(f"| {spoil} | {amount} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def raised(record, without) -> set:
    """Return the names of the flags raised, low confidence by the curve without the subject."""
    names = set(record["flags"]) - {"low-confidence"}
    if record["system"] == "fold":
        soft_dice = [np.nan if v is None else v for v in record["soft_dice"]]
        expected = expected_dice.predict(soft_dice, without[record["subject"]])
        known = expected[np.isfinite(expected)]
        if known.size and np.median(known) < LIMITS["low-confidence"].limit:
            names.add("low-confidence")
    return names


FLAGS_HEAD = """## Flags
How many of the scans raised the flag that they deserve, and any at all. The limits below were set
while looking at these very scans and ways of spoiling: on others the flags may be right less often,
and wrong more often. The curve of `low-confidence` alone was fitted without the subject.

"""


def flag_table(records, without) -> str:
    """Return how often the flag that is deserved was raised, and any flag at all."""
    text = FLAGS_HEAD
    lines = [
        "| scan | how much | deserves | "
        + " | ".join(f"{SYSTEMS[s].split(',')[0]}: raised, any" for s in ("published", "fold"))
        + " |",
        "|---|---|---|--:|--:|",
    ]
    sums = {}
    for spoil, grade, amount in rows():
        flag = DEGRADATIONS[spoil].deserves if spoil in DEGRADATIONS else None
        cells = []
        for system in ("published", "fold"):
            names = [
                raised(r, without) for r in pick(records, system=system, spoil=spoil, grade=grade)
            ]
            hits = sum(flag in one for one in names)
            cells.append(
                (f"{hits}" if flag else "-") + f", {sum(map(bool, names))} of {len(names)}"
            )
            if flag:
                total = sums.setdefault((spoil, system), [0, 0])
                total[0] += hits
                total[1] += len(names)
        lines.append(f"| {spoil} | {amount} | {flag or '-'} | " + " | ".join(cells) + " |")
    text += "\n".join(lines) + "\n\nMild to gross together:\n\n"
    lines = ["| scan | deserves | published weights | our model |", "|---|---|--:|--:|"]
    for spoil, way in DEGRADATIONS.items():
        if way.deserves:
            cells = ["{} of {}".format(*sums[spoil, s]) for s in ("published", "fold")]
            lines.append(f"| {spoil} | {way.deserves} | {cells[0]} | {cells[1]} |")
    scored = [r for r in pick(records, system="fold") if r["spoil"] in SPOILED]
    poor = [r for r in scored if r["dice"] < LOW_DICE]
    told = sum(bool(raised(r, without)) for r in poor)
    text += "\n".join(lines) + "\n\n" + whole_part(records, without)
    text += (
        f"Of our model's {len(poor)} masks with a Dice below {LOW_DICE}, {told} came with a flag "
        f"({100 * told / max(1, len(poor)):.0f} %).\n\n"
    )
    return text


def whole_part(records, without) -> str:
    """Return what was flagged on whole scans as they are."""
    text = "### Whole scans, as they are\n"
    for system in ("fold", "published"):
        whole = pick(records, system=system, spoil="whole")
        flagged = [r for r in whole if raised(r, without)]
        text += f"{SYSTEMS[system]}: {len(whole)} scans, {len(flagged)} with flags.\n\n"
        text += "".join(f"- {r['scan']}: {'; '.join(told(r, without))}\n" for r in flagged) + "\n"
    return text + (
        "The uppermost slices of `sub-9604` lie above the cord; "
        "its reference marks 0 to 13 and 17.\n\n"
    )


def told(record, without) -> list[str]:
    """Return the sentences of the flags, and the name of one that the page itself raises."""
    low = "low-confidence" in raised(record, without)
    return [*record["told"], *(["low-confidence"] if low else [])]


def limits_table() -> str:
    """Return the one table of limits."""
    lines = [
        "## Limits",
        "The table in `gmseg/flags.py`.",
        "",
        "| flag | limit | why |",
        "|---|---|---|",
    ]
    for name, limit in LIMITS.items():
        value = f"{limit.limit:g} {limit.unit}" if limit.limit is not None else limit.unit
        lines.append(f"| {name} | {value} | {limit.reason} |")
    return "\n".join(lines) + "\n\n"


def slices_of(records):
    """Return soft_dice and true Dice, subject and way of spoiling of every slice, of the folds."""
    found = [
        (e if e is not None else np.nan, d, r["subject"], r["spoil"])
        for r in pick(records, system="fold")
        if r["spoil"] in SPOILED
        for e, d in zip(r["soft_dice"], r["slice_dice"], strict=True)
        if d is not None
    ]
    soft_dice, true, subject, spoil = map(np.array, zip(*found, strict=True))
    return soft_dice.astype(float), true.astype(float), subject, spoil


def confidence_of(records):
    """Return the knots from all subjects and without each, held-out pairs, rank correlations."""
    soft_dice, true, subject, spoil = slices_of(records)
    expected = np.full(len(true), np.nan)
    without = {}
    for one in map(str, np.unique(subject)):
        without[one] = expected_dice.fit(soft_dice[subject != one], true[subject != one])
        expected[subject == one] = expected_dice.predict(soft_dice[subject == one], without[one])
    known = np.isfinite(expected)
    rho = {"all": spearmanr(expected[known], true[known])[0]}
    for one in np.unique(subject):
        mine = known & (subject == one)
        rho[one] = spearmanr(expected[mine], true[mine])[0]
    usual = known & np.isin(spoil, USUAL)
    rho["usual"] = spearmanr(expected[usual], true[usual])[0]
    as_is = known & (spoil == "as it is")
    rho["as they are"] = spearmanr(expected[as_is], true[as_is])[0]
    # a slice without GM is told by a flag; for the rank, it is expected 0
    zero = np.where(known, expected, 0)
    rho["with empty slices"] = spearmanr(zero, true)[0]
    pairs = expected[known], true[known], spoil[known]
    return expected_dice.fit(soft_dice, true), without, pairs, rho


def confidence_part(records, pairs, rho) -> str:
    """Return what is expected, and how well."""
    error = np.abs(pairs[0] - pairs[1]).mean()
    subjects = sorted(name for name in rho if any(r["subject"] == name for r in records))
    each = ", ".join(f"{name} {rho[name]:.2f}" for name in subjects)
    return f"""## Confidence
Per slice, the summary has `confidence`: the Dice that is expected. It comes from the soft
segmentation alone: the Dice that it expects of its own mask, were it calibrated
(2 sum(p over the mask) / (sum(p) + mask)), through a parabola that was fitted on the spoiled scans
of this page. Here, every subject's slices are expected by a parabola fitted without the subject
(a made-up cord counts as a subject).

Rank correlation of expected and true Dice:

- noise, blur, ghosts, lost contrast, and scans as they are: **{rho["usual"]:.2f}**;
- every way of spoiling on this page, {len(pairs[0])} slices: **{rho["all"]:.2f}** (mean absolute
  error {error:.3f}); by subject: {each};
- the same with slices in which nothing was found, expected as 0: {rho["with empty slices"]:.2f};
- the slices as they are alone, whose Dice hardly differ: {rho["as they are"]:.2f}.

![Foretold and true Dice](img/confidence.png)
"""


CHOICES_HEAD = """
## Choices that are off
Dice over the labelled slices of the seven labelled scans, whole, windows on the cord mask; mean
(and the lowest). Test-time augmentation: six copies, seed 0.

"""


def choices_part(records) -> str:
    """Return what test-time augmentation and cleaning do."""
    names = list(dict.fromkeys(r["choice"] for r in pick(records, spoil="choice")))
    lines = ["| choice | our model (folds) | published weights |", "|---|--:|--:|"]
    for name in names:
        cells = []
        for system in ("fold", "published"):
            scores = [
                r["dice"]
                for r in pick(records, system=system, spoil="choice")
                if r["choice"] == name
            ]
            cells.append(f"{np.mean(scores):.4f} ({min(scores):.3f})")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return CHOICES_HEAD + "\n".join(lines) + "\n"


def draw_confidence(pairs) -> Figure:
    """Draw expected against true Dice, one point per slice."""
    expected, true, spoil = pairs
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    spoiled = spoil != "as it is"
    axes.plot(expected[spoiled], true[spoiled], ".", color="0.6", ms=4, label="spoiled slices")
    axes.plot(expected[~spoiled], true[~spoiled], "x", color="#0072b2", ms=5, label="as they are")
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.set(
        xlabel="Dice expected, without the subject",
        ylabel="true Dice of the slice",
        xlim=(0, 1),
        ylim=(-0.02, 1),
    )
    axes.legend(loc="upper left", frameon=False)
    return figure
