"""Measure the speed and memory of gmseg, and write docs/performance.md: ``python run.py``.

The tables go between the two marks of the page, the figure beside it. Nothing else should run
meanwhile. With --quick, or --only some parts, the page in docs/ is not changed: another one is
written to the folder of --out, where the raw numbers go.
"""

import argparse
import json
import shutil
import sys
import tempfile
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import machine
import nibabel as nib
import numpy as np
import scans
from page import MIN_AGREEMENT, PARTS, write_page
from picture import draw
from processes import GMSEG, HERE, PYTHON, available_cores, measure, take_turns

import gmseg

PAGE = HERE.parent / "docs" / "performance.md"
RIVALS = ("2018", "toolbox")


class Sizes(NamedTuple):
    """How much is measured."""

    rounds: int = 7
    long_rounds: int = 3  # of long scans and of workers
    slices: tuple[int, ...] = (11, 100, 1000)  # of long scans
    scans: int = 24  # for the workers


FULL, QUICK = Sizes(), Sizes(rounds=2, long_rounds=1, slices=(11, 100), scans=4)


def main(arguments=None):
    """Measure the chosen parts, write the raw numbers, the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--scan", type=Path, metavar="FILE", help="real scan [default: a synthetic phantom]")
    add("--quick", action="store_true", help="a short trial")
    add("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--out", type=Path, metavar="DIR", help="folder of the raw numbers")
    choices = parser.parse_args(arguments)
    sizes = QUICK if choices.quick else FULL
    out = choices.out or Path(tempfile.mkdtemp(prefix="gmseg-bench-"))
    out.mkdir(parents=True, exist_ok=True)
    trial = choices.quick or set(choices.only) != set(PARTS)
    page = out / "performance.md" if trial else PAGE
    results = {"machine": machine.describe()}  # first: it includes the load before
    with tempfile.TemporaryDirectory(prefix="gmseg-bench-") as name:
        folder = Path(name)
        scan = choices.scan or scans.main_scan(folder)
        results["scan"] = scans.describe(scan, synthetic=choices.scan is None)
        results["quick"] = choices.quick
        for part in choices.only:
            results[part] = MEASURE[part](scan, folder, sizes)
            (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    write_page(results, page, template=PAGE)
    if "stages" in choices.only:
        figure = page.parent / "img" / "performance.png"
        figure.parent.mkdir(exist_ok=True)
        draw(results).savefig(figure, dpi=130)
    print(f"wrote {page}; raw numbers in {out / 'results.json'}")


def measure_jobs(scan, folder, sizes):
    """Measure whole commands, interleaved, each in its own process."""
    masks = {way: folder / "masks" / way for way in ("gmseg", *RIVALS)}
    commands = {"gmseg": [*GMSEG, "segment", scan, "--out-dir", masks["gmseg"]]}
    for way in RIVALS:
        commands[way] = [*PYTHON, HERE / "rivals.py", way, scan, masks[way] / "mask.nii.gz"]
    commands["help"] = [*GMSEG, "--help"]

    def run(way):
        shutil.rmtree(folder / "masks" / way, ignore_errors=True)
        return measure(commands[way])

    alternatives = {way: partial(run, way) for way in commands}
    take_turns(alternatives, 1, "whole jobs, not counted")  # fills the disk's cache
    dice = lowest_dice([next(path.iterdir()) for path in masks.values()])
    if dice < MIN_AGREEMENT and scan.parent == folder:  # a real cord may be off the centre
        raise SystemExit(f"the masks of the phantom do not agree: lowest Dice {dice:.3f}")
    return {"dice": dice, "runs": take_turns(alternatives, sizes.rounds, "whole jobs")}


def lowest_dice(masks):
    """Return the lowest Dice of two of the masks."""
    inside = [np.asarray(nib.load(mask).dataobj) > 0 for mask in masks]
    return min(float(gmseg.dice(first, second)) for first, second in combinations(inside, 2))


def measure_stages(scan, folder, sizes):
    """Time the stages of two jobs in one process, all pipelines interleaved."""

    def run(way):
        result = folder / "stages.json"
        shutil.rmtree(folder / "stages", ignore_errors=True)
        measured = measure([*PYTHON, HERE / "stages.py", way, scan, folder / "stages", result])
        return measured | json.loads(result.read_text(encoding="utf-8"))

    alternatives = {way: partial(run, way) for way in ("gmseg", *RIVALS)}
    return {"runs": take_turns(alternatives, sizes.rounds, "stages")}


def measure_slices(scan, folder, sizes):
    """Measure scans of increasing length, interleaved."""
    paths = {str(count): scans.long_scan(scan, count, folder) for count in sizes.slices}

    def run(path):
        shutil.rmtree(folder / "long", ignore_errors=True)
        return measure([*GMSEG, "segment", path, "--out-dir", folder / "long"])

    alternatives = {count: partial(run, path) for count, path in paths.items()}
    runs = take_turns(alternatives, sizes.long_rounds, "slices")
    slice_bytes = int(np.prod(nib.load(scan).shape[:2])) * 2  # int16
    for path in paths.values():
        path.unlink()
    return {
        count: {"runs": entries, "scan_bytes": int(count) * slice_bytes}
        for count, entries in runs.items()
    }


def measure_workers(scan, folder, sizes):  # noqa: ARG001
    """Measure many small scans: one worker on one core, two on two, one on two."""
    cores = available_cores()
    if len(cores) < 2:
        print("workers: not measured; they need two cores to bind processes to", file=sys.stderr)
        return None
    paths = scans.small_scans(sizes.scans, folder)

    def run(workers, bound):
        out = folder / "many"
        shutil.rmtree(out, ignore_errors=True)
        command = [*GMSEG, "segment", *paths, "--out-dir", out, "--workers", workers]
        return measure(command, bound)

    alternatives = {
        "one worker, one core": partial(run, 1, cores[:1]),
        "two workers, two cores": partial(run, 2, cores[:2]),
        "one worker, two cores": partial(run, 1, cores[:2]),
    }
    runs = take_turns(alternatives, sizes.long_rounds, "workers")
    return {"scans": sizes.scans, "shape": scans.SMALL_SHAPE, "runs": runs}


MEASURE = dict(
    zip(PARTS, (measure_jobs, measure_stages, measure_slices, measure_workers), strict=True)
)


if __name__ == "__main__":
    main()
