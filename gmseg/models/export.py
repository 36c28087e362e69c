"""Networks for other programs: ONNX, and weights for a plain PyTorch module."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from gmseg.errors import InputError
from gmseg.io.files import atomic_path, check_output, sha256
from gmseg.models import registry
from gmseg.models.factory import network_sizes

FORMATS = {"onnx": ("onnx", ".onnx"), "torch": ("torch", ".pt")}  # the package, the file's ending


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
    _check(model, package, f"--format {file_format}")
    card = out.with_suffix(".json")
    sources = [model.weights, registry.card_of(model.weights)]
    for file in (out, card):
        check_output(file, inputs=sources, overwrite=overwrite)
    network = registry.load_network(model)
    with atomic_path(out) as written, atomic_path(card) as description:
        if file_format == "onnx":
            import onnx

            from gmseg.models.onnx_graph import to_onnx

            onnx.save(to_onnx(network), written)
        else:
            import torch

            state = {name: torch.from_numpy(value) for name, value in torch_state(network).items()}
            torch.save(state, written)
        text = json.dumps(_card(model, sha256(written)), indent=2, ensure_ascii=False)
        description.write_text(text + "\n", encoding="utf-8")
    return [out, card]


def prepare(model) -> list[Path]:
    """Write the graphs that a model is run by without Keras, beside its weights.

    Parameters
    ----------
    model : gmseg.Model

    Returns
    -------
    list of pathlib.Path
        The graphs, and the model's card, which tells of them.

    Raises
    ------
    gmseg.errors.InputError
        If onnx is not installed.
    """
    _check(model, "onnx", model.name)
    import onnx

    from gmseg.models.onnx_graph import to_onnx

    network = registry.load_network(model)
    part = registry.load_part(model, network)
    files = registry.graph_files(model.weights)
    told = {"of": model.weights_sha256}
    if part is not None:
        told["side"] = part.output.shape[1]
    for kind, given in (("window", network), ("region", part)):
        if given is None:
            del files[kind]
            continue
        with atomic_path(files[kind]) as written:
            onnx.save(to_onnx(given), written)
            told[kind] = sha256(written)
    card = registry.write_card(replace(model, graphs=told))
    return [*files.values(), card]


def _check(model, package: str, what: str) -> None:
    """Refuse what cannot be exported."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{what}: {package} is not installed; pip install {package}")
    if "kind" in model.network:
        raise InputError(f"{model.name}: is not the paper's network; only that can be exported")


def _card(model, checksum: str) -> dict:
    described = asdict(model) | {"weights_sha256": checksum}
    del described["weights"], described["graphs"]
    return described | {
        "exported_from_sha256": model.weights_sha256,
        "orientation": "LAS",  # of the windows: rows from right to left, columns to the front
        "filters": network_sizes(model.network).filters,
        "mean_train": model.mean,
        "std_train": model.std,
    }


# ------------------------------------------------------------------------------- PyTorch


def torch_state(network) -> dict[str, np.ndarray]:
    """Return a network's weights as `gmseg.models.torch_network.GrayMatterNetwork` names them.

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
