"""Time the stages of a job, from outside: ``stages.py WAY SCAN FOLDER RESULT``.

Two jobs in one process: the first is cold, the second warm. WAY is one of `WAYS`. The functions
in the table are replaced by ones that keep time; of a call within another, only the inner one
counts. Writes a JSON file: for every job, seconds by stage and what the network was given.
"""

import time

ENTERED = time.monotonic()  # before anything is imported: what came earlier is the interpreter's

# ruff: noqa: E402
import builtins
import functools
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path

# What each stage of a job is, by the names in the code. A name that is gone stops the benchmark,
# and so does a stage that no call ever entered.
_RIVALS = {
    "import": ["builtins:__import__"],
    "read": ["rivals:read"],
    "resample": ["rivals:to_working", "rivals:cut"],
    "paste": ["rivals:back"],
    "write": ["rivals:write"],
}
WAYS = {
    "gmseg": {
        "import": ["builtins:__import__"],
        "load": [
            "gmseg.models.registry:load_model",
            "gmseg.models.registry:load_predictor",
            "onnxruntime:InferenceSession.__init__",
        ],
        "read": ["gmseg.io.scan_reader:open_scan"],
        "locate": [
            "gmseg.inference.session:Run.follow",
            "gmseg.inference.focus:Focus.add",
            "gmseg.inference.focus:Focus.again",
        ],
        "resample": [
            "gmseg.inference.session:Run.cut",
            "gmseg.inference.session:Run.level",
            "gmseg.inference.session:standardised_by",
        ],
        "network": ["onnxruntime:InferenceSession.run"],
        "paste": ["gmseg.inference.segment:_on_native", "gmseg.inference.localisation:keep_near"],
        "flags": [
            "gmseg.inference.quality.checks:look",
            "gmseg.inference.quality.checks:flags_of",
            "gmseg.inference.quality.features:symmetry",
        ],
        "write": ["gmseg.io.image:write_images"],
    },
    "way2018": _RIVALS | {"load": ["way2018:load"], "network": ["way2018:predict"]},
    "way_toolbox": _RIVALS | {"load": ["way_toolbox:load"], "network": ["way_toolbox:predict"]},
}
JOBS = ("cold", "warm")
MISSING = "benchmarks/stages.py: {} is not there any more; mend the table at its top"


def main():
    """Do the jobs and write what they took."""
    way, scan, folder, result = sys.argv[1:]
    clock = Clock()
    take_over(clock, WAYS[way])
    job = job_of(way)
    started = float(os.environ["BENCH_STARTED"])
    clock.seconds["start"] = ENTERED - started
    found = {}
    for name in JOBS:
        job(Path(scan), Path(folder) / name)
        total = time.monotonic() - started
        if (
            unused := WAYS[way].keys()
            - clock.seconds.keys()
            - ({"import", "load"} if name != JOBS[0] else set())
        ):
            raise SystemExit(MISSING.format(f"what is done in the stage {', '.join(unused)}"))
        rest = total - sum(clock.seconds.values())
        found[name] = {
            "seconds": dict(clock.seconds) | {"rest": rest},
            "total": total,
            "network_saw": dict(clock.seen),
        }
        clock.seconds.clear()
        clock.seen.clear()
        started = time.monotonic()
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def job_of(way):
    """Return what does the whole job in this process: from a scan, and a folder for the mask."""
    if way == "gmseg":

        def job(scan, folder):
            from gmseg.cli import main as cli

            if code := cli._run(["segment", str(scan), "--out-dir", str(folder)]):
                raise SystemExit(code)

        return job
    module = __import__(way)

    def job(scan, folder):
        folder.mkdir(parents=True)
        module.job(scan, folder / "mask.nii.gz")

    return job


class Clock:
    """Seconds by stage, each call less the timed calls within it.

    Attributes
    ----------
    seconds : Counter
        By stage.
    seen : Counter
        How many windows and regions the network was given, by kind and size.
    """

    def __init__(self):
        self.seconds, self.seen = Counter(), Counter()
        self._inner = []  # seconds within each call that is under way
        self._thread = threading.get_ident()

    def timed(self, stage, function):
        """Return a function that does the same and keeps time."""

        @functools.wraps(function)
        def run(*given, **named):
            if threading.get_ident() != self._thread:  # beside the others, not after them
                return function(*given, **named)
            if stage == "network":
                self.seen += windows_of(given)
            self._inner.append(0.0)
            begin = time.monotonic()
            try:
                return function(*given, **named)
            finally:
                took = time.monotonic() - begin
                self.seconds[stage] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return run


def take_over(clock, table):
    """Put timed functions in the place of those in a table, wherever they are known by name."""
    builtins.__import__ = clock.timed("import", builtins.__import__)
    named = [(stage, name) for stage, names in table.items() for name in names if stage != "import"]
    for _, name in named:  # all of them first: a module keeps what it took from another
        __import__(name.split(":")[0])
    for stage, name in named:
        place, _, attribute = name.partition(":")
        *owner, attribute = attribute.split(".")
        try:
            place = functools.reduce(getattr, owner, sys.modules[place])
            there = getattr(place, attribute)
        except AttributeError:
            raise SystemExit(MISSING.format(name)) from None
        if not callable(there):
            raise SystemExit(MISSING.format(f"{name}, as a function,"))
        function = clock.timed(stage, there)
        setattr(place, attribute, function)
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").partition(".")[0] in ("gmseg", "rivals"):
                for key, value in list(vars(module).items()):
                    if value is there:
                        setattr(module, key, function)


def windows_of(given):
    """Count what the network is given by one call: of a session's run, or of a rival's predict."""
    for one in given:
        if isinstance(one, dict):
            kind, windows = "region in" if "corner" in one else "window", one["window"]
        elif hasattr(one, "shape"):
            kind, windows = "window", one
        else:
            continue
        return Counter({f"{kind} {windows.shape[1]}x{windows.shape[2]}": len(windows)})
    raise SystemExit(MISSING.format("what the network is given, a window and a corner,"))


if __name__ == "__main__":
    main()
