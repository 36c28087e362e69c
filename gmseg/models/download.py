"""Download and import the models of the 2017 release."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import check_folder
from gmseg.io.quiet import quiet_logger
from gmseg.io.resources import bundled
from gmseg.models.factory import network_entry, network_sizes
from gmseg.models.registry import (
    DOWNLOADS,
    load_model,
    load_network,
    release_model,
    save_model,
    user_models_dir,
)
from gmseg.models.release2017 import RELEASE_SHA256, RELEASE_URL

_MOST_BYTES = 16 << 20
"""Largest download; the files of the release have less than 1 MB."""


def import_release(path, folder=None, name: str | None = None, *, overwrite: bool = False) -> Model:
    """Convert a weights file of the 2017 release into a model.

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
    network = load_network(card)
    folder.mkdir(parents=True, exist_ok=True)
    fields = {key: getattr(card, key) for key in Model.__dataclass_fields__}
    for key in ("name", "weights", "weights_sha256"):
        del fields[key]
    fields["network"] = network_entry(network_sizes(card.network))
    model = save_model(network, folder, name, **fields)
    if importlib.util.find_spec("onnx") and folder == user_models_dir():
        from gmseg.models.export import write_graph

        write_graph(model)
    return load_model(model.weights)


def download(name: str = "published", *, base_url: str = RELEASE_URL, folder=None) -> Model:
    """Download the 2017 release, verify its checksum and import it.

    Parameters
    ----------
    name : str
        ``"published"``.
    base_url : str
        Address of the folder with its files.
    folder : path-like, optional
        Folder for the model; that of the user's models by default.

    Returns
    -------
    Model

    Raises
    ------
    gmseg.errors.InputError
        If the name is unknown, the server cannot be reached, or a file is too large or has another
        checksum.
    """
    import pooch
    import requests

    if name not in DOWNLOADS:
        raise InputError(f"{name}: cannot be downloaded; known are {', '.join(DOWNLOADS)}")
    folder = Path(folder) if folder is not None else user_models_dir()
    release = folder / "release-2017"
    for file, checksum in RELEASE_SHA256.items():
        try:
            with quiet_logger(pooch.get_logger()):
                pooch.retrieve(
                    base_url + file, checksum, fname=file, path=release, downloader=_download
                )
        except requests.RequestException as error:
            raise InputError(
                f"{base_url}{file}: cannot be downloaded ({type(error).__name__}); check the "
                f"network, or fetch {' and '.join(RELEASE_SHA256)} by other means and run: "
                f"gmseg models import challenge_model.hdf5"
            ) from None
        except _TooLargeError:
            raise InputError(
                f"{base_url}{file}: has more than {_MOST_BYTES >> 20} MiB and was discarded; check "
                f"the address"
            ) from None
        except ValueError:
            raise InputError(
                f"{base_url}{file}: the download does not have the pinned SHA-256 and was "
                f"discarded; try again, and do not trust the file if it happens again"
            ) from None
    return import_release(release / "challenge_model.hdf5", folder, name, overwrite=True)


class _TooLargeError(Exception):
    """A download has more bytes than any file of the release."""


class _LimitedFile(io.FileIO):
    """A file that refuses to become larger than `_MOST_BYTES`."""

    def write(self, data) -> int:
        if self.tell() + len(data) > _MOST_BYTES:
            raise _TooLargeError
        return super().write(data)


def _download(url: str, path: str, pooch_) -> None:
    """Download a file for pooch, as long as it is not too large."""
    import pooch

    with _LimitedFile(path, "wb") as file:
        pooch.HTTPDownloader(progressbar=True, timeout=30)(url, file, pooch_)
