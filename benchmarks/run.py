"""Measure how fast gmseg is, beside its rivals: ``python benchmarks/run.py``.

Writes the tables of ``docs/performance.md``, between its two marks, and its picture. Nothing else
should be running meanwhile. With --quick, or --only some of it, the page in docs/ is left alone and
one is written into the folder of --out, where the raw numbers go (by default a temporary one, which
is told).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from machine import described
from page import PARTS, SAME_JOB, write_page
from picture import draw
from processes import GMSEG, HERE, PYTHON, cores_here, in_turns, measured
from scans import described as described_scan
from scans import long_scan, main_scan, small_scans

import gmseg

PAGE = HERE.parent / "docs" / "performance.md"
FULL = {"rounds": 7, "slices": [11, 100, 1000], "long_rounds": 3, "scans": 24}
QUICK = {"rounds": 2, "slices": [11, 100], "long_rounds": 1, "scans": 4}


def main(arguments=None):
    """Measure what is asked for, write the raw numbers, the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path, metavar="FILE", help="a real one [default: made up]")
    parser.add_argument("--rounds", type=int, metavar="N", help="[default: 7]")
    parser.add_argument(
        "--slices",
        type=int,
        nargs="+",
        metavar="N",
        help="of longer and longer scans [default: 11 100 1000]",
    )
    parser.add_argument(
        "--long-rounds", type=int, metavar="N", help="of these, and of the workers [default: 3]"
    )
    parser.add_argument("--scans", type=int, metavar="N", help="for two workers [default: 24]")
    parser.add_argument("--quick", action="store_true", help="a short trial")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        metavar="PART",
        help=f"of {', '.join(PARTS)}",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the raw numbers")
    parser.add_argument("--page", type=Path, metavar="FILE", help="[default: docs/performance.md]")
    choices = parser.parse_args(arguments)
    for name, usual in (QUICK if choices.quick else FULL).items():
        if getattr(choices, name) is None:
            setattr(choices, name, usual)
    out = choices.out or Path(tempfile.mkdtemp(prefix="gmseg-bench-"))
    out.mkdir(parents=True, exist_ok=True)
    trial = choices.quick or set(choices.only) != set(PARTS)
    page = choices.page or (out / "performance.md" if trial else PAGE)

    found = {"machine": described()}  # first of all: how busy it is
    with tempfile.TemporaryDirectory(prefix="gmseg-bench-") as name:
        folder = Path(name)
        scan = choices.scan or main_scan(folder)
        found |= {"scan": described_scan(scan, choices.scan is None), "quick": choices.quick}
        for part in choices.only:
            found[part] = WORK[part](scan, folder, choices)
            (out / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    picture = page.parent / "img" / "performance.png"
    write_page(found, page, like=PAGE)
    if {"jobs", "stages"} <= set(choices.only):
        picture.parent.mkdir(exist_ok=True)
        draw(found).savefig(picture, dpi=130)
    print(f"wrote {page}; raw numbers in {out / 'results.json'}")


# --------------------------------------------------------------------------------- whole jobs


def whole_jobs(scan, folder, choices):
    """Time whole commands in turns, each a process of its own."""
    masks = folder / "masks"
    rivals = ("way2018", "way_toolbox")
    ways = {
        "gmseg": [*GMSEG, "segment", scan, "--out-dir", masks / "gmseg"],
        **{way: [*PYTHON, HERE / f"{way}.py", scan, masks / way / "mask.nii.gz"] for way in rivals},
        "help": [*GMSEG, "--help"],
    }

    def once(name):
        shutil.rmtree(masks / name, ignore_errors=True)
        if name in rivals:
            (masks / name).mkdir(parents=True)
        return measured(ways[name])

    alternatives = {name: partial(once, name) for name in ways}
    in_turns(alternatives, 1, "whole jobs, not counted")  # fills the disk's cache
    agreement = dice_of(
        {name: masks / name for name in ways if name != "help"}, choices.scan is None
    )
    return {"dice": agreement, "runs": in_turns(alternatives, choices.rounds, "whole jobs")}


def dice_of(folders, made_up):
    """Return the Dice of every two ways' masks; stop where one does another job."""
    masks = {
        name: np.asarray(nib.load(next(folder.iterdir())).dataobj) > 0
        for name, folder in folders.items()
    }
    names = list(masks)
    found = {}
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            found[f"{one}, {other}"] = dice = float(gmseg.dice(masks[one], masks[other]))
            print(f"Dice of {one} and {other}: {dice:.4f}", file=sys.stderr)
            if not dice > SAME_JOB:
                told = f"{one} and {other} do not do the same job: Dice {dice:.3f}"
                if made_up:
                    raise SystemExit(told)
                print(told, file=sys.stderr)  # a rival misses a cord that is off the centre
    return found


# ------------------------------------------------------------------------- stages, arithmetic


def stages(scan, folder, choices):
    """Time the stages of two jobs in one process, all ways in turns, and products of matrices."""

    def by_stage(way):
        made, result = folder / "stages", folder / "stages.json"
        shutil.rmtree(made, ignore_errors=True)
        took = measured([*PYTHON, HERE / "stages.py", way, scan, made, result])
        return took | json.loads(result.read_text(encoding="utf-8"))

    def product(cores):
        result = folder / "rate.json"
        took = measured([*PYTHON, HERE / "arithmetic.py", "rate", result], cores)
        return took | json.loads(result.read_text(encoding="utf-8"))

    ways = ("gmseg", "way2018", "way_toolbox")
    alternatives = {way: partial(by_stage, way) for way in ways}
    alternatives["all cores"] = partial(product, None)
    if cores_here():
        alternatives["one core"] = partial(product, cores_here()[:1])
    runs = in_turns(alternatives, choices.rounds, "stages")
    rates = {name: max(run["rate"] for run in runs.pop(name)) for name in list(runs)[len(ways) :]}
    kinds = {kind for way in ways for run in runs[way] for kind in run["warm"]["network_saw"]}
    return {
        "runs": runs,
        "rates": rates,
        "cores": len(cores_here()) or os.cpu_count(),
        "multiply_adds": counts(kinds, folder),
    }


def counts(kinds, folder):
    """Return the multiply-adds of windows and regions of these kinds."""
    result = folder / "counts.json"
    measured([*PYTHON, HERE / "arithmetic.py", "counts", result, *sorted(kinds)])
    return json.loads(result.read_text(encoding="utf-8"))


def parts(scan, folder, choices):
    """Time parts by themselves with pytest-benchmark: seconds and work by group and name."""
    result = folder / "parts.json"
    command = [
        *PYTHON,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        "--rootdir",
        HERE,
        HERE / "bench_parts.py",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "python_functions=bench_*",
        "-q",
        "--benchmark-quiet",
        f"--benchmark-json={result}",
    ]
    turns = {"BENCH_SCAN": str(scan.resolve()), "BENCH_TURNS": str(choices.rounds)}
    print("parts: by pytest-benchmark", file=sys.stderr, flush=True)
    done = subprocess.run(
        [*map(str, command)],
        env=os.environ | turns,
        cwd=folder,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(f"bench_parts.py failed:\n{done.stdout[-3000:]}")
    groups, kinds = {}, set()
    for one in json.loads(result.read_text(encoding="utf-8"))["benchmarks"]:
        told = one["extra_info"]
        entry = groups.setdefault(told["group"], {}).setdefault(
            told["alternative"], {"seconds": [], "work": told["work"]}
        )
        entry["seconds"].append(one["stats"]["min"])
        kinds |= told["work"].keys()
    return {"groups": groups, "multiply_adds": counts(kinds, folder)}


# --------------------------------------------------------------------------- many slices, scans


def slices(scan, folder, choices):
    """Time longer and longer scans in turns."""
    paths = {count: long_scan(scan, count, folder) for count in choices.slices}

    def once(path):
        shutil.rmtree(folder / "long", ignore_errors=True)
        return measured([*GMSEG, "segment", path, "--out-dir", folder / "long"])

    alternatives = {count: partial(once, path) for count, path in paths.items()}
    runs = in_turns(alternatives, choices.long_rounds, "slices")
    one = np.prod(nib.load(scan).shape[:2]) * 2  # bytes of a slice, int16
    for path in paths.values():
        path.unlink()
    return {
        str(count): {"runs": found, "scan_bytes": int(count * one)} for count, found in runs.items()
    }


def workers(scan, folder, choices):  # noqa: ARG001
    """Time a cohort of small scans: one worker on one core, two on two, one process on two."""
    cores = cores_here()
    if len(cores) < 2:
        print(
            "workers: not measured, it takes two cores and a system that binds processes to them",
            file=sys.stderr,
        )
        return None
    scans = small_scans(choices.scans, folder)

    def once(count, bound):
        shutil.rmtree(folder / "cohort", ignore_errors=True)
        command = [*GMSEG, "segment", *scans, "--out-dir", folder / "cohort", "--workers", count]
        return measured(command, bound)

    alternatives = {
        "one worker, one core": partial(once, 1, cores[:1]),
        "two workers, two cores": partial(once, 2, cores[:2]),
        "one worker, two cores": partial(once, 1, cores[:2]),
    }
    in_turns(dict([*alternatives.items()][:1]), 1, "workers, not counted")
    runs = in_turns(alternatives, choices.long_rounds, "workers")
    return {"scans": choices.scans, "shape": nib.load(scans[0]).shape, "runs": runs}


WORK = dict(zip(PARTS, (whole_jobs, stages, parts, slices, workers), strict=True))


if __name__ == "__main__":
    main()
