"""Load the predictor of a model: its exported graph in ONNX Runtime, or Keras."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError, is_out_of_memory
from gmseg.io.resources import bundled
from gmseg.models.backend import threads
from gmseg.models.registry import card_of, graph_of, load_network, user_models_dir

Predictor = Callable[[np.ndarray], np.ndarray]
"""From standardised windows, float32 (n, size, size), to soft segmentations, float32
(n, outputs, size, size): GM, and the cord where the network has two outputs."""
_PIXELS = 128**2  # that an exported graph processes at once

# the networks used last: many scans load them once
_last: dict[tuple[str, str], Predictor] = {}
_KEPT = 2


def load_predictor(model: Model) -> Predictor:
    """Return the predictor of a model.

    Exported graphs run in ONNX Runtime, without Keras; models without one run in Keras.

    Returns
    -------
    callable
        From standardised windows, float32 (n, size, size), to soft segmentations, float32
        (n, outputs, size, size). It raises InputError where the weights give NaN, and MemoryError
        where the memory is full.
    """
    key = str(model.weights.resolve()), model.weights_sha256
    if key not in _last:
        graph = read_graph(model)
        with _memory_errors():
            predict = (
                keras_predictor(load_network(model)) if graph is None else onnx_predictor(graph)
            )
        while len(_last) >= _KEPT:
            del _last[next(iter(_last))]
        _last[key] = _checked(predict, model.weights)
    return _last[key]


def read_graph(model: Model) -> bytes | None:
    """Return a model's exported graph, verified; None if it has none.

    Graphs run only where they were made by the package or by this user: a graph from elsewhere
    may compute something else than the weights of its model.

    Raises
    ------
    gmseg.errors.InputError
        If it is damaged, or was made from other weights.
    """
    if model.weights.parent not in (bundled("models"), user_models_dir()):
        return None
    if model.weights.suffix == ".onnx":
        return model.weights.read_bytes()
    if model.graphs is None:
        return None
    file = graph_of(model.weights)
    content = file.read_bytes() if file.is_file() else b""
    if (
        hashlib.sha256(content).hexdigest() != model.graphs["window"]
        or model.graphs["of"] != model.weights_sha256
    ):
        raise InputError(
            f"{file}: is not the graph of these weights that {card_of(model.weights).name} "
            f"names; get the model's files again"
        )
    return content


def keras_predictor(network) -> Predictor:
    """Return what runs a Keras network from `gmseg.core.network.build_network`."""

    def predict(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)[..., None]
        return np.moveaxis(np.asarray(network.predict_on_batch(windows)), -1, 1)

    return predict


def onnx_predictor(graph: bytes) -> Predictor:
    """Return what runs an ONNX graph from `gmseg.models.onnx_graph`, in single precision."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.enable_mem_pattern = False  # a third less memory, as fast
    options.log_severity_level = 3
    # a graphics card must not round to fewer digits
    wanted = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
    available = onnxruntime.get_available_providers()
    providers = [(name, how) for name, how in wanted.items() if name in available]
    session = onnxruntime.InferenceSession(graph, options, providers=providers)

    def predict(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)[..., None]
        # large windows one by one: as fast as several at once, in a quarter of the memory
        count = max(1, _PIXELS // (windows.shape[1] * windows.shape[2]))
        parts = [windows[k : k + count] for k in range(0, len(windows), count)]
        soft = [session.run(None, {"window": part})[0] for part in parts]
        return np.moveaxis(np.concatenate(soft), -1, 1)

    return predict


def _checked(predict: Predictor, weights: Path) -> Predictor:
    """Return a predictor that raises InputError if the output is not finite."""

    def checked(windows: np.ndarray) -> np.ndarray:
        with _memory_errors():
            soft = predict(windows)
        if not np.isfinite(soft).all():
            raise InputError(f"{weights}: gives NaN; get the model's files again")
        return soft

    return checked


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise MemoryError where an engine reports in its own way that memory is full."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise
