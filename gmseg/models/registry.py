"""Models on disk: list, load and save them.

A model is ``NAME.weights.h5`` (weights, nothing executable) next to its card, ``NAME.json``. Where
size matters, or Keras may be missing, the weights are those in its graph, ``NAME.onnx``, alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.download import cache_folder
from gmseg.io.files import atomic_path, read_json, sha256, write_text
from gmseg.io.hdf5 import check_hdf5
from gmseg.io.quiet import warnings_as
from gmseg.io.resources import bundled
from gmseg.models.card import check_card
from gmseg.models.factory import build, network_sizes
from gmseg.models.release2017 import RELEASES, fill_network, read_release

DEFAULT_MODEL = "default"


def user_models_dir() -> Path:
    """Return the folder of imported and downloaded models (``GMSEG_MODELS`` moves it)."""
    if chosen := os.environ.get("GMSEG_MODELS"):
        return Path(chosen)
    return cache_folder("models")


def list_models() -> dict[str, Path]:
    """Return the known models, name to card; those of the package come first.

    Examples
    --------
    >>> "default" in list_models()
    True
    """
    found: dict[str, Path] = {}
    for folder in (bundled("models"), user_models_dir()):
        for card in sorted(folder.glob("*.json")):
            found.setdefault(card.stem, card)
    return found


def load_model(name=DEFAULT_MODEL) -> Model:
    """Return a model after reading its card and verifying its weights.

    Parameters
    ----------
    name : str or path-like
        Name of a known model, JSON or weights file of a model, or ``.hdf5`` file of the 2017
        release with its mean/std JSON next to it.

    Returns
    -------
    Model

    Raises
    ------
    gmseg.errors.InputError
        If there is no such model, or its files are damaged or do not belong together.

    Examples
    --------
    >>> load_model().window
    128
    """
    path = Path(name)
    if path.suffix in {".hdf5", ".h5", ".json"} or os.sep in str(name):
        if not path.is_file():
            raise InputError(f"{path}: no such model file; check the path")
        if path.suffix == ".hdf5":
            return release_model(path)
        card = path if path.suffix == ".json" else card_of(path)
    else:
        known = list_models()
        if str(name) not in known:
            hint = f" (gmseg models download {name})" if str(name) in RELEASES else ""
            raise InputError(
                f"{name}: no model of that name{hint}; known are {', '.join(known) or 'none'}"
            )
        card = known[str(name)]
    return _read_card(card)


def card_of(weights: Path) -> Path:
    """Return the card that belongs to a weights file."""
    return (
        weights.with_name(weights.name.removesuffix(".h5").removesuffix(".weights") + ".json")
        if weights.suffix == ".h5"
        else weights.with_suffix(".json")
    )


def _read_card(card: Path) -> Model:
    content = read_json(card)
    weights = card.with_name(card.name.removesuffix(".json") + ".weights.h5")
    if not weights.is_file() and graph_of(weights).is_file() and "graphs" not in content:
        weights = graph_of(weights)
    missing = {"name", "weights_sha256", "network"} - content.keys()
    if missing:
        raise InputError(
            f"{card}: is not a gmseg model's card, {', '.join(sorted(missing))} missing; "
            f"give the NAME.json or NAME.weights.h5 of a model"
        )
    if not weights.is_file():
        raise InputError(f"{weights}: no such weights file; it must lie beside {card.name}")
    known = {key: content[key] for key in Model.__dataclass_fields__ if key in content}
    model = Model(**{**known, "weights": weights})
    check_card(card, model)
    if sha256(weights) != model.weights_sha256:
        raise InputError(
            f"{weights}: its SHA-256 is not the one in {card.name}; get both files again"
        )
    return model


def release_model(path: Path) -> Model:
    """Return a weights file of the 2017 release, its mean/std JSON next to it, as a model."""
    model = Model(**read_release(path))
    check_card(path.with_suffix(".json"), model)
    return model


def load_network(model: Model):
    """Build a model's network and fill in its weights.

    Returns
    -------
    keras.Model
        See `gmseg.core.network.build_network`.
    """
    network = build(network_sizes(model.network))
    if model.weights.suffix == ".onnx":
        _fill_from_graph(network, model.weights)
        return _finite(network, model.weights)
    # room for double precision and for the state of an optimiser
    check_hdf5(model.weights, kinds="fiu", most_bytes=32 * network.count_params() + 2**20)
    if model.weights.suffix == ".hdf5":
        fill_network(network, model.weights)
    else:
        _fill(network, model.weights)
    return _finite(network, model.weights)


def _finite(network, weights: Path):
    """Return a network, refusing weights that are not finite.

    Some processors turn NaN into 0 on the way, so the output does not show them.
    """
    if not all(np.isfinite(values).all() for values in network.get_weights()):
        raise InputError(f"{weights}: contains NaN or infinity; get the model's files again")
    return network


def _fill_from_graph(network, graph: Path) -> None:
    """Fill in the constants of a graph that `gmseg.models.onnx_graph` has written."""
    from gmseg.models.onnx_graph import fill_network as fill

    try:
        fill(network, graph.read_bytes())
    except Exception as error:  # of many kinds: the file is damaged
        raise _does_not_fit(graph, error) from None


def _does_not_fit(weights: Path, error: Exception) -> InputError:
    return InputError(
        f"{weights}: does not fit the network of its card "
        f"({' '.join(str(error).split())[:120]}); get both files again"
    )


def _fill(network, weights: Path) -> None:
    """Load weights that `save_model` has written."""
    try:
        # Keras warns and goes on with random weights where a file lacks some
        with warnings_as("error", UserWarning):
            network.load_weights(weights)
    except Exception as error:  # of many kinds: the file is damaged
        raise _does_not_fit(weights, error) from None


def graph_of(weights: Path) -> Path:
    """Return where the exported graph of a weights file is."""
    return card_of(weights).with_suffix(".onnx")


def save_model(network, folder, name: str, /, **card) -> Model:
    """Write a network as a model: ``NAME.weights.h5`` and ``NAME.json``.

    Parameters
    ----------
    network : keras.Model
    folder : path-like
        Must exist.
    name : str
    **card
        The other fields of `Model`.
    """
    weights = Path(folder) / f"{name}.weights.h5"
    # without the optimiser of a network that was compiled for training
    plain = build(network_sizes(card["network"]))
    plain.set_weights(network.get_weights())
    with atomic_path(weights) as temporary:
        plain.save_weights(temporary)
    model = Model(name=name, weights=weights, weights_sha256=sha256(weights), **card)
    write_card(model)
    return model


def save_graph(graph: bytes, folder, name: str, /, **card) -> Model:
    """Write a model whose weights are those in its graph: ``NAME.onnx`` and ``NAME.json``.

    Parameters
    ----------
    graph : bytes
        From `gmseg.models.onnx_graph`.
    folder : path-like
        Must exist.
    name : str
        A model of that name is replaced.
    **card
        The other fields of `Model`.
    """
    file = Path(folder) / f"{name}.onnx"
    # weights in a file of their own would be taken for the model's
    file.with_suffix(".weights.h5").unlink(missing_ok=True)
    with atomic_path(file) as temporary:
        temporary.write_bytes(graph)
    write_card(Model(name=name, weights=file, weights_sha256=sha256(file), **card))
    return load_model(card_of(file))


def write_card(model: Model) -> Path:
    """Write a model's JSON next to its weights, and return its path."""
    content = asdict(model)
    del content["weights"]
    for key in ("graphs", "about"):
        if content[key] is None:
            del content[key]
    card = card_of(model.weights)
    write_text(card, json.dumps(content, indent=2) + "\n")
    return card
