"""The command ``gmseg train``."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from gmseg.cli.options import Argument, Option


def train(
    dataset: Annotated[
        list[Path],
        Argument(
            metavar="DATASET...",
            help="GM Challenge folders (siteN-scNN-image.nii.gz, -mask-rN.nii.gz), or BIDS folders with *_gmseg-manual.nii.gz masks under derivatives/labels.",
        ),
    ],
    out: Annotated[
        Path, Option(metavar="DIR", help="Folder for the model, the log and the checkpoint.")
    ],
    protocol: Annotated[
        str,
        Option(
            metavar="NAME|FILE.toml",
            help="How to train: default, made for few scans and to go on from a model (--from default); paper2018, the paper's on the GM Challenge (32,000 steps, days on a CPU); exvivo, the paper's at 0.1 mm; or your own.",
        ),
    ] = "default",
    split: Annotated[
        str | None,
        Option(
            metavar="PERSON,...|challenge|all",
            help="Subjects to validate on and never train on; two of every site of the challenge; all trains on everybody. [default: challenge for its folders]",
        ),
    ] = None,
    start: Annotated[
        str | None,
        Option(
            "--from", metavar="MODEL", help="Begin with a model's weights. [default: from scratch]"
        ),
    ] = None,
    template: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Folder with *_gm.nii.gz and *_wm.nii.gz of a template, PAM50 or AMU7T: its cross-sections are painted over some of the cords, as the protocol says.",
        ),
    ] = None,
    early_stop: Annotated[
        int | None,
        Option(
            metavar="N",
            min=1,
            help="Stop after N validations without a better Dice, and keep the best weights.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Write DIR/tensorboard, too (pip install tensorboard).")
    ] = False,
    resume: Annotated[bool, Option("--resume", help="Go on from the checkpoint in DIR.")] = False,
    seed: Annotated[int, Option(metavar="S", min=0, max=2**32 - 1)] = 0,
) -> int:
    """Train a network on your own masks.

    Writes DIR/model.weights.h5 and DIR/model.json: segment with --model DIR/model.json.
    Beside them log.csv, curves.png, and a checkpoint from which --resume goes on.
    """
    from tqdm import tqdm

    from gmseg.io.resources import commit
    from gmseg.training.train import train as run

    seldom = 0.1 if sys.stderr.isatty() else 60  # seconds: in a log file, a line a minute
    with tqdm(unit="step", smoothing=0.05, mininterval=seldom, maxinterval=seldom) as bar:

        def progress(state: dict) -> None:
            if bar.total is None:  # neither preparing nor steps before --resume took its time
                bar.total = state["steps"]
                bar.initial = bar.n = bar.last_print_n = state["step"] - 1
                bar.unpause()
            bar.set_postfix_str(
                f"loss {state['loss']:.3f}, validation Dice {state['dice']:.3f}, "
                f"waiting {state['waiting']:.0%}",
                refresh=False,
            )
            bar.update(state["step"] - bar.n)

        choices = ["--protocol", protocol, "--seed", str(seed)]
        choices += ["--split", split] if split else []
        choices += ["--from", Path(start).name] if start else []
        choices += ["--template", template.name] if template else []
        choices += ["--early-stop", str(early_stop)] if early_stop else []
        folders = [folder.name for folder in dataset]
        command = shlex.join(["gmseg", "train", *folders, *choices, "--out", "DIR"])
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
            resume=resume,
            command=command,
            commit=commit(),
            describe=partial(tqdm.write, file=sys.stderr),
            progress=progress,
        )
    print(f"{trained.weights}  {trained.scores[0]['value'] if trained.scores else ''}".rstrip())
    return 0
