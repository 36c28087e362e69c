"""Write the page: tables from the raw numbers."""

from pathlib import Path

from processes import column, ratios, spread

from gmseg.io.files import write_between, write_text

PARTS = ("jobs", "stages", "slices", "workers")
BEGIN, END = "<!-- tables: python benchmarks/run.py -->", "<!-- end of tables -->"
WAYS = {"gmseg": "`gmseg segment`", "2018": "the 2018 pipeline", "toolbox": "the toolbox pipeline"}
STAGES = {
    "start": "start of the interpreter",
    "import": "import",
    "load": "load the model",
    "read": "read the scan",
    "locate": "localise the cord",
    "resample": "resample, cut, standardise",
    "network": "network",
    "restore": "paste, resample back",
    "flags": "QC flags",
    "write": "write the mask",
    "rest": "other",
}
MB = 1e6
MIN_AGREEMENT = 0.97  # Dice of the masks of two ways: below it they do not do the same job
MAX_OVER_2018, MAX_WARM_OVER_2018, MAX_PEAK_MB = 0.15, 0.25, 250
MAX_HELP_S, MAX_LONG_MEMORY = 0.5, 1.2


def write_page(results: dict, page: Path, template: Path) -> None:
    """Write the tables between the marks of the page, or of a copy of the template."""
    if not page.exists():
        write_text(page, template.read_text(encoding="utf-8"))
    sections = [machine_section(results)]
    if {"jobs", "stages"} <= results.keys():
        sections += [targets_section(results), "![Time by stage](img/performance.png)\n"]
    sections += [SECTIONS[part](results) for part in PARTS if results.get(part)]
    write_between(page, BEGIN, END, "\n".join(sections))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def cell(values: tuple[float, float, float], digits: int = 2) -> str:
    """Return median, minimum and maximum as a cell."""
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


def plural(rounds: int) -> str:
    return f"{rounds} round{'s' * (rounds > 1)}"


def machine_section(results) -> str:
    """Return the description of the machine."""
    lines = [f"- {name}: {value}" for name, value in results["machine"].items()]
    kind = "A short trial (`--quick`)" if results["quick"] else "Measured"
    return (
        "## The machine\n"
        f"{kind} on the scan of the main job: {results['scan']}.\n\n" + "\n".join(lines) + "\n"
    )


def targets_section(results) -> str:
    """Return the targets, the measured values, and whether they are met."""
    runs = results["jobs"]["runs"]
    seconds = {way: column(entries, "seconds") for way, entries in runs.items()}
    warm = warm_seconds(results)
    peaks = [value / MB for value in column(runs["gmseg"], "peak_bytes")]
    rows = []

    def add(name, values, digits=2, *, target="", met=None):
        verdict = {True: "yes", False: "NO", None: ""}[met]
        rows.append([name, target, cell(values, digits), verdict])

    ratio = ratios(seconds["gmseg"], seconds["2018"])
    met = ratio[0] <= MAX_OVER_2018
    add("time, ratio to the 2018 pipeline", ratio, 3, target=f"at most {MAX_OVER_2018}", met=met)
    add("time, ratio to the toolbox pipeline", ratios(seconds["gmseg"], seconds["toolbox"]), 3)
    again = "second scan in one process"
    ratio = ratios(warm["gmseg"], warm["2018"])
    met = ratio[0] <= MAX_WARM_OVER_2018
    target = f"at most {MAX_WARM_OVER_2018}"
    add(f"{again}, ratio to the 2018 pipeline", ratio, 3, target=target, met=met)
    add(f"{again}, ratio to the toolbox pipeline", ratios(warm["gmseg"], warm["toolbox"]), 3)
    met = max(peaks) < MAX_PEAK_MB
    add("peak memory, MB", spread(peaks), 0, target=f"under {MAX_PEAK_MB}", met=met)
    help_s = spread(seconds["help"])
    met = help_s[0] < MAX_HELP_S
    add("`gmseg --help`, s", help_s, target=f"under {MAX_HELP_S}", met=met)
    counts = sorted(results.get("slices") or {}, key=int)
    if len(counts) > 1:
        least, most = counts[0], counts[-1]
        ratio = memory_ratios(results, most, least, without_scan=True)
        met = None if int(most) < 1000 else ratio[0] < MAX_LONG_MEMORY
        name = f"peak memory without the scan, ratio of {most} to {least} slices"
        add(name, ratio, target=f"under {MAX_LONG_MEMORY}", met=met)
    return (
        "## Targets\n"
        f"The table lists medians of {plural(len(peaks))}, with minimum and maximum in brackets. A "
        "ratio compares two jobs of one round.\n\n" + table(["", "target", "measured", "met"], rows)
    )


def warm_seconds(results) -> dict[str, list[float]]:
    """Return the seconds of the second job in one process, per way."""
    return {way: [run["warm"]["total"] for run in results["stages"]["runs"][way]] for way in WAYS}


def jobs_section(results) -> str:
    """Return time and memory of the whole jobs."""
    runs = results["jobs"]["runs"]
    warm = warm_seconds(results) if "stages" in results else {}
    rows = [
        [
            WAYS[way],
            cell(spread(column(runs[way], "seconds"))),
            cell(spread(warm[way])) if warm else "",
            cell(spread(column(runs[way], "cpu_seconds"))),
            cell(spread([value / MB for value in column(runs[way], "peak_bytes")]), 0),
        ]
        for way in WAYS
    ]
    return (
        "## The whole job\n"
        "Cold times are from the start of a process to its end; warm times are of a second scan in "
        "the same process."
        "\n\n"
        + table(["", "cold, s", "warm, s", "cold, processor time, s", "peak memory, MB"], rows)
        + "\nThe lowest Dice between any two of the three masks is "
        + f"{results['jobs']['dice']:.4f}.\n"
    )


def stage_seconds(results, way: str, job: str) -> dict[str, float]:
    """Return the median of every stage of a cold or warm job."""
    runs = [run[job]["seconds"] for run in results["stages"]["runs"][way]]
    return {
        stage: spread([run.get(stage, 0.0) for run in runs])[0]
        for stage in STAGES
        if any(stage in run for run in runs)
    }


def stages_section(results) -> str:
    """Return the time of every stage."""
    stages = results["stages"]
    columns = [(way, job) for way in WAYS for job in ("cold", "warm")]
    seconds = {key: stage_seconds(results, *key) for key in columns}
    rows = [
        [name, *(f"{1000 * seconds[k][stage]:.0f}" if stage in seconds[k] else "" for k in columns)]
        for stage, name in STAGES.items()
    ]
    totals = [spread([run[job]["total"] for run in stages["runs"][way]])[0] for way, job in columns]
    rows.append(["total", *(f"{1000 * total:.0f}" for total in totals)])
    return (
        "## Stages\n"
        f"The table lists medians of {plural(len(stages['runs']['gmseg']))}, each a process with "
        "two jobs. The time of a stage excludes the stages within it. The end of a process is not "
        "included.\n\n" + table(["ms", *(f"{WAYS[way]}, {job}" for way, job in columns)], rows)
    )


def slices_section(results) -> str:
    """Return time and memory by the number of slices."""
    counts = sorted(results["slices"], key=int)
    rows = []
    for count in counts:
        entry = results["slices"][count]
        seconds = column(entry["runs"], "seconds")
        peaks = [peak / MB for peak in column(entry["runs"], "peak_bytes")]
        rows.append(
            [
                count,
                cell(spread(seconds)),
                cell(spread([value / int(count) for value in seconds]), 3),
                cell(spread(peaks), 0),
                f"{entry['scan_bytes'] / MB:.0f}",
                cell(memory_ratios(results, count, counts[0])),
                cell(memory_ratios(results, count, counts[0], without_scan=True)),
            ]
        )
    head = [
        "slices",
        "s",
        "s per slice",
        "peak memory, MB",
        "scan, MB",
        f"memory, ratio to {counts[0]} slices",
        "the same without the scan",
    ]
    return (
        "## Many slices\n"
        "`gmseg segment` runs cold on scans that repeat the slices of the main job's scan in "
        f"alternating order ({plural(len(seconds))}). The size of the scan is that of its voxels "
        "as stored, int16.\n\n" + table(head, rows)
    )


def memory_ratios(results, count: str, baseline: str, *, without_scan: bool = False):
    """Return the spread of the ratio of peak memories of two numbers of slices."""
    peaks = []
    for entry in (results["slices"][count], results["slices"][baseline]):
        scan_bytes = entry["scan_bytes"] if without_scan else 0
        peaks.append([peak - scan_bytes for peak in column(entry["runs"], "peak_bytes")])
    return ratios(*peaks)


def workers_section(results) -> str:
    """Return the throughput of one worker and of two."""
    workers = results["workers"]
    seconds = {name: column(runs, "seconds") for name, runs in workers["runs"].items()}
    baseline = next(iter(seconds.values()))
    rows = [
        [
            name,
            cell(spread(values), 1),
            cell(spread([workers["scans"] / value for value in values])),
            cell(ratios(baseline, values)),
        ]
        for name, values in seconds.items()
    ]
    return (
        "## Two workers\n"
        f"`gmseg segment` segments {workers['scans']} scans of "
        f"{' x '.join(map(str, workers['shape']))} voxels, bound to the given cores; the start of "
        f"the workers is included ({plural(len(baseline))}).\n\n"
        + table(["", "s", "scans per second", "throughput, ratio to the first"], rows)
    )


SECTIONS = dict(
    zip(PARTS, (jobs_section, stages_section, slices_section, workers_section), strict=True)
)
