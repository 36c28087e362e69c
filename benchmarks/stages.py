"""Time the stages of a job from outside: ``stages.py WAY SCAN FOLDER RESULT``.

WAY is ``gmseg`` or one of rivals.py. Two jobs run in one process: the first is cold, the second
warm. Functions are replaced by timed ones; of a call within another, only the inner one counts.
RESULT is a JSON file: seconds per stage of every job.
"""

import time

ENTERED = time.monotonic()  # before the imports: what came earlier is the interpreter's start

# ruff: noqa: E402
import builtins
import functools
import inspect
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path

# Functions of every stage: "module:function", or "module" for all functions that it defines.
# The former wins over the latter. A stage that no call enters stops the benchmark.
_GMSEG = {
    "load": [
        "gmseg.models.registry",
        "gmseg.inference.engines:load_predictor",
        "onnxruntime:InferenceSession.__init__",
    ],
    "read": ["gmseg.io.scan_reader", "gmseg.io.image", "gmseg.io.image_file"],
    "locate": ["gmseg.inference.localisation"],
    "resample": [
        "gmseg.core.resampling:reoriented",  # `sample` belongs to the stage that calls it
        "gmseg.core.resampling:grid_geometry",
        "gmseg.core.windows",
        "gmseg.core.standardisation",
    ],
    "network": ["onnxruntime:InferenceSession.run"],
    "restore": ["gmseg.core.windows:paste_to_scan"],
    "flags": [
        "gmseg.inference.quality.checks",
        "gmseg.inference.quality.features",
        "gmseg.inference.quality.flags",
    ],
    "write": ["gmseg.io.image:write_images", "gmseg.io.scan_writer"],
}
_RIVAL = {
    "load": ["rivals:load"],
    "read": ["rivals:read"],
    "resample": ["rivals:to_working", "rivals:cut"],
    "network": ["rivals:predict"],
    "restore": ["rivals:back"],
    "write": ["rivals:write"],
}
JOBS = ("cold", "warm")


def main():
    """Run the jobs and write their times."""
    way, scan, folder, result = sys.argv[1:]
    stages = _GMSEG if way == "gmseg" else _RIVAL
    clock = Clock()
    start = float(os.environ["BENCH_STARTED"])
    clock.seconds["start"] = ENTERED - start
    builtins.__import__ = clock.timed("import", builtins.__import__)
    replace_functions(clock, stages)
    jobs = {}
    for name in JOBS:
        run_job(way, Path(scan), Path(folder) / name)
        total = time.monotonic() - start
        missing = stages.keys() - clock.seconds.keys() - ({"load"} if name == "warm" else set())
        if missing:
            raise SystemExit(f"stages.py: no function of {', '.join(missing)} was called")
        rest = total - sum(clock.seconds.values())
        jobs[name] = {"seconds": dict(clock.seconds) | {"rest": rest}, "total": total}
        clock.seconds.clear()
        start = time.monotonic()
    Path(result).write_text(json.dumps(jobs), encoding="utf-8")


def run_job(way, scan, folder):
    """Segment a scan in this process and write its mask into a folder."""
    if way != "gmseg":
        import rivals

        return rivals.segment(way, scan, folder / "mask.nii.gz")
    from gmseg.cli import main as cli

    if exit_code := cli.run(["segment", str(scan), "--out-dir", str(folder)]):
        raise SystemExit(exit_code)
    return None


class Clock:
    """Seconds per stage; of a timed call within another, only the inner one counts.

    Attributes
    ----------
    seconds : Counter
        Seconds of every stage.
    """

    def __init__(self):
        self.seconds = Counter()
        self._inner = []  # seconds of the timed calls within each call in progress
        self._thread = threading.get_ident()

    def timed(self, stage, function):
        """Return a function that does the same and is timed."""

        @functools.wraps(function)
        def timed_function(*args, **kwargs):
            if threading.get_ident() != self._thread:  # runs beside the others, not after them
                return function(*args, **kwargs)
            self._inner.append(0.0)
            start = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.monotonic() - start
                self.seconds[stage] += seconds - self._inner.pop()
                if self._inner:
                    self._inner[-1] += seconds

        return timed_function


def replace_functions(clock, stages):
    """Replace functions by timed ones in every module that knows them."""
    names = [(name, stage) for stage, names in stages.items() for name in names]
    for name, _ in names:  # all of them first: a module keeps what it takes from another
        __import__(name.partition(":")[0])
    timed = {}
    for name, stage in sorted(names):  # a function comes after its module
        module_name, _, path = name.partition(":")
        module = sys.modules[module_name]
        if path:
            *owners, attribute = path.split(".")
            owner = functools.reduce(getattr, owners, module)
            timed[name] = owner, attribute, getattr(owner, attribute), stage
            continue
        for attribute, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == name:
                timed[f"{name}:{attribute}"] = module, attribute, value, stage
    for owner, attribute, function, stage in timed.values():
        replacement = clock.timed(stage, function)
        setattr(owner, attribute, replacement)
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").partition(".")[0] in ("gmseg", "rivals"):
                for key, value in list(vars(module).items()):
                    if value is function:
                        setattr(module, key, replacement)


if __name__ == "__main__":
    main()
