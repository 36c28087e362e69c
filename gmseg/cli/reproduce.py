"""The command ``gmseg reproduce``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import note, say, stage_bars
from gmseg.cli.options import METHOD, OUTPUT, Protocol, Seed

_Challenge = Annotated[
    Path,
    Argument(
        metavar="CHALLENGE_DIR",
        help="Folder of the GM Challenge (siteN-scNN-image.nii.gz, -mask-rN.nii.gz).",
    ),
]
_Out = Annotated[
    Path,
    Option(
        metavar="DIR", help="Folder of all results; created if missing.", rich_help_panel=OUTPUT
    ),
]
_Model = Annotated[
    str | None,
    Option(
        metavar="NAME|FILE",
        help="Use this model, such as published or your own, instead of training one.",
        rich_help_panel=METHOD,
    ),
]
_Split = Annotated[
    str | None,
    Option(
        metavar="SUBJECT,...|challenge|all",
        show_default="challenge",
        help="Subjects to hold out and evaluate; challenge: two of every site; all: every "
        "subject, training subjects included.",
        rich_help_panel=METHOD,
    ),
]
_Resume = Annotated[
    bool,
    Option(
        "--resume",
        help="Continue an interrupted run of the same call in DIR.",
        rich_help_panel=OUTPUT,
    ),
]


def reproduce(
    challenge: _Challenge,
    out: _Out,
    model: _Model = None,
    protocol: Protocol = "paper2018",
    split: _Split = None,
    resume: _Resume = False,
    seed: Seed = 0,
) -> int:
    """Reproduce the paper: train, segment, evaluate, figures.

    Writes DIR/results.md, a table that compares the published values with ours; DIR/scores.tsv and
    .json, all metrics against every rater; DIR/figures; DIR/masks, also of subjects without
    references; and DIR/training, the model. Masks are thresholded as in the paper: 0.999 on the
    working grid. The training of the paper takes days on a CPU.

        gmseg reproduce CHALLENGE_DIR --out reproduced
        gmseg reproduce CHALLENGE_DIR --model published --out reproduced
    """
    from gmseg.paper.published import as_text
    from gmseg.paper.reproduce import reproduce as run

    choices = ["--model", Path(model).name] if model else ["--protocol", Path(protocol).name]
    choices += ["--split", split] if split else []
    choices += [] if model else ["--seed", str(seed)]
    with stage_bars() as progress:
        results = run(
            challenge,
            out,
            model=model,
            protocol=protocol,
            split=split,
            seed=seed,
            resume=resume,
            command=shlex.join(["gmseg", "reproduce", challenge.name, *choices, "--out", "DIR"]),
            describe=note,
            progress=progress,
        )
    say(*as_text(results).split("\n"))
    say(f"{out / 'results.md'}  {out / 'figures' / 'figures.md'}")
    return 0
