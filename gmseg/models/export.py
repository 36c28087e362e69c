"""Export networks for other programs: as ONNX, and as weights for a plain PyTorch module."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import atomic_path, atomic_paths, check_output, sha256
from gmseg.models import registry
from gmseg.models.factory import network_sizes

FORMATS = {"onnx": ("onnx", ".onnx"), "torch": ("torch", ".pt")}
"""Formats: the package that they need, the ending of the file."""


def export_model(model: Model, out, file_format: str, *, overwrite: bool = False) -> list[Path]:
    """Write the network of a model for other programs, and a JSON that describes it.

    Parameters
    ----------
    model : Model
        The model.
    out : path-like
        File of the network: ``.onnx``, or ``.pt`` for PyTorch. The JSON has the same name.
    file_format : {"onnx", "torch"}
        Format of the file.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    list of pathlib.Path
        The files of the network and of the JSON.

    Raises
    ------
    gmseg.errors.InputError
        If a package is missing or a file cannot be written.

    Notes
    -----
    The JSON is the model's card, with the fields that the Spinal Cord Toolbox's older command
    reads: ``filters``, ``mean_train`` and ``std_train``.
    """
    if file_format not in FORMATS:
        raise InputError(f"format: {file_format!r} is not one of {', '.join(FORMATS)}")
    package, ending = FORMATS[file_format]
    out = Path(out)
    if out.suffix != ending:
        raise InputError(f"{out}: name the file *{ending}")
    _check(model, package)
    description = out.with_suffix(".json")
    sources = [model.weights, registry.card_of(model.weights)]
    for file in (out, description):
        check_output(file, inputs=sources, overwrite=overwrite)
    network = registry.load_network(model)
    with atomic_paths([out, description], overwrite=overwrite) as (network_file, description_file):
        if file_format == "onnx":
            _save_onnx(network, network_file)
        else:
            import torch

            state = {name: torch.from_numpy(value) for name, value in torch_state(network).items()}
            torch.save(state, network_file)
        card = _card(model, sha256(network_file))
        text = json.dumps(card, indent=2, ensure_ascii=False)
        description_file.write_text(text + "\n", encoding="utf-8")
    return [out, description]


def write_graph(model: Model) -> Path:
    """Write the graph by which a model runs without Keras, and note it in the model's card.

    Returns
    -------
    pathlib.Path
        File of the graph, next to the weights.
    """
    graph = registry.graph_of(model.weights)
    with atomic_path(graph) as file:
        _save_onnx(registry.load_network(model), file)
        checksum = sha256(file)
    registry.write_card(replace(model, graphs={"of": model.weights_sha256, "window": checksum}))
    return graph


def _save_onnx(network, file: Path) -> None:
    import onnx

    from gmseg.models.onnx_graph import to_onnx

    onnx.save(to_onnx(network), file)


def _check(model: Model, package: str) -> None:
    """Raise InputError if the package of a format is missing."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{model.name}: the export needs {package}; pip install {package}")


def _card(model: Model, checksum: str) -> dict:
    described = asdict(model) | {"weights_sha256": checksum}
    del described["weights"], described["graphs"]
    sizes = asdict(network_sizes(model.network))
    return described | {
        "exported_from_sha256": model.weights_sha256,
        "orientation": "LAS",  # of the windows: rows from right to left, columns to anterior
        **({"filters": sizes["filters"]} if "filters" in sizes else {}),
        "mean_train": model.mean,
        "std_train": model.std,
    }


def torch_state(network) -> dict[str, np.ndarray]:
    """Return the weights of a network with the names of `gmseg.models.torch_network`.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.load_network`.

    Returns
    -------
    dict of str to numpy.ndarray
        State dict; convolutions are (out, in, rows, columns).
    """
    state: dict[str, np.ndarray] = {}
    for layer in network.layers:
        if not layer.weights:
            continue
        name, values = layer.name, [np.asarray(value) for value in layer.get_weights()]
        if name.endswith("_norm"):
            keys = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{name}.{key}": value for key, value in zip(keys, values, strict=True)}
            state[f"{name}.num_batches_tracked"] = np.array(0)
        else:
            kernel, bias = values
            state[f"{name}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            state[f"{name}.bias"] = bias
    return state


def fill_from_torch(network, state: dict[str, np.ndarray]) -> None:
    """Fill a Keras network with weights that were trained in PyTorch.

    Parameters
    ----------
    network : keras.Model
        Of the sizes of the PyTorch module.
    state : dict of str to array
        State dict of a module from `gmseg.models.torch_network`.

    Raises
    ------
    KeyError, ValueError
        If the state dict is of another network.
    """
    for layer in network.layers:
        if not layer.weights:
            continue
        if layer.name.endswith("_norm"):
            keys = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([np.asarray(state[f"{layer.name}.{key}"]) for key in keys])
        else:
            kernel = np.asarray(state[f"{layer.name}.weight"]).transpose(2, 3, 1, 0)
            layer.set_weights([kernel, np.asarray(state[f"{layer.name}.bias"])])
