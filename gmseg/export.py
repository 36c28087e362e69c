"""Networks for other programs: ONNX, and weights for a plain PyTorch module."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gmseg import pretrained
from gmseg.errors import InputError
from gmseg.files import atomic_path, check_output, sha256
from gmseg.networks import network_sizes

FORMATS = {"onnx": ("onnx", ".onnx"), "torch": ("torch", ".pt")}  # the package, the file's ending
_OPSET, _IR_VERSION = 13, 7  # those of ONNX 1.8: older programs read them, too


def export_model(model, out, file_format: str, *, overwrite: bool = False) -> list[Path]:
    """Write a model's network for other programs, and a JSON that says what it is.

    Parameters
    ----------
    model : gmseg.Model
    out : path-like
        The file: ``.onnx``, or ``.pt`` for PyTorch. The JSON takes its name.
    file_format : {"onnx", "torch"}
    overwrite : bool

    Returns
    -------
    list of pathlib.Path
        The network's file and the JSON.

    Raises
    ------
    gmseg.errors.InputError
        If a package is missing or a file cannot be written.

    Notes
    -----
    The JSON is the model's own, and has beside it what the Spinal Cord Toolbox's older command
    reads: ``filters``, ``mean_train`` and ``std_train``.
    """
    if file_format not in FORMATS:
        raise InputError(f"--format {file_format}: is not one of {', '.join(FORMATS)}")
    package, ending = FORMATS[file_format]
    out = Path(out)
    if out.suffix != ending:
        raise InputError(f"{out}: name the file *{ending}")
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"--format {file_format}: {package} is not installed; pip install {package}"
        )
    if "kind" in model.network:
        raise InputError(f"{model.name}: is not the paper's network; only that can be exported")
    card = out.with_suffix(".json")
    sources = [model.weights, pretrained.card_of(model.weights)]
    for file in (out, card):
        check_output(file, inputs=sources, overwrite=overwrite)
    network = pretrained.load_network(model)
    with atomic_path(out) as written, atomic_path(card) as description:
        if file_format == "onnx":
            import onnx

            onnx.save(to_onnx(network, model), written)
        else:
            import torch

            state = {name: torch.from_numpy(value) for name, value in torch_state(network).items()}
            torch.save(state, written)
        text = json.dumps(_card(model, sha256(written)), indent=2, ensure_ascii=False)
        description.write_text(text + "\n", encoding="utf-8")
    return [out, card]


def _card(model, checksum: str) -> dict:
    described = asdict(model) | {"weights_sha256": checksum}
    described.pop("weights")
    return described | {
        "exported_from_sha256": model.weights_sha256,
        "orientation": "LAS",  # of the windows: rows from right to left, columns to the front
        "filters": network_sizes(model.network).filters,
        "mean_train": model.mean,
        "std_train": model.std,
    }


# ------------------------------------------------------------------------------- PyTorch


def torch_state(network) -> dict[str, np.ndarray]:
    """Return a network's weights as `gmseg.torch_network.GrayMatterNetwork` names them.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.load_network`.

    Returns
    -------
    dict of str to numpy.ndarray
        A state dict: convolutions are (out, in, rows, columns).
    """
    state = {}
    for name, values in _layers(network):
        if name.endswith("_norm"):
            keys = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{name}.{key}": value for key, value in zip(keys, values, strict=True)}
            state[f"{name}.num_batches_tracked"] = np.array(0)
        else:
            kernel, bias = values
            state[f"{name}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            state[f"{name}.bias"] = bias
    return state


def _layers(network):
    """Yield the name and the weights of every layer that has any."""
    for layer in network.layers:
        if layer.weights:
            yield layer.name, [np.asarray(value) for value in layer.get_weights()]


# ---------------------------------------------------------------------------------- ONNX


def to_onnx(network, model):
    """Return a network as an ONNX graph.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.load_network`.
    model : gmseg.Model
        What it is of: its sizes.

    Returns
    -------
    onnx.ModelProto
        From ``window``, float32 (n, height, width, 1), rows from right to left, columns from
        back to front (LAS), to ``soft``, of the same shape: as the network takes and gives them.
        n, height and width are free.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = dict(_layers(network))
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(x: str, name: str, rate: int = 1) -> str:
        kernel, bias = weights[name]
        margin = rate * (kernel.shape[0] // 2)
        values = constant(f"{name}_kernel", kernel.transpose(3, 2, 0, 1))
        offsets = constant(f"{name}_bias", bias)
        return node("Conv", [x, values, offsets], name, dilations=[rate] * 2, pads=[margin] * 4)

    def norm(x: str, name: str) -> str:
        names = ("gamma", "beta", "mean", "variance")
        values = [constant(f"{name}_{n}", v) for n, v in zip(names, weights[name], strict=True)]
        return node("BatchNormalization", [x, *values], name, epsilon=1e-3)

    def step(x: str, name: str, rate: int = 1) -> str:
        return norm(node("Relu", [conv(x, name, rate)], f"{name}_relu"), f"{name}_norm")

    rates = network_sizes(model.network).dilation_rates
    x = node("Transpose", ["window"], "channels_first", perm=[0, 3, 1, 2])
    stem = step(step(x, "stem_1"), "stem_2")
    trunk = step(step(stem, "rate2_1", 2), "rate2_2", 2)
    branches = [step(step(trunk, "branch1x1_1"), "branch1x1_2")]
    branches += [step(step(trunk, f"rate{r}_1", r), f"rate{r}_2", r) for r in rates]
    mean = node("GlobalAveragePool", [stem], "global_mean")
    shape = node("Shape", [stem], "stem_shape")
    branches.insert(-1, node("Expand", [mean, shape], "global_branch"))
    joined = norm(node("Concat", branches, "branches", axis=1), "branches_norm")
    logits = conv(step(joined, "amort"), "logits")
    node("Transpose", [node("Sigmoid", [logits], "sigmoid")], "soft", perm=[0, 2, 3, 1])

    windows = ["n", "height", "width", 1]
    graph = helper.make_graph(
        nodes, "gmseg",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, windows)],
        [helper.make_tensor_value_info("soft", TensorProto.FLOAT, windows)],
        constants,
    )  # fmt: skip
    made = helper.make_model(
        graph, producer_name="gmseg", ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )  # fmt: skip
    checker.check_model(made, full_check=True)
    return made
