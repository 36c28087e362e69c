"""The command ``gmseg train``."""

from __future__ import annotations

import shlex
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import long_progress_bar, note, say
from gmseg.cli.options import METHOD, OUTPUT, Protocol, Seed


class Precision(StrEnum):
    """Precision of convolutions in training."""

    float32 = "float32"
    bf16 = "bf16"


_Dataset = Annotated[
    list[Path],
    Argument(
        metavar="DATASET...",
        help="GM Challenge folders (siteN-scNN-image.nii.gz, -mask-rN.nii.gz), or BIDS folders "
        "with *_gmseg-manual.nii.gz masks under derivatives/labels.",
    ),
]
_Out = Annotated[
    Path,
    Option(
        metavar="DIR",
        help="Folder of the model, the log and the checkpoint.",
        rich_help_panel=OUTPUT,
    ),
]
_Split = Annotated[
    str | None,
    Option(
        metavar="SUBJECT,...|challenge|all",
        help="Subjects to hold out for validation; challenge: two of every site, which is the "
        "default for GM Challenge folders; all: none, train on all subjects.",
        rich_help_panel=METHOD,
    ),
]
_Start = Annotated[
    str | None,
    Option(
        "--from",
        metavar="MODEL",
        show_default="random weights",
        help="Start from the weights of a model.",
        rich_help_panel=METHOD,
    ),
]
_Template = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Folder with *_gm.nii.gz and *_wm.nii.gz of a template, PAM50 or AMU7T. Its cross-"
        "sections replace some of the cords, as the protocol says.",
        rich_help_panel=METHOD,
    ),
]
_EarlyStop = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="Stop after N validations without a better Dice, and keep the best weights.",
        rich_help_panel=METHOD,
    ),
]
_Precision = Annotated[
    Precision,
    Option(
        help="Precision of convolutions in training: bf16 (bfloat16) is meant for graphics cards.",
        rich_help_panel=METHOD,
    ),
]
_TensorBoard = Annotated[
    bool,
    Option(
        "--tensorboard",
        help="Also write DIR/tensorboard (pip install tensorboard).",
        rich_help_panel=OUTPUT,
    ),
]
_Resume = Annotated[
    bool, Option("--resume", help="Continue from the checkpoint in DIR.", rich_help_panel=OUTPUT)
]


def train(
    dataset: _Dataset,
    out: _Out,
    protocol: Protocol = "default",
    split: _Split = None,
    start: _Start = None,
    template: _Template = None,
    early_stop: _EarlyStop = None,
    tensorboard: _TensorBoard = False,
    resume: _Resume = False,
    seed: Seed = 0,
    precision: _Precision = Precision.float32,
) -> int:
    """Train a network on your own masks.

    Writes DIR/model.weights.h5 and DIR/model.json, to segment with --model DIR/model.json;
    log.csv, curves.png, and a checkpoint for --resume.

        gmseg train BIDS_DIR --from default --split 01,02 --out DIR
        gmseg train CHALLENGE_DIR --protocol paper2018 --out DIR
    """
    from gmseg.io.resources import commit
    from gmseg.training.train import train as run

    choices = ["--protocol", protocol, "--seed", str(seed)]
    choices += ["--split", split] if split else []
    choices += ["--from", Path(start).name] if start else []
    choices += ["--template", template.name] if template else []
    choices += ["--early-stop", str(early_stop)] if early_stop else []
    choices += ["--precision", precision] if precision != Precision.float32 else []
    folders = [folder.name for folder in dataset]
    with long_progress_bar(unit="step", smoothing=0.05) as bar:
        trained = run(
            dataset,
            out,
            protocol=protocol,
            split=split,
            start=start,
            template=template,
            early_stop=early_stop,
            tensorboard=tensorboard,
            seed=seed,
            precision=precision.value,
            resume=resume,
            command=shlex.join(["gmseg", "train", *folders, *choices, "--out", "DIR"]),
            commit=commit(),
            describe=note,
            progress=partial(_show_step, bar),
        )
    say(f"{trained.weights}  {trained.scores[0]['value'] if trained.scores else ''}".rstrip())
    return 0


def _show_step(bar, state: dict) -> None:
    """Show the state of the training on a bar."""
    if bar.total is None:  # neither the preparation nor steps before --resume took this time
        bar.total = state["steps"]
        bar.initial = bar.n = bar.last_print_n = state["step"] - 1
        bar.unpause()
    bar.set_postfix_str(
        f"loss {state['loss']:.3f}, validation Dice {state['dice']:.3f}, "
        f"waiting {state['waiting']:.0%}",
        refresh=False,
    )
    bar.update(state["step"] - bar.n)
