"""The releases of the authors: their addresses, and the layout of their weights files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmseg.errors import InputError
from gmseg.io.download import RemoteFile
from gmseg.io.files import read_json, sha256
from gmseg.io.hdf5 import check_hdf5


class Release(NamedTuple):
    """Weights in the layout of the 2017 release.

    Attributes
    ----------
    url : str
        Start of the files' addresses, or the archive to download by hand.
    files : dict of RemoteFile
        The weights and the JSON, by name. Empty where gmseg knows no checksum, and therefore does
        not download.
    trained_on : str
        Training data.
    about : dict of str
        See `gmseg.core.model.Model`.
    """

    url: str
    files: dict[str, RemoteFile]
    trained_on: str
    about: dict[str, str]


RELEASES = {
    "published": Release(
        # the authors' repository, at the commit that added the files
        url="https://raw.githubusercontent.com/neuropoly/gmseg/"
        "14c348a7e9e339200ea4d49b357876f03ca8bc4f/models/",
        files={
            "challenge_model.hdf5": RemoteFile(
                "challenge_model.hdf5",
                "9b44228ad2fd360930b9d7fc6957a4eb7acbfa8cf6a091d13a932f8e8815dd9e",
                639_680,
            ),
            "challenge_model.json": RemoteFile(
                "challenge_model.json",
                "0f0f0538596a649a1e7b0dc1028c774592a747ab2ec5c226e4800a1626b01a82",
                47,
            ),
        },
        trained_on="the GM challenge's 40 training scans, validation scans included",
        about={
            "use": "the paper's weights, to compare with the paper; GM in axial T2*w scans",
            "quality": "mean Dice 0.93 on 6 open scans of 4 subjects; areas about 7 % too large",
            "speed": "1.3 s for a scan of 11 slices on 2 processor cores",
            "licence": "MIT",
        },
    ),
    "large": Release(
        url="https://github.com/spinalcordtoolbox/deepseg_gm_models/releases/download/r20180205/"
        "20180205_deepseg_gm_models.zip",
        files={},
        trained_on="3963 slices of 232 subjects of the authors' laboratory, some with multiple "
        "sclerosis, myelopathy, spinal cord injury or syringomyelia",
        about={
            "use": "the Spinal Cord Toolbox's weights of 64 filters; GM, also of patients",
            "quality": "not measured by gmseg",
            "speed": "about 4 times as long as published",
            "licence": "not stated",
        },
    ),
}
"""Releases by the name of the model."""


def _release_layers() -> dict[str, str]:
    """Return the names of our layers, each with its name in the 2017 release.

    The release numbers batch normalisations in order of creation.
    """
    branches = ["branch1x1", "rate6", "rate12", "rate18", "rate24"]
    convolutions = ["stem_1", "stem_2", "rate2_1", "rate2_2"]
    convolutions += [f"{branch}_{i}" for branch in branches for i in (1, 2)]
    layers = {name: name for name in convolutions}
    layers |= {"stem_1": "conv2d_1", "stem_2": "conv2d_2", "amort": "amort"}
    layers |= {"logits": "predictions"}
    normalised = [*convolutions, "branches", "amort"]
    layers |= {f"{name}_norm": f"batch_normalization_{i}" for i, name in enumerate(normalised, 1)}
    return layers


def read_release(path: Path) -> dict:
    """Return the card of a release file, as fields of `gmseg.core.model.Model`.

    Parameters
    ----------
    path : pathlib.Path
        Weights file of Keras 2.0.6; the number of filters follows from its shapes. The JSON
        next to it contains mean and standard deviation of the training set.
    """
    import h5py

    figures = read_json(path.with_suffix(".json"))
    try:
        mean, std = float(figures["mean_train"]), float(figures["std_train"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{path.with_suffix('.json')}: mean_train and std_train are missing; "
            f"use the JSON that was released with the weights"
        ) from None
    if h5py.is_hdf5(path):
        check_hdf5(path, kinds="fiu")
    try:
        with h5py.File(path) as file:
            *kernel, filters = file["conv2d_1/conv2d_1/kernel:0"].shape
            if kernel != [3, 3, 1] or not 1 <= filters <= 512:
                raise ValueError
    except Exception:  # of many kinds: the file is damaged
        raise InputError(
            f"{path}: is not a weights file in the layout of the 2017 release; download it again"
        ) from None
    checksum = sha256(path)
    card = {
        "name": path.stem,
        "weights": path,
        "weights_sha256": checksum,
        "network": {"filters": int(filters)},
        "standardise": "volume",
        "mean": mean,
        "std": std,
        "command": f"gmseg models import {path.name}",
    }
    for name, release in RELEASES.items():
        if checksum in {file.sha256 for file in release.files.values()}:
            card["name"] = name
            card["trained_on"] = release.trained_on
            card["commit"] = "weights of the authors' release of 2017"
            card["about"] = release.about
    return card


def release_weights(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the weights of a 2017 release file by our names of the layers.

    Returns
    -------
    dict
        Layer to its arrays, in the order of Keras: kernel and bias, or gamma, beta, mean and
        variance.
    """
    import h5py

    convolution = ["kernel", "bias"]
    normalisation = ["gamma", "beta", "moving_mean", "moving_variance"]
    weights = {}
    with h5py.File(path) as file:
        for ours, theirs in _release_layers().items():
            names = normalisation if ours.endswith("_norm") else convolution
            try:
                weights[ours] = [
                    np.asarray(file[theirs][f"{theirs}/{name}:0"][()], np.float32) for name in names
                ]
            except Exception as error:  # of many kinds: the file is damaged
                raise does_not_fit(path, f"layer {theirs}", error) from None
            if not all(np.isfinite(values).all() for values in weights[ours]):
                raise InputError(f"{path}: contains NaN or infinity; download it again")
    return weights


def fill_network(network, path: Path) -> None:
    """Copy the weights of a 2017 release file into a network."""
    for name, values in release_weights(path).items():
        try:
            network.get_layer(name).set_weights(values)
        except ValueError as error:
            raise does_not_fit(path, f"layer {name}", error) from None


def does_not_fit(path: Path, what: str, error: Exception) -> InputError:
    """Return the error for a file whose weights are of another network."""
    return InputError(
        f"{path}: {what} does not fit the paper's network "
        f"({' '.join(str(error).split())[:80]}); is it a file of the 2017 release?"
    )
