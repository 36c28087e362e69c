"""The commands ``gmseg models``."""

from __future__ import annotations

import textwrap
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from gmseg.cli.commands import SETTINGS, Group, add_command
from gmseg.cli.console import advance, progress_bar, say
from gmseg.cli.options import OUTPUT, Overwrite
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
    Option(
        metavar="NAME",
        show_default="published, or the file's name",
        help="Name of the model.",
        rich_help_panel=OUTPUT,
    ),
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
        rich_help_panel=OUTPUT,
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
        rich_help_panel=OUTPUT,
    ),
]


@add_command(app, "list")
def list_known() -> int:
    """List the models, and what each is for.

    Says how good and how fast each model is, its licence, and what it was trained on. Models that
    are not installed come last, with the way to get them.

        gmseg models list
        gmseg segment t2s.nii.gz --model published
    """
    from gmseg.models.download import by_hand
    from gmseg.models.registry import list_models, load_model
    from gmseg.models.release2017 import RELEASES

    known = list_models()
    for name in known:
        try:
            say(name, *_as_rows(_advice(load_model(name))))
        except InputError as error:
            say(name, f"  cannot be used: {error}")
    for name, release in RELEASES.items():
        if name not in known:
            get = f"gmseg models download {name}" if release.files else by_hand(name)
            advice = {**release.about, "trained on": release.trained_on, "get it": get}
            say(f"{name} (not installed)", *_as_rows(advice))
    return 0


def _advice(model) -> dict[str, str]:
    """Return what a model's card says to a user who chooses a model."""
    from gmseg.io.resources import bundled
    from gmseg.models.release2017 import RELEASES

    advice = {"use": "GM, WM and cord" if model.has_cord else "GM"}
    if model.scores:
        best = model.scores[-1]
        advice["quality"] = f"Dice {best.get('value')}, {best.get('on')}"
    if model.weights.parent == bundled("models"):
        advice["licence"] = "MIT, as gmseg"
    release = RELEASES.get(model.name)
    advice |= model.about or (release.about if release else {})
    return advice | {"trained on": textwrap.shorten(model.trained_on, 140, placeholder=" ...")}


def _as_rows(advice: dict[str, str]) -> list[str]:
    return [f"  {title:10}  {text}" for title, text in advice.items()]


@add_command(app, "download")
def download(name: _ReleaseName) -> int:
    """Download a model from its authors, and verify it.

    Later commands find the model by its name.

        gmseg models download published
        gmseg segment t2s.nii.gz --model published
    """
    from gmseg.models.download import download as download_model

    with progress_bar(desc=name, unit="B", unit_scale=True) as bar:
        model = download_model(name, progress=advance(bar))
    say(f"{model.weights}  segment with --model {name}")
    return 0


@add_command(app, "import")
def import_file(file: _ReleaseFile, name: _ImportName = None, overwrite: Overwrite = False) -> int:
    """Import a weights file of the 2017 release (32 or 64 filters).

    Later commands find the model by its name.

        gmseg models import challenge_model.hdf5
        gmseg models import large_model.hdf5 --name large
    """
    from gmseg.models.download import import_release

    model = import_release(file, name=name, overwrite=overwrite)
    say(f"{model.weights}  segment with --model {model.name}")
    return 0


@add_command(app, "export")
def export(
    name: _Known, file_format: _Format, output: _Output = None, overwrite: Overwrite = False
) -> int:
    """Write a network for other programs.

    ONNX runs in most frameworks; torch writes weights for the PyTorch module of gmseg.

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
