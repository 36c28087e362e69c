"""Draw the figure of the page: time by stage."""

from matplotlib.figure import Figure
from page import STAGES, WAYS, stage_seconds

COLOURS = {
    "start": "#c9ced6",
    "import": "#9aa3ad",
    "load": "#e69f00",
    "read": "#f0e442",
    "locate": "#cc79a7",
    "resample": "#56b4e9",
    "network": "#0072b2",
    "restore": "#009e73",
    "flags": "#d55e00",
    "write": "#7a5195",
    "rest": "#e8e8e8",
}
INK = "#22262b"


def draw(results) -> Figure:
    """Draw whole jobs by stage, and the stages of gmseg one by one."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    jobs, stages = figure.subplots(2, 1, height_ratios=[3, 4])
    draw_jobs(jobs, results)
    draw_stages(stages, results)
    for ax in (jobs, stages):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    return figure


def draw_jobs(ax, results):
    """Draw one bar per way, cold and warm, divided into its stages."""
    rows = [(way, job) for way in WAYS for job in ("cold", "warm")]
    names = [f"{WAYS[way]}, {job}".replace("`", "") for way, job in rows]
    left = [0.0] * len(rows)
    seconds = [stage_seconds(results, *row) for row in rows]
    for stage, name in STAGES.items():
        widths = [entry.get(stage, 0.0) for entry in seconds]
        ax.barh(names, widths, 0.7, left, color=COLOURS[stage], label=name, edgecolor="white")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for row, end in enumerate(left):
        ax.text(end + 0.008 * max(left), row, f"{end:.2f} s", va="center", size=9, color=INK)
    ax.set(xlim=(0, 1.09 * max(left)), xlabel="s")
    ax.set_title("One scan, from the start of the process to the mask; and a second one", size=10)
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), fontsize=8, frameon=False, ncols=6)


def draw_stages(ax, results):
    """Draw the stages of gmseg, cold and warm, as bars of their own."""
    seconds = {job: stage_seconds(results, "gmseg", job) for job in ("cold", "warm")}
    for job, shift, alpha in (("cold", -0.2, 1), ("warm", 0.2, 0.45)):
        rows = [row + shift for row in range(len(STAGES))]
        values = [1000 * seconds[job].get(stage, 0.0) for stage in STAGES]
        bars = ax.barh(rows, values, 0.38, color=COLOURS["network"], alpha=alpha, label=job)
        labels = [f"{value:.0f}" if value else "" for value in values]
        ax.bar_label(bars, labels, padding=3, size=8, color=INK)
    ax.set_yticks(range(len(STAGES)), STAGES.values(), size=9)
    ax.set(xlabel="ms")
    ax.set_title("The stages of gmseg segment", size=10)
    ax.legend(loc="lower right", fontsize=9, frameon=False)
