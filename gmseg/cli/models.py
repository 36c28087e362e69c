"""The commands ``gmseg models``."""

from __future__ import annotations

import textwrap
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from gmseg.cli.commands import SETTINGS, Command, Group
from gmseg.cli.console import say
from gmseg.cli.options import Overwrite
from gmseg.errors import InputError

app = typer.Typer(cls=Group, help="List, download, import and export models.", **SETTINGS)


class Format(StrEnum):
    """Format of an exported network."""

    onnx = "onnx"
    torch = "torch"


_ReleaseName = Annotated[
    str, Argument(metavar="NAME", help="published: the authors' weights released in 2017.")
]
_ReleaseFile = Annotated[
    Path,
    Argument(
        metavar="FILE",
        help="challenge_model.hdf5, with the JSON of mean and standard deviation next to it.",
    ),
]
_ImportName = Annotated[
    str | None,
    Option(metavar="NAME", show_default="published, or the file's name", help="Name of the model."),
]
_Known = Annotated[
    str, Argument(metavar="NAME|FILE", help="A known model, or the file of a model.")
]
_Format = Annotated[
    Format,
    Option(
        "--format",
        metavar="onnx|torch",
        help="ONNX, or weights for the PyTorch module in gmseg/models/torch_network.py.",
    ),
]
_Output = Annotated[
    Path | None,
    Option(
        "-o",
        "--output",
        metavar="OUT",
        show_default="NAME.onnx or NAME.pt in this folder",
        help="File to write; its description is written next to it as JSON.",
    ),
]


@app.command("list", cls=Command)
def list_known() -> int:
    """List the known models."""
    from gmseg.models.registry import DOWNLOADS, list_models, load_model

    known = list_models()
    for name in known:
        try:
            model = load_model(name)
        except InputError as error:
            say(f"{name:12} cannot be used: {error}")
            continue
        trained_on = textwrap.shorten(model.trained_on, 100, placeholder=" ...")
        kind = model.network.get("kind") or f"{model.network.get('filters', 32)} filters"
        say(f"{name:12} {kind}  trained on: {trained_on}")
    for name in DOWNLOADS:
        if name not in known:
            say(f"{name:12} not installed; get it with gmseg models download {name}")
    return 0


@app.command("download", cls=Command)
def download(name: _ReleaseName) -> int:
    """Download a model from its authors, and verify it.

    gmseg models download published
    """
    from gmseg.models.download import download as download_model

    say(f"{download_model(name).weights}  segment with --model {name}")
    return 0


@app.command("import", cls=Command)
def import_file(file: _ReleaseFile, name: _ImportName = None, overwrite: Overwrite = False) -> int:
    """Import a weights file of the 2017 release (32 or 64 filters).

    gmseg models import challenge_model.hdf5 --name mine
    """
    from gmseg.models.download import import_release

    model = import_release(file, name=name, overwrite=overwrite)
    say(f"{model.weights}  segment with --model {model.name}")
    return 0


@app.command("export", cls=Command)
def export(
    name: _Known, file_format: _Format, output: _Output = None, overwrite: Overwrite = False
) -> int:
    """Write a network for other programs.

    gmseg models export default --format onnx
    gmseg models export published --format torch -o published.pt
    """
    from gmseg.models.export import FORMATS, export_model
    from gmseg.models.registry import load_model

    model = load_model(name)
    output = output or Path(f"{model.name}{FORMATS[file_format.value][1]}")
    for file in export_model(model, output, file_format.value, overwrite=overwrite):
        say(file)
    return 0
