"""List, download, import and export models.

The commands under ``gmseg models``, whose help begins with the line above.
"""

from __future__ import annotations

import textwrap
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gmseg.cli.options import Argument, Option
from gmseg.errors import InputError


class Format(StrEnum):
    """What a network can be exported as."""

    onnx = "onnx"
    torch = "torch"


Overwrite = Annotated[bool, Option("--overwrite", help="Replace files that exist.")]


def models_list() -> int:
    """List the known models."""
    from gmseg.models.registry import DOWNLOADS, list_models, load_model

    known = list_models()
    for name in known:
        try:
            model = load_model(name)
        except InputError as error:
            print(f"{name:12} cannot be used: {error}")
            continue
        trained_on = textwrap.shorten(model.trained_on, 100, placeholder=" ...")
        kind = model.network.get("kind") or f"{model.network.get('filters', 32)} filters"
        print(f"{name:12} {kind}  trained on: {trained_on}")
    for name in DOWNLOADS:
        if name not in known:
            print(f"{name:12} not here yet: gmseg models download {name}")
    return 0


def models_download(
    name: Annotated[str, Argument(metavar="NAME", help="published: the 2017 release.")],
) -> int:
    """Download a model from its authors, verify its checksum, and import it."""
    from gmseg.models.download import download

    print(f"{download(name).weights}  segment with --model {name}")
    return 0


def models_import(
    file: Annotated[
        Path, Argument(metavar="FILE", help="challenge_model.hdf5, its mean/std JSON beside it.")
    ],
    name: Annotated[
        str | None, Option(metavar="NAME", help="[default: published, or the file's name]")
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Turn a weights file of the 2017 release (32 or 64 filters) into a model."""
    from gmseg.models.download import import_release

    model = import_release(file, name=name, overwrite=overwrite)
    print(f"{model.weights}  segment with --model {model.name}")
    return 0


def models_prepare(
    name: Annotated[
        str, Argument(metavar="NAME", help="A model of gmseg's or one that was imported.")
    ],
) -> int:
    """Write the graphs by which a model runs without Keras, beside its weights."""
    from gmseg.models.export import prepare
    from gmseg.models.registry import load_model

    for file in prepare(load_model(name)):
        print(file)
    return 0


def models_export(
    name: Annotated[str, Argument(metavar="NAME|FILE", help="A known model, or a model's file.")],
    file_format: Annotated[
        Format,
        Option(
            "--format",
            help="ONNX, or weights for the plain PyTorch module in gmseg/torch_network.py.",
        ),
    ],
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="OUT", help="[default: NAME.onnx or NAME.pt, here]"),
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Write a network for other programs, beside a JSON that says what it is."""
    from gmseg.models.export import FORMATS, export_model
    from gmseg.models.registry import load_model

    model = load_model(name)
    output = output or Path(f"{model.name}{FORMATS[file_format.value][1]}")
    for file in export_model(model, output, file_format.value, overwrite=overwrite):
        print(file)
    return 0


COMMANDS = {
    "list": models_list,
    "download": models_download,
    "import": models_import,
    "prepare": models_prepare,
    "export": models_export,
}
"""What follows ``gmseg models``, in the order of the help."""
