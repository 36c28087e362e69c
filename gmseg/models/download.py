"""Download and import weights in the layout of the 2017 release."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.download import fetch
from gmseg.io.files import check_folder
from gmseg.io.resources import bundled
from gmseg.models.registry import release_model, save_graph, user_models_dir
from gmseg.models.release2017 import RELEASES, does_not_fit, release_weights


def import_release(path, folder=None, name: str | None = None, *, overwrite: bool = False) -> Model:
    """Convert a weights file of the 2017 release into a model, a card and a graph.

    Parameters
    ----------
    path : path-like
        ``challenge_model.hdf5``, of 32 or 64 filters, with its mean/std JSON next to it.
    folder : path-like, optional
        Folder for the model; that of the user's models by default.
    name : str, optional
        ``published`` for the released file, and the name of the file for others, by default.
    overwrite : bool
        Replace an imported model of that name.

    Returns
    -------
    Model

    Raises
    ------
    gmseg.errors.InputError
        If the file or the JSON is missing, damaged, or of another layout.
    """
    from gmseg.models.onnx_graph import fill_graph

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    card = release_model(path)
    name = name or card.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise InputError(f"{name}: is no name for a model; use letters, digits, - and _ in `name`")
    if (bundled("models") / f"{name}.json").exists():
        raise InputError(f"{name}: is a model that comes with gmseg; choose another `name`")
    folder = Path(folder) if folder is not None else user_models_dir()
    if (folder / f"{name}.json").exists() and not overwrite:
        raise InputError(f"{folder / name}.json: exists; use `overwrite=True`, or another `name`")
    check_folder(folder)
    weights = release_weights(path)
    try:
        graph = fill_graph((bundled("models") / "default.onnx").read_bytes(), weights)
    except ValueError as error:
        raise does_not_fit(path, "it", error) from None
    folder.mkdir(parents=True, exist_ok=True)
    fields = {key: getattr(card, key) for key in Model.__dataclass_fields__}
    for key in ("name", "weights", "weights_sha256"):
        del fields[key]
    return save_graph(graph.SerializeToString(), folder, name, **fields)


def download(
    name: str = "published",
    *,
    base_url: str | None = None,
    folder=None,
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Download released weights, verify their checksum and import them.

    Parameters
    ----------
    name : str
        ``"published"``: the release of 2017.
    base_url : str, optional
        Address of the folder with its files; the authors' repository by default.
    folder : path-like, optional
        Folder for the model; that of the user's models by default.
    progress : callable, optional
        Function of the bytes done and all bytes; a bar on standard error by default.

    Returns
    -------
    Model

    Raises
    ------
    gmseg.errors.InputError
        If the name is unknown, the server cannot be reached, or a file is too large or has another
        checksum.
    """
    downloads = [known for known, release in RELEASES.items() if release.files]
    if name not in RELEASES:
        raise InputError(f"{name}: cannot be downloaded; known are {', '.join(downloads)}")
    release = RELEASES[name]
    if not release.files:
        raise InputError(f"{name}: gmseg knows no checksum to verify a download; {by_hand(name)}")
    folder = Path(folder) if folder is not None else user_models_dir()
    files = fetch(
        release.files,
        folder / "release-2017",
        base_url=base_url or release.url,
        without_network=f"fetch {' and '.join(release.files)} by other means and run: "
        f"gmseg models import {next(iter(release.files))}",
        progress=progress,
    )
    return import_release(files[0], folder, name, overwrite=True)


def by_hand(name: str) -> str:
    """Return how to get a release that gmseg does not download.

    Examples
    --------
    >>> by_hand("large").partition(",")[2]
    ' then run: gmseg models import large_model.hdf5 --name large'
    """
    url = RELEASES[name].url
    return (
        f"download and unpack {url}, then run: gmseg models import {name}_model.hdf5 --name {name}"
    )
