"""What runs a network on windows: Keras, or an exported graph without it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.resources import bundled
from gmseg.models.backend import threads
from gmseg.models.registry import card_of, graph_files, load_network, load_part, user_models_dir

PRECISIONS = ("single", "bf16")
_PIXELS = 200**2  # that an exported graph sees at once


@dataclass(frozen=True)
class Predictor:
    """A network, ready to run.

    Called with standardised windows, float32 (n, size, size), it returns their soft
    segmentations, the same.

    Attributes
    ----------
    whole : callable
        From windows to soft segmentations.
    region : callable or None
        From one window, (size, size), and the corner of a region that lies in it, (row, column),
        to the region's soft segmentation, (side, side): the same numbers for less arithmetic.
        None where the network cannot be computed in parts.
    side : int
        Of the region, in pixels.
    """

    whole: Callable[[np.ndarray], np.ndarray]
    region: Callable[[np.ndarray, tuple[int, int]], np.ndarray] | None = None
    side: int = 0

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        return self.whole(windows)


def checked(predictor: Predictor, weights: Path) -> Predictor:
    """Return a predictor that refuses to give what is no probability."""

    def check(run: Callable) -> Callable:
        def checked_run(*given):
            soft = run(*given)
            if not np.isfinite(soft).all():
                raise InputError(f"{weights}: gives NaN; get the model's files again")
            return soft

        return checked_run

    region = predictor.region and check(predictor.region)
    return replace(predictor, whole=check(predictor.whole), region=region)


# ------------------------------------------------------------------------------------ Keras


def keras_predictor(network, part=None) -> Predictor:
    """Return what runs Keras networks.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.core.network.build_network`.
    part : keras.Model, optional
        The same for a region, from `gmseg.core.network.on_region`.
    """

    def whole(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)[..., None]
        return np.asarray(network.predict_on_batch(windows))[..., 0]

    def region(window: np.ndarray, corner) -> np.ndarray:
        window = np.ascontiguousarray(window, np.float32)[None, ..., None]
        return np.asarray(part.predict_on_batch([window, np.array(corner, np.int32)]))[0, ..., 0]

    if part is None:
        return Predictor(whole)
    return Predictor(whole, region, part.output.shape[1])


# -------------------------------------------------------------------------- exported graphs


def onnx_predictor(graphs: dict[str, bytes], side: int) -> Predictor:
    """Return what runs exported graphs with ONNX Runtime, in single precision.

    Parameters
    ----------
    graphs : dict of str to bytes
        ``"window"``, and ``"region"`` if there is one: ONNX files from `gmseg.models.onnx_graph`.
    side : int
        Of the region, in pixels.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.enable_mem_pattern = False  # a third less memory, and no slower
    # else one graph's threads wait busily for more work while the other's should work
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    there = onnxruntime.get_available_providers()
    # a graphics card that would round to fewer digits must not
    wanted = [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    providers = [one for one in wanted if (one if isinstance(one, str) else one[0]) in there]

    def loaded(graph: bytes) -> Callable:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
        return lambda given: session.run(None, given)[0]

    return _of_graphs(graphs, side, loaded)


def openvino_predictor(graphs: dict[str, bytes], side: int, precision: str) -> Predictor:
    """Return the same with OpenVINO, which knows half precision on some processors.

    Parameters
    ----------
    graphs, side
        See `onnx_predictor`.
    precision : {"single", "bf16"}

    Raises
    ------
    gmseg.errors.InputError
        If OpenVINO is not installed, or the processor cannot compute so.
    """
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    try:
        import openvino
    except ImportError:
        raise InputError(
            f"--precision {precision}: needs OpenVINO; pip install 'gmseg[openvino]'"
        ) from None
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError(
            "--precision bf16: this processor computes in single precision only; leave it away"
        )
    settings = {
        "INFERENCE_PRECISION_HINT": {"single": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }

    def loaded(graph: bytes) -> Callable:
        compiled = core.compile_model(core.read_model(graph), "CPU", settings)
        return lambda given: compiled(given)[0].copy()

    return _of_graphs(graphs, side, loaded)


def _of_graphs(graphs: dict[str, bytes], side: int, loaded: Callable) -> Predictor:
    """Return a predictor of graphs that are loaded when they are first wanted."""
    ready: dict[str, Callable] = {}

    def run(kind: str, **given) -> np.ndarray:
        if kind not in ready:
            ready[kind] = loaded(graphs[kind])
        return ready[kind](given)

    def whole(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)[..., None]
        # one by one, unless they are small: as fast as many at once, in a quarter of the memory
        count = max(1, _PIXELS // (windows.shape[1] * windows.shape[2]))
        parts = [windows[k : k + count] for k in range(0, len(windows), count)]
        return np.concatenate([run("window", window=part)[..., 0] for part in parts])

    def region(window: np.ndarray, corner) -> np.ndarray:
        window = np.ascontiguousarray(window, np.float32)[None, ..., None]
        return run("region", window=window, corner=np.array(corner, np.int32))[0, ..., 0]

    if "region" not in graphs:
        return Predictor(whole)
    return Predictor(whole, region, side)


# ---- from a model


def load_predictor(model: Model, precision: str = "single") -> Predictor:
    """Return what runs a model's network. Decides the engine.

    Exported graphs are run by ONNX Runtime, without Keras; models that have none by Keras.

    Parameters
    ----------
    model : Model
    precision : {"single", "bf16"}
        Of the arithmetic; ``"bf16"`` is OpenVINO's, and needs graphs.

    Returns
    -------
    gmseg.predictor.Predictor
        From standardised windows, float32 (n, size, size), to soft segmentations, the same.
        It raises InputError where the weights give no numbers.
    """
    key = str(model.weights.resolve()), model.weights_sha256, precision
    if key not in _predictors:
        _predictors.clear()
        _predictors[key] = checked(_predictor(model, precision), model.weights)
    return _predictors[key]


def _predictor(model: Model, precision: str) -> Predictor:
    graphs = read_graphs(model)
    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is unknown; choose {' or '.join(PRECISIONS)}")
    if precision != "single":
        if graphs is None:
            raise InputError(
                f"{model.name}: has no exported graph, which --precision needs; leave it away"
            )
        return openvino_predictor(graphs, model.graphs["side"], precision)
    if graphs is not None:
        return onnx_predictor(graphs, model.graphs["side"])
    network = load_network(model)
    return keras_predictor(network, load_part(model, network))


def read_graphs(model: Model) -> dict[str, bytes] | None:
    """Return a model's exported graphs, verified; None where it has none.

    They are run where they were made with the package or by this user: what a graph from
    elsewhere computes need not be what its model's weights do.

    Raises
    ------
    gmseg.errors.InputError
        If they are damaged, or made of other weights.
    """
    if model.graphs is None or model.weights.parent not in (bundled("models"), user_models_dir()):
        return None
    graphs = {}
    for kind, file in graph_files(model.weights).items():
        if kind not in model.graphs:
            continue
        content = file.read_bytes() if file.is_file() else b""
        if (
            hashlib.sha256(content).hexdigest() != model.graphs[kind]
            or model.graphs["of"] != model.weights_sha256
        ):
            raise InputError(
                f"{file}: is not the graph that {card_of(model.weights).name} tells of, of these "
                f"weights; get the model's files again"
            )
        graphs[kind] = content
    return graphs


# the network used last: a run over many scans loads it once
_predictors: dict[tuple[str, str, str], Predictor] = {}
