"""The picture of the page: time by stage, and arithmetic against the machine's."""

from matplotlib.figure import Figure
from page import STAGES, WAYS, achieved, stage_seconds

COLOURS = dict(
    zip(
        STAGES,
        (
            "#c9ced6",
            "#9aa3ad",
            "#e69f00",
            "#f0e442",
            "#cc79a7",
            "#56b4e9",
            "#0072b2",
            "#009e73",
            "#d55e00",
            "#7a5195",
            "#e8e8e8",
        ),
        strict=True,
    )
)
HATCHES = dict(zip(STAGES, ("", "//", "", "..", "", "\\\\", "", "xx", "", "++", ""), strict=True))
INK = "#22262b"


def draw(found) -> Figure:
    """Draw whole jobs by stage, gmseg's stages by themselves, and achieved arithmetic."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    jobs, ours, rates = figure.subplots(3, 1, height_ratios=[3, 4, 4.3])
    draw_jobs(jobs, found)
    draw_stages(ours, found)
    draw_rates(rates, found)
    return figure


def draw_jobs(ax, found):
    """Draw a bar per way, cold and warm, made of its stages."""
    rows = [(way, job) for way in WAYS for job in ("cold", "warm")]
    ends = []
    for row, key in enumerate(rows):
        left = 0.0
        for stage, took in stage_seconds(found, *key).items():
            ax.barh(
                row,
                took,
                left=left,
                height=0.7,
                color=COLOURS[stage],
                hatch=HATCHES[stage],
                edgecolor="white",
                linewidth=0.4,
                label=STAGES[stage] if row == 0 else None,
            )
            left += took
        ends.append(left)
    for row, end in enumerate(ends):
        ax.text(end + 0.008 * max(ends), row, f"{end:.2f} s", va="center", size=9, color=INK)
    names = [f"{WAYS[way]}, {job}".replace("`", "") for way, job in rows]
    ax.set_yticks(range(len(rows)), names, size=9)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.09 * max(ends)), xlabel="s")
    ax.set_title(
        "One scan, from the start of the process to the mask; and a second one", size=10, color=INK
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), fontsize=8, frameon=False, ncols=6)
    plain(ax)


def draw_stages(ax, found):
    """Draw gmseg's stages, cold and warm, as bars of their own."""
    cold, warm = (stage_seconds(found, "gmseg", job) for job in ("cold", "warm"))
    most = max(cold.values())
    for row, stage in enumerate(STAGES):
        for shift, seconds, alpha, name in ((-0.2, cold, 1, "cold"), (0.2, warm, 0.45, "warm")):
            if stage not in seconds:
                continue
            took = 1000 * seconds[stage]
            ax.barh(
                row + shift,
                took,
                height=0.38,
                color=COLOURS["network"],
                alpha=alpha,
                label=name if stage == "network" else None,
            )
            ax.text(took + 8 * most, row + shift, f"{took:.0f}", va="center", size=8, color=INK)
    ax.set_yticks(range(len(STAGES)), STAGES.values(), size=9)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1080 * most), xlabel="ms")
    ax.set_title("The stages of gmseg segment", size=10, color=INK)
    ax.legend(loc="lower right", fontsize=9, frameon=False)
    plain(ax)


def draw_rates(ax, found):
    """Draw multiply-adds per second beside those of a product of matrices."""
    rows = achieved(found)
    rates = found["stages"]["rates"]
    top = max(rates.values()) / 1e9
    for row, (_, work, took, limit) in enumerate(rows):
        rate = work / took / 1e9
        whole = row < len(WAYS)
        ax.barh(row, rate, height=0.7, color=COLOURS["network" if whole else "resample"])
        ax.plot([limit / 1e9] * 2, [row - 0.42, row + 0.42], color=INK, linewidth=2)
        label = f"{rate:.0f}, {rate * 1e9 / limit:.0%}"
        ax.text(0.008 * top, row, label, va="center", size=8, color="white" if whole else INK)
    ax.plot([], [], color=INK, linewidth=2, label="a product of matrices on as many cores: 100 %")
    ax.set_yticks(range(len(rows)), [name.replace("`", "") for name, *_ in rows], size=9)
    ax.invert_yaxis()
    ax.set(
        xlim=(0, 1.12 * max(top, *(work / took / 1e9 for _, work, took, _ in rows))),
        xlabel="G multiply-adds a second",
    )
    ax.set_title("Arithmetic: whole jobs, then parts by themselves", size=10, color=INK)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=9, frameon=False)
    plain(ax)


def plain(ax):
    """Leave away the lines that say nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
