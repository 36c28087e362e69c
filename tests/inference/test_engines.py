"""Engines: ONNX Runtime and Keras give the same numbers, in any batch and on any threads."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gmseg import InputError, load_model, load_network
from gmseg.core import pipeline
from gmseg.inference import engines
from gmseg.models import backend, export


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def windows(model):
    """Return standardised windows of a synthetic cord, one of them with the cord off centre."""
    from gmseg.datasets.phantom import make_phantom

    scan = make_phantom(seed=3, spacing_mm=(0.5, 0.5, 5.0), shape=(128, 128, 3)).image
    cut = pipeline.prepare(scan, model).windows
    return np.stack([cut[0], np.roll(cut[1], (30, -22), (0, 1)), cut[2]])


@pytest.fixture(scope="module")
def network(model):
    return load_network(model)


@pytest.fixture(scope="module")
def keras_soft(network, windows):
    soft = engines.keras_predictor(network)(windows)
    assert (soft[:, 0] > 0.5).any(axis=(1, 2)).all()
    return soft


def test_graph_of_the_default_model_equals_keras(model, windows, keras_soft):
    predict = engines.onnx_predictor(engines.read_graph(model))
    np.testing.assert_allclose(predict(windows), keras_soft, rtol=0, atol=5e-5)


def test_graph_of_the_default_model_holds_its_weights(model, network):
    import onnx

    graph = onnx.load_from_string(engines.read_graph(model)).graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for layer in network.layers:
        names = ("kernel", "bias")
        if layer.name.endswith("_norm"):
            names = ("gamma", "beta", "mean", "variance")
        for name, value in zip(names, layer.get_weights(), strict=False):
            value = value.transpose(3, 2, 0, 1) if name == "kernel" else value
            np.testing.assert_array_equal(constants[f"{layer.name}_{name}"], value)


def test_batch_and_window_size(model, windows, network):
    predict = engines.load_predictor(model)
    one_by_one = np.concatenate([predict(window[None]) for window in windows])
    np.testing.assert_array_equal(predict(windows), one_by_one)
    small = windows[:, 68:132, 68:132]
    expected = engines.keras_predictor(network)(small)
    np.testing.assert_allclose(predict(small), expected, rtol=0, atol=5e-5)


def test_one_thread_equals_two(model, windows, monkeypatch):
    soft = []
    for count in (1, 2):
        monkeypatch.setattr(engines, "threads", lambda count=count: count)
        soft.append(engines.onnx_predictor(engines.read_graph(model))(windows))
    np.testing.assert_allclose(*soft, rtol=0, atol=1e-6)


def test_a_graphics_card_computes_in_full_precision(model, monkeypatch):
    import onnxruntime

    sessions = []
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **how: sessions.append(how))
    engines.onnx_predictor(b"")
    [session] = sessions
    assert session["providers"] == [
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
        ("CPUExecutionProvider", {}),
    ]


TELEMETRY = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print("imported with", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
from gmseg import load_model
from gmseg.inference.engines import load_predictor
load_predictor(load_model())
"""


def test_telemetry_is_off_before_onnx_runtime_is_imported():
    env = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", TELEMETRY]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "imported with 1\n"


FULL_MEMORY = """
import resource
from pathlib import Path
import numpy as np
from gmseg import load_model
from gmseg.inference.engines import load_predictor
predict = load_predictor(load_model())
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 50 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    predict(np.zeros((1, 3000, 3000), np.float32))
except MemoryError as error:
    print("MemoryError")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_full_memory_in_onnx_runtime_is_a_memory_error():
    command = [sys.executable, "-c", FULL_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "MemoryError\n", done.stderr


def test_no_more_threads_than_cores_that_may_be_used(monkeypatch):
    backend._cores.cache_clear()
    monkeypatch.setattr(backend.os, "sched_getaffinity", lambda _: {0}, raising=False)
    try:
        assert backend.threads() == 1
    finally:
        backend._cores.cache_clear()


SHARE = """
import os, sys
from gmseg.models import backend
before = sorted(os.sched_getaffinity(0))
for _ in range(2):  # every task of a worker does this again
    backend.share_cores(2, int(sys.argv[1]))
print(before, sorted(os.sched_getaffinity(0)), backend.threads(), sep=";")
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="binds processes as Linux does")
def test_processes_are_bound_to_cores_of_their_own():
    shares = []
    for number in ("0", "1"):
        command = [sys.executable, "-c", SHARE, number]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        before, own, count = map(json.loads, done.stdout.split(";"))
        shares.append(own)
        assert count == max(1, len(before) // 2)
    if len(before) > 1:
        assert sorted(shares[0] + shares[1]) == before


@pytest.fixture
def user_model(model, tmp_path, monkeypatch):
    """Return the card of a copy of the default model among the user's models."""
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path))
    for file in model.weights.parent.glob("default.*"):
        shutil.copy(file, tmp_path / file.name.replace("default", "mine"))
    return tmp_path / "mine.json"


def test_stale_or_damaged_graphs_are_refused(user_model):
    assert engines.read_graph(load_model(user_model)) is not None
    card = json.loads(user_model.read_text())
    graph = user_model.with_name("mine.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"mine\.onnx: is not the graph of these weights that mi"):
        engines.load_predictor(load_model(user_model))
    card["graphs"]["window"] = hashlib.sha256(graph.read_bytes()).hexdigest()
    card["graphs"]["of"] = "0" * 64  # made from other weights
    user_model.write_text(json.dumps(card))
    with pytest.raises(InputError, match="is not the graph of these weights"):
        engines.load_predictor(load_model(user_model))
    graph.unlink()
    with pytest.raises(InputError, match=r"mine\.onnx"):
        engines.load_predictor(load_model(user_model))


def test_graphs_from_elsewhere_are_not_run(user_model, monkeypatch, tmp_path):
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "others"))
    assert engines.read_graph(load_model(user_model)) is None


@pytest.mark.parametrize("graphs", [[], {}, {"window": "a"}, {"of": "a", "window": 3}])
def test_a_card_with_invalid_graphs_is_refused(user_model, graphs):
    card = json.loads(user_model.read_text()) | {"graphs": graphs}
    user_model.write_text(json.dumps(card))
    with pytest.raises(InputError, match="graphs cannot be used"):
        load_model(user_model)


def test_graphs_of_an_older_card_are_accepted(user_model):
    card = json.loads(user_model.read_text())
    card["graphs"] |= {"region": "0" * 64, "side": 96}
    user_model.write_text(json.dumps(card))
    assert engines.read_graph(load_model(user_model)) is not None


def test_a_model_without_a_graph_is_run_by_keras(user_model, windows, keras_soft):
    predict = engines.load_predictor(dataclasses.replace(load_model(user_model), graphs=None))
    np.testing.assert_allclose(predict(windows), keras_soft, rtol=0, atol=1e-5)


def test_a_graph_is_written_and_used(user_model, windows, keras_soft):
    card = json.loads(user_model.read_text())
    del card["graphs"]
    user_model.write_text(json.dumps(card))
    user_model.with_name("mine.onnx").unlink()
    graph = export.write_graph(load_model(user_model))
    assert graph == user_model.with_name("mine.onnx")
    predict = engines.onnx_predictor(engines.read_graph(load_model(user_model)))
    np.testing.assert_allclose(predict(windows), keras_soft, rtol=0, atol=5e-5)
