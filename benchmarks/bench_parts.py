"""Parts of a job by themselves, each beside its rivals: for pytest-benchmark.

``python benchmarks/run.py`` runs it: BENCH_SCAN names the scan, BENCH_TURNS says how often. In
every turn each alternative of a group is timed once, so that they take turns.
"""

import functools
import itertools
import os
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import rivals

from gmseg.core.resampling import to_working_grid
from gmseg.inference import engines
from gmseg.inference.engines import read_graphs
from gmseg.io.image import like_scan, write_images
from gmseg.io.resources import bundled
from gmseg.io.scan_reader import open_scan
from gmseg.models.registry import load_model, load_network, load_part

TURNS = int(os.environ.get("BENCH_TURNS", "3"))
SCAN = Path(os.environ.get("BENCH_SCAN", bundled("data/sample/phantom_t2s.nii.gz")))
SETTLE_S = 0.02  # engines' threads go on spinning for a while
ENGINES = ("ONNX Runtime", "OpenVINO", "Keras on TensorFlow")
SLICE, VOLUME = "network on one slice", "network on all slices"
RESAMPLE, READ, WRITE = "to the working grid", "read", "write"
GROUPS = {
    SLICE: [
        f"{part}, {engine}, {threads}"
        for engine in ENGINES
        for part in ("region", "whole window")
        for threads in (("all threads", "one thread") if engine == ENGINES[0] else ("all threads",))
    ],
    VOLUME: ["all slices, one by one", "all slices, in one batch"],
    RESAMPLE: ["the windows alone, gmseg", "the whole volume, gmseg", "the whole volume, nibabel"],
    READ: ["gmseg, with its checks", "nibabel"],
    WRITE: ["gmseg", "nibabel"],
}
TASKS = [
    pytest.param(group, name, turn, id=f"{group}-{name}-{turn}")
    for group, names in GROUPS.items()
    for turn, name in itertools.product(range(TURNS), names)
]


@pytest.mark.parametrize(("group", "name", "turn"), TASKS)
def bench_part(benchmark, tmp_path, group, name, turn):  # noqa: ARG001
    run, work = part(group, name)
    benchmark.extra_info.update(group=group, alternative=name, work=work)
    given = (tmp_path / "made.nii.gz",) if group == WRITE else ()
    benchmark.pedantic(run, given, setup=lambda: time.sleep(SETTLE_S), rounds=1)


@functools.cache
def part(group, name):
    """Return what is timed, warmed up, and what the network is given by it, by kind and size."""
    if group == SLICE:
        what, engine, threads = name.split(", ")
        ask = engine_of(engine, 1 if threads == "one thread" else None)
        window = windows()[len(windows()) // 2]
        side = load_model().graphs["side"]
        corner = tuple((length - side) // 2 for length in window.shape)
        if what == "region":
            return ready(lambda: ask.region(window, corner)), {f"region in {size()}": 1}
        return ready(lambda: ask(window[None])), {f"window {size()}": 1}
    if group == VOLUME:
        import way_toolbox

        work = {f"window {size()}": len(windows())}
        if name.endswith("in one batch"):
            return ready(lambda: way_toolbox.predict(way_toolbox.load(), windows())), work
        return ready(lambda: engine_of(ENGINES[0], None)(windows())), work
    if group == RESAMPLE:
        return ready(resampling(name)), {}
    if group == READ:
        return ready(partial(rivals.read if name == "nibabel" else open_scan, SCAN)), {}
    scan = nib.load(SCAN)
    made = like_scan(scan, np.zeros(scan.shape, np.uint8))
    made.dataobj[tuple(slice(n // 2 - 5, n // 2 + 5) for n in scan.shape)] = 1
    if name == "nibabel":
        return partial(nib.save, made), {}
    return lambda path: write_images({path: made}), {}


def ready(run):
    """Return it after a first call, which loads what it needs."""
    run()
    return run


def resampling(name):
    """Return what brings the scan to the working grid, some of it or all."""
    source = open_scan(SCAN)
    spacing_mm = load_model().voxel_size_mm
    if name == "the windows alone, gmseg":
        shape = source.frame(spacing_mm).shape
        length = [min(rivals.WINDOW, one) for one in shape[:2]]
        corner = [(one - part) // 2 for one, part in zip(shape, length, strict=False)]
        return lambda: source.working_part(0, source.slices, spacing_mm, corner, length)
    voxels = source.read(0, source.slices)
    if name == "the whole volume, gmseg":
        return lambda: to_working_grid(voxels, source.affine, spacing_mm)
    image = rivals.read(SCAN)
    return lambda: rivals.to_working(image)


@functools.cache
def windows():
    """Return the scan's windows, standardised."""
    return np.ascontiguousarray(rivals.cut(rivals.to_working(rivals.read(SCAN)))[0])


def size():
    """Return rows and columns of the windows, as the counts of multiply-adds name them."""
    return "x".join(map(str, windows().shape[1:]))


@functools.cache
def engine_of(name, threads):
    """Return the default model on an engine, on so many threads; None: as gmseg chooses."""
    model = load_model()
    chosen = engines.threads
    engines.threads = chosen if threads is None else lambda: threads
    try:
        if name == "Keras on TensorFlow":
            network = load_network(model)
            return engines.keras_predictor(network, load_part(model, network))
        if name == "OpenVINO":
            pytest.importorskip("openvino")
        graphs, side = read_graphs(model), model.graphs["side"]
        made = (
            engines.openvino_predictor(graphs, side, "single")
            if name == "OpenVINO"
            else engines.onnx_predictor(graphs, side)
        )
        made(windows()[:1])  # a graph is loaded when it is first wanted
        made.region(windows()[0], (0, 0))
        return made
    finally:
        engines.threads = chosen
