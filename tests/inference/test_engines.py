"""Engines, regions, batches and threads: the same numbers."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gmseg import InputError, load_model, load_network
from gmseg.core import pipeline
from gmseg.core.network import on_region, reach
from gmseg.inference import engines
from gmseg.inference.engines import load_predictor
from gmseg.models import backend, export
from gmseg.models.factory import network_sizes, part_of
from gmseg.models.registry import load_part
from gmseg.models.unet import UNetSizes

CORNERS = [(52, 52), (0, 0), (104, 104), (17, 88), (60, 3)]


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def windows(model):
    """Standardised windows of a made-up cord, one of them off the middle."""
    from gmseg.datasets.phantom import make_phantom

    scan = make_phantom(seed=3, spacing_mm=(0.5, 0.5, 5.0), shape=(128, 128, 3)).image
    ready = pipeline.prepare(scan, model).windows
    return np.stack([ready[0], np.roll(ready[1], (30, -22), (0, 1)), ready[2]])


@pytest.fixture(scope="module")
def keras_soft(model, windows):
    """The reference: the network by Keras on whole windows."""
    soft = engines.keras_predictor(load_network(model))(windows)
    assert (soft > 0.5).any(axis=(1, 2)).all()
    return soft


def parts(soft, corner, side):
    row, column = corner
    return soft[row : row + side, column : column + side]


@pytest.mark.parametrize("side", [80, 96])
@pytest.mark.parametrize("corner", CORNERS)
def test_a_region_by_keras_is_that_of_the_whole_window(model, windows, keras_soft, side, corner):
    part = on_region(load_network(model), network_sizes(model.network), (200, side))
    run = engines.keras_predictor(None, part)
    assert run.side == side
    for window, soft in zip(windows, keras_soft, strict=True):
        ours = run.region(window, corner)
        np.testing.assert_allclose(ours, parts(soft, corner, side), rtol=0, atol=1e-5)


def test_the_default_models_graphs_are_those_of_its_weights(model, windows, keras_soft):
    """Stale graphs, made of other weights or by another network, are found here."""
    graphs = engines.read_graphs(model)
    assert set(graphs) == {"window", "region"}
    run = engines.onnx_predictor(graphs, model.graphs["side"])
    np.testing.assert_allclose(run(windows), keras_soft, rtol=0, atol=5e-5)
    # the very weights, and not only on these windows
    import onnx
    from onnx import numpy_helper

    network = load_network(model)
    for graph in graphs.values():
        held = {
            one.name: numpy_helper.to_array(one)
            for one in onnx.load_from_string(graph).graph.initializer
        }
        for layer in network.layers:
            for name, value in zip(("kernel", "bias"), layer.get_weights(), strict=False):
                if not layer.name.endswith("_norm"):
                    value = value.transpose(3, 2, 0, 1) if name == "kernel" else value
                    np.testing.assert_array_equal(held[f"{layer.name}_{name}"], value)
            for name, value in zip(
                ("gamma", "beta", "mean", "variance"), layer.get_weights(), strict=False
            ):
                if layer.name.endswith("_norm"):
                    np.testing.assert_array_equal(held[f"{layer.name}_{name}"], value)


@pytest.mark.parametrize("corner", CORNERS)
def test_a_region_by_onnx_runtime_is_that_of_the_whole_window(model, windows, keras_soft, corner):
    run = load_predictor(model)
    for window, soft in zip(windows, keras_soft, strict=True):
        ours = run.region(window, corner)
        np.testing.assert_allclose(ours, parts(soft, corner, run.side), rtol=0, atol=5e-5)


def test_batches_and_other_sizes(model, windows):
    """One by one, many at once, and windows of 64 pixels."""
    run = load_predictor(model)
    each = np.concatenate([run(one[None]) for one in windows])
    np.testing.assert_array_equal(run(windows), each)
    small = windows[:, 68:132, 68:132]
    truth = engines.keras_predictor(load_network(model))(small)
    np.testing.assert_allclose(run(small), truth, rtol=0, atol=5e-5)


def test_one_thread_gives_what_two_give(model, windows, monkeypatch):
    graphs, side = engines.read_graphs(model), model.graphs["side"]
    found = []
    for count in (1, 2):
        monkeypatch.setattr(engines, "threads", lambda count=count: count)
        run = engines.onnx_predictor(graphs, side)
        found.append((run(windows), run.region(windows[0], (52, 52))))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_openvino_gives_what_keras_gives(model, windows, keras_soft):
    pytest.importorskip("openvino")
    graphs = engines.read_graphs(model)
    run = engines.openvino_predictor(graphs, model.graphs["side"], "single")
    np.testing.assert_allclose(run(windows), keras_soft, rtol=0, atol=5e-5)
    for corner in CORNERS:
        ours = run.region(windows[1], corner)
        np.testing.assert_allclose(ours, parts(keras_soft[1], corner, run.side), rtol=0, atol=5e-5)


def test_half_precision_is_refused_where_the_processor_has_none(model, monkeypatch):
    openvino = pytest.importorskip("openvino")
    graphs = engines.read_graphs(model)

    class Core(openvino.Core):
        def get_property(self, device, name):
            return ["FP32"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(InputError, match="this processor computes in single precision only"):
        engines.openvino_predictor(graphs, 96, "bf16")


def test_half_precision_needs_openvino(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'gmseg\[openvino\]'"):
        engines.openvino_predictor({}, 96, "bf16")


def test_a_graphics_card_is_used_at_full_precision(model, monkeypatch):
    import onnxruntime

    asked = []
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, options, providers: asked.append(providers) or ValueError,
    )
    run = engines.onnx_predictor(engines.read_graphs(model), 96)
    with pytest.raises(AttributeError):
        run(np.zeros((1, 200, 200), np.float32))
    assert asked == [[("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]]


def test_threads_are_no_more_than_this_process_may_use(monkeypatch):
    backend._cores.cache_clear()
    monkeypatch.setattr(backend.os, "sched_getaffinity", lambda _: {0}, raising=False)
    try:
        assert backend.threads() == 1
    finally:
        backend._cores.cache_clear()


def test_processes_share_the_cores():
    """Each is bound to its own, and runs on so many threads."""
    code = (
        "import os, sys; from gmseg import engine; before = sorted(os.sched_getaffinity(0))\n"
        "engine.share_cores(2, int(sys.argv[1]))\n"
        "engine.share_cores(2, int(sys.argv[1]))\n"  # as every task of a worker does
        "print(before, sorted(os.sched_getaffinity(0)), engine.threads(), sep=';')"
    )
    found = []
    for number in (0, 1):
        done = subprocess.run(
            [sys.executable, "-c", code, str(number)], capture_output=True, text=True, check=True
        )
        before, mine, count = done.stdout.strip().split(";")
        found.append(json.loads(mine))
        assert int(count) == max(1, len(json.loads(before)) // 2)
    if len(json.loads(before)) > 1:
        assert sorted(found[0] + found[1]) == json.loads(before)


# ------------------------------------------------------------------------ where graphs are run


@pytest.fixture
def users_own(model, tmp_path, monkeypatch):
    """A copy of the default model among the user's own."""
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path))
    for file in model.weights.parent.glob("default.*"):
        shutil.copy(file, tmp_path / file.name.replace("default", "mine"))
    return tmp_path / "mine.json"


def test_stale_or_damaged_graphs_are_refused(users_own):
    assert set(engines.read_graphs(load_model(users_own))) == {"window", "region"}
    card = json.loads(users_own.read_text())
    other = users_own.with_name("mine.onnx")
    other.write_bytes(other.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"mine\.onnx: is not the graph that mine\.json tells of"):
        load_predictor(load_model(users_own))
    card["graphs"]["window"] = hashlib.sha256(other.read_bytes()).hexdigest()
    card["graphs"]["of"] = "0" * 64  # as if the weights had been trained on
    users_own.write_text(json.dumps(card))
    with pytest.raises(InputError, match="of these weights; get the model's files again"):
        load_predictor(load_model(users_own))
    other.unlink()
    with pytest.raises(InputError, match=r"mine\.onnx"):
        load_predictor(load_model(users_own))


def test_graphs_from_elsewhere_are_not_run(users_own, monkeypatch, tmp_path):
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "others"))
    assert engines.read_graphs(load_model(users_own)) is None


@pytest.mark.parametrize(
    "graphs",
    [
        [],
        {},
        {"window": "a"},
        {"of": "a", "window": 3},
        {"of": "a", "window": "b", "side": 96},
        {"of": "a", "window": "b", "region": "c"},
        {"of": "a", "window": "b", "more": "c"},
        {"of": "a", "window": "b", "region": "c", "side": 0},
        {"of": "a", "window": "b", "region": "c", "side": True},
    ],
)
def test_a_card_that_tells_nonsense_of_graphs_is_refused(users_own, graphs):
    card = json.loads(users_own.read_text()) | {"graphs": graphs}
    users_own.write_text(json.dumps(card))
    with pytest.raises(InputError, match="graphs cannot be used"):
        load_model(users_own)


def test_a_model_without_graphs_is_run_by_keras_in_regions_too(users_own, windows, keras_soft):
    bare = dataclasses.replace(load_model(users_own), graphs=None)
    run = load_predictor(bare)
    assert run.side == 96
    np.testing.assert_allclose(run(windows), keras_soft, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="no exported graph, which --precision needs"):
        load_predictor(bare, "bf16")


def test_prepared_graphs_are_those_of_the_package(users_own):
    """The one command that makes them makes these very files."""
    pytest.importorskip("onnx")
    before = load_model(users_own)
    card = json.loads(users_own.read_text())
    del card["graphs"]
    users_own.write_text(json.dumps(card))
    files = export.prepare(load_model(users_own))
    assert [file.name for file in files] == ["mine.onnx", "mine.region.onnx", "mine.json"]
    after = load_model(users_own)
    assert after.graphs["side"] == before.graphs["side"] == 96
    assert set(engines.read_graphs(after)) == {"window", "region"}


def test_no_region_where_it_would_save_nothing(model):
    network, sizes = load_network(model), network_sizes(model.network)
    assert reach(sizes) == 52
    assert part_of(network, sizes, 200, 98) is None
    assert part_of(None, UNetSizes(), 200, 96) is None
    assert load_part(dataclasses.replace(model, voxel_size_mm=0.1), network) is None
