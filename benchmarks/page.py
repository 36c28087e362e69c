"""The page: its tables, from the raw numbers."""

from pathlib import Path

from processes import column, ratios, spread

from gmseg.io.files import write_between, write_text

PARTS = ("jobs", "stages", "parts", "slices", "workers")
BEGIN, END = "<!-- tables: python benchmarks/run.py -->", "<!-- end of tables -->"
WAYS = {
    "gmseg": "`gmseg segment`",
    "way2018": "the way of 2018",
    "way_toolbox": "the toolbox's way",
}
STAGES = {
    "start": "the interpreter starts",
    "import": "import",
    "load": "load the model",
    "read": "read the scan",
    "locate": "locate the cord",
    "resample": "resample, cut, standardise",
    "network": "network",
    "paste": "paste, resample back",
    "flags": "flags",
    "write": "write the mask",
    "rest": "the rest",
}
MB = 1e6
SAME_JOB = 0.97  # Dice of any two ways' masks: below it they do not do the same
OVER_2018, OVER_TOOLBOX, PEAK_MB, HELP_S, LONG_MEMORY = 1 / 8, 0.7, 300, 0.5, 1.2


def write_page(found: dict, page: Path, like: Path) -> None:
    """Put the tables between the marks of a page, or of a copy of another one."""
    if not page.exists():
        write_text(page, like.read_text(encoding="utf-8"))
    made = [machine_table(found)]
    made += [TABLES[part](found) for part in PARTS if found.get(part)]
    if {"jobs", "stages"} <= found.keys():
        made.insert(1, marks_table(found))
        made.insert(2, "![Time by stage, and arithmetic](img/performance.png)\n")
    write_between(page, BEGIN, END, "\n".join(made))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def ranged(values: tuple[float, float, float], digits: int = 2) -> str:
    """Return median, lowest and highest as a cell."""
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


# ------------------------------------------------------------------------------------ tables


def machine_table(found) -> str:
    """Return what it was measured on."""
    lines = [f"- {what}: {told}" for what, told in found["machine"].items()]
    kind = "A short trial (`--quick`)" if found["quick"] else "Measured"
    return (
        "## The machine\n"
        f"{kind} on the scan of the main job: {found['scan']}.\n\n" + "\n".join(lines) + "\n"
    )


def marks_table(found) -> str:
    """Return what was wanted, and whether it is so."""
    runs = found["jobs"]["runs"]
    walls = {name: column(entries, "seconds") for name, entries in runs.items()}
    warm = warm_totals(found)
    rows = []

    def mark(what, wanted, values, met, digits=2):
        verdict = {True: "yes", False: "NO", None: ""}[met]
        rows.append([what, wanted, ranged(values, digits), verdict])

    over = ratios(walls["gmseg"], walls["way2018"])
    mark("wall clock over the way of 2018's", "at most 0.125", over, over[0] <= OVER_2018, 3)
    over = ratios(walls["gmseg"], walls["way_toolbox"])
    mark("wall clock over the toolbox's way's", "at most 0.7", over, over[0] <= OVER_TOOLBOX, 3)
    for rival in ("way2018", "way_toolbox"):
        over = ratios(warm["gmseg"], warm[rival])
        mark(f"the same, a second scan in one process, {WAYS[rival]}", "", over, None, 3)
    peak = [value / MB for value in column(runs["gmseg"], "peak_bytes")]
    mark("peak memory, MB", f"under {PEAK_MB}", spread(peak), max(peak) < PEAK_MB, 0)
    told = spread(walls["help"])
    mark("`gmseg --help`, s", f"under {HELP_S}", told, told[0] < HELP_S)
    counts = sorted(map(int, found.get("slices") or {}))
    if len(counts) > 1:
        what = f"peak memory of {counts[-1]} slices over that of {counts[0]}"
        mark(what, "", ratios(*peaks_of(found, counts[-1], counts[0])), None)
        over = ratios(*peaks_of(found, counts[-1], counts[0], less_scan=True))
        met = None if counts[-1] < 1000 else over[0] < LONG_MEMORY
        mark(f"{what}, less the scans themselves", f"under {LONG_MEMORY}", over, met)
    rounds = len(walls["gmseg"])
    return (
        "## What was wanted\n"
        f"Medians of {rounds} round{'s' * (rounds > 1)}, in brackets the lowest and the highest. "
        "A ratio is of two jobs of one round.\n\n"
        + table(["", "wanted", "measured", "so it is"], rows)
    )


def jobs_table(found) -> str:
    """Return the whole jobs."""
    runs = found["jobs"]["runs"]
    warm = warm_totals(found) if "stages" in found else {}
    rows = [
        [
            WAYS[name],
            ranged(spread(column(runs[name], "seconds"))),
            ranged(spread(warm[name])) if warm else "",
            ranged(spread(column(runs[name], "cpu_seconds"))),
            ranged(spread([value / MB for value in column(runs[name], "peak_bytes")]), 0),
        ]
        for name in WAYS
    ]
    agreement = min(found["jobs"]["dice"].values())
    other = "" if agreement > SAME_JOB else " They do not do the same job on this scan."
    return (
        "## The whole job\n"
        "From the start of a process to its end (cold), and a second scan in one process (warm)."
        "\n\n"
        + table(["", "cold, s", "warm, s", "cold, processor time, s", "peak memory, MB"], rows)
        + f"\nThe lowest Dice of two of the three masks: {agreement:.4f}.{other}\n"
    )


def warm_totals(found) -> dict[str, list[float]]:
    """Return the seconds of second scans, by way."""
    return {
        way: [run["warm"]["total"] for run in runs] for way, runs in found["stages"]["runs"].items()
    }


def stage_seconds(found, way: str, job: str) -> dict[str, float]:
    """Return the median of every stage of one way's cold or warm job."""
    runs = [run[job]["seconds"] for run in found["stages"]["runs"][way]]
    return {
        stage: spread([run.get(stage, 0.0) for run in runs])[0]
        for stage in STAGES
        if any(stage in run for run in runs)
    }


def stages_table(found) -> str:
    """Return the stages, and what the network's stage achieves."""
    columns = [(way, job) for way in WAYS for job in ("cold", "warm")]
    seconds = {key: stage_seconds(found, *key) for key in columns}
    rows = [
        [
            name,
            *(
                f"{1000 * seconds[key][stage]:.0f}" if stage in seconds[key] else ""
                for key in columns
            ),
        ]
        for stage, name in STAGES.items()
    ]
    totals = [
        spread([run[job]["total"] for run in found["stages"]["runs"][way]])[0]
        for way, job in columns
    ]
    rows.append(["all", *(f"{1000 * total:.0f}" for total in totals)])
    head = ["ms", *(f"{WAYS[way]}, {job}" for way, job in columns)]
    return (
        "## Stages\n"
        f"Medians of {len(found['stages']['runs']['gmseg'])} processes of two jobs each; time "
        "within a stage that another one takes is the other's. The end of a process is not in it."
        "\n\n" + table(head, rows) + "\n" + arithmetic_table(found)
    )


def achieved(found) -> list[tuple[str, float, float, float]]:
    """Return what, multiply-adds, seconds, and the matrix product's rate on as many cores."""
    rates = found["stages"]["rates"]
    made = []
    for way, name in WAYS.items():
        runs = [run["warm"] for run in found["stages"]["runs"][way]]
        work = work_of(runs[0]["network_saw"], found["stages"]["multiply_adds"])
        took = spread([run["seconds"]["network"] for run in runs])[0]
        made.append((f"{name}, warm", work, took, rates["all cores"]))
    for entries in (found.get("parts") or {}).get("groups", {}).values():
        for name, entry in entries.items():
            alone = "one thread" in name
            if not entry["work"] or (alone and "one core" not in rates):
                continue
            work = work_of(entry["work"], found["parts"]["multiply_adds"])
            rate = rates["one core" if alone else "all cores"]
            made.append((name, work, spread(entry["seconds"])[0], rate))
    return made


def work_of(saw: dict[str, int], multiply_adds: dict[str, int]) -> float:
    """Return the multiply-adds of so many windows and regions."""
    return sum(count * multiply_adds[kind] for kind, count in saw.items())


def arithmetic_table(found) -> str:
    """Return the rates of the network beside those of a product of matrices."""
    rates = found["stages"]["rates"]
    told = " and ".join(f"{rate / 1e9:.0f} G on {name}" for name, rate in rates.items())
    rows = [
        [
            name,
            f"{work / 1e9:.2f}",
            f"{1000 * took:.0f}",
            f"{work / took / 1e9:.0f}",
            f"{work / took / rate:.0%}",
        ]
        for name, work, took, rate in achieved(found)
    ]
    saw = found["stages"]["runs"]["gmseg"][0]["warm"]["network_saw"]
    asked = ", ".join(f"{kind} {saw[kind]} times" for kind in sorted(saw)).replace("x", " x ")
    return (
        "### Achieved arithmetic\n"
        "Multiply-adds of the convolutions per second, against those of a product of two matrices "
        f"of 2048 x 2048, single precision, by NumPy, at its best: {told} "
        f"(of {found['stages']['cores']}). In the main job, gmseg's network is given {asked}.\n\n"
        + table(["", "G multiply-adds", "ms", "G a second", "of the matrix product"], rows)
    )


def parts_table(found) -> str:
    """Return the parts by themselves, each group's alternatives beside its first."""
    text = "## Parts by themselves\nWarm, in one process, in turns (pytest-benchmark).\n"
    for group, entries in found["parts"]["groups"].items():
        first = next(iter(entries.values()))["seconds"]
        rows = [
            [
                name,
                ranged(spread([1000 * value for value in entry["seconds"]]), 1),
                ranged(ratios(entry["seconds"], first)),
            ]
            for name, entry in entries.items()
        ]
        text += "\n" + table([group, "ms", "over the first's"], rows)
    return text


def slices_table(found) -> str:
    """Return time and memory by the number of slices."""
    counts = sorted(map(int, found["slices"]))
    rows = []
    for count in counts:
        entry = found["slices"][str(count)]
        walls, peaks = (column(entry["runs"], key) for key in ("seconds", "peak_bytes"))
        rows.append(
            [
                str(count),
                ranged(spread(walls)),
                ranged(spread([wall / count for wall in walls]), 3),
                ranged(spread([peak / MB for peak in peaks]), 0),
                f"{entry['scan_bytes'] / MB:.0f}",
                ranged(ratios(*peaks_of(found, count, counts[0]))),
                ranged(ratios(*peaks_of(found, count, counts[0], less_scan=True))),
            ]
        )
    head = [
        "slices",
        "s",
        "s a slice",
        "peak memory, MB",
        "the scan itself, MB",
        f"memory over that of {counts[0]}",
        "the same, less the scans",
    ]
    rounds = len(walls)
    return (
        "## Many slices\n"
        "`gmseg segment`, cold: the slices of the main job's scan over and over, up and down "
        f"({rounds} round{'s' * (rounds > 1)}). The scan itself: its voxels as they are stored, "
        "int16.\n\n" + table(head, rows)
    )


def peaks_of(found, *counts: int, less_scan: bool = False) -> list[list[float]]:
    """Return the peak memory of scans of so many slices, with or without the scans' own."""
    entries = [found["slices"][str(count)] for count in counts]
    return [
        [peak - less_scan * entry["scan_bytes"] for peak in column(entry["runs"], "peak_bytes")]
        for entry in entries
    ]


def workers_table(found) -> str:
    """Return the cohort by one worker and by two."""
    told = found["workers"]
    runs = {name: column(entries, "seconds") for name, entries in told["runs"].items()}
    alone = next(iter(runs.values()))
    rows = [
        [
            name,
            ranged(spread(walls), 1),
            ranged(spread([told["scans"] / wall for wall in walls])),
            ranged(ratios(alone, walls)),
        ]
        for name, walls in runs.items()
    ]
    rounds = len(alone)
    return (
        "## Two workers\n"
        f"`gmseg segment` of {told['scans']} scans of {' x '.join(map(str, told['shape']))} "
        f"voxels, bound to as many cores, Dask's start included "
        f"({rounds} round{'s' * (rounds > 1)}).\n\n"
        + table(["", "s", "scans a second", "throughput over the first's"], rows)
    )


TABLES = dict(
    zip(PARTS, (jobs_table, stages_table, parts_table, slices_table, workers_table), strict=True)
)
