"""The commands that make the paper again: ``gmseg reproduce`` and ``gmseg figures``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option


def reproduce(
    challenge: Annotated[
        Path,
        Argument(
            metavar="CHALLENGE_DIR",
            help="The GM Challenge's folder (siteN-scNN-image.nii.gz, -mask-rN.nii.gz).",
        ),
    ],
    out: Annotated[Path, Option(metavar="DIR", help="Folder for everything; created if missing.")],
    model: Annotated[
        str | None,
        Option(
            metavar="NAME|FILE",
            help="Take this model instead of training one: published, or your own.",
        ),
    ] = None,
    protocol: Annotated[
        str, Option(metavar="NAME|FILE.toml", help="How to train (gmseg train --help).")
    ] = "paper2018",
    split: Annotated[
        str | None,
        Option(
            metavar="SUBJECT,...|challenge|all",
            help="Subjects to hold out and evaluate. [default: two of every site]",
        ),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on in DIR where the same call was interrupted.")
    ] = False,
    seed: Annotated[int, Option(metavar="S", min=0, max=2**32 - 1)] = 0,
) -> int:
    """Make the paper again: train, segment, evaluate against every rater, table and figures.

    Here alone the threshold is the paper's: 0.999 on the working grid. Writes DIR/results.md, the
    table beside the published one; DIR/scores.tsv and .json, every metric against every rater;
    DIR/figures; DIR/masks, those of subjects without masks as well; DIR/training, the model. The
    paper's whole training takes days on a CPU.
    """
    from gmseg.paper import published
    from gmseg.paper.reproduce import reproduce as run

    choices = ["--model", Path(model).name] if model else ["--protocol", Path(protocol).name]
    choices += ["--split", split] if split else []
    choices += [] if model else ["--seed", str(seed)]
    command = shlex.join(["gmseg", "reproduce", challenge.name, *choices, "--out", "DIR"])
    with _bars() as progress:
        results = run(
            challenge,
            out,
            model=model,
            protocol=protocol,
            split=split,
            seed=seed,
            resume=resume,
            command=command,
            describe=partial(print, file=sys.stderr),
            progress=progress,
        )
    print(published.as_text(results))
    print(f"{out / 'results.md'}  {out / 'figures' / 'figures.md'}")
    return 0


def figures(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to write; created if missing.")],
    dataset: Annotated[
        Path | None,
        Option(
            metavar="DATASET",
            help="A GM Challenge or BIDS folder for the pictures of scans. [default: made-up cords]",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Draw the paper's figures again, as PNG and PDF.

    The table and the boxes show the cross-validation on real scans that comes with gmseg; those of
    the challenge are drawn by gmseg reproduce.
    """
    from gmseg.paper.figures import PAGE, make_figures

    with _bars() as progress:
        files = make_figures(
            folder, dataset=dataset, overwrite=overwrite, progress=partial(progress, "drawing")
        )
    print(f"{folder / PAGE}  {len(files)} files")
    return 0


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows a bar for each stage of a long run, one after the other."""
    from tqdm import tqdm

    seldom = 0.1 if sys.stderr.isatty() else 60  # seconds: in a log file, a line a minute
    bars: dict[str, tqdm] = {}

    def move(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            # after a resume, what was done before took no time
            bars[stage] = tqdm(
                desc=stage, total=total, initial=done - 1, mininterval=seldom, maxinterval=seldom
            )
        bars[stage].update(done - bars[stage].n)

    try:
        yield move
    finally:
        for bar in bars.values():
            bar.close()
