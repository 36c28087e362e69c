"""The command ``gmseg``: parses, calls, prints; no work of its own."""

from __future__ import annotations

import shlex
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gmseg import cli_bids, cli_measure, cli_movie, cli_paper, cli_report, cli_segment, messages
from gmseg.cli_models import Overwrite, models_app
from gmseg.errors import InputError

app = typer.Typer(
    name="gmseg",
    help="Segment the spinal cord's gray matter (GM) in axial T2*-weighted MRI.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 done, 2 the input is at fault, 3 flags in strict mode, 1 ours."""
    for stream in (sys.stdout, sys.stderr):
        # a file name may hold what the terminal's encoding does not
        stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    try:
        return app(args, prog_name="gmseg", standalone_mode=False) or 0
    except InputError as error:
        return messages.fail(error)
    except KeyboardInterrupt:
        print("gmseg: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    except OSError as error:
        return messages.fail(messages.told(error, "a file"))
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or argument
            return messages.fail(f"{error.format_message()} (see gmseg --help)")
        traceback.print_exc()
        return messages.own_fault()


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"gmseg {metadata.version('gmseg')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


app.command()(cli_segment.segment)
app.command()(cli_measure.measure)
app.command()(cli_report.report)
app.command()(cli_movie.movie)
app.command(cls=cli_bids.BidsCommand)(cli_bids.bids)


# --------------------------------------------------------------------------------- evaluate


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION", help="A mask, or a folder of masks.")],
    references: Annotated[list[Path], typer.Argument(metavar="REFERENCE...", help="The references on the same grid, one per rater; or folders of them, whose names match the predictions' (t2s_gmseg.nii.gz and t2s_gmseg-manual.nii.gz, site1-sc01-image_gmseg.nii.gz and site1-sc01-mask-r1.nii.gz).")],
    label: Annotated[int | None, typer.Option(metavar="N", help="The value of gray matter in the references, 1 in the GM Challenge's. [default: they hold nothing but 0 and 1]")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Bring what lies on another grid onto the first reference's.")] = False,
    tsv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores against each rater, and the raters' majority, of every slice, too.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    overwrite: Overwrite = False,
) -> int:  # fmt: skip
    """Compare masks with references by the ten metrics of the GM Challenge.

    Distances are in mm. Over the whole volume, and over the slices that a reference labels.
    """
    from tqdm import tqdm

    from gmseg import files, scorecard
    from gmseg.evaluation import evaluate as run
    from gmseg.evaluation import evaluate_folders

    for file in filter(None, (tsv, json_file)):
        files.check_output(file, inputs=[prediction, *references], overwrite=overwrite)
    if tsv and json_file and tsv.resolve() == json_file.resolve():
        raise InputError(f"{tsv}: --tsv and --json name the same file; give two")
    for path in (prediction, *references):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
    faults: list[str] = []
    folders = [path.is_dir() for path in (prediction, *references)]
    if any(folders) and not all(folders):
        raise InputError(f"{prediction}: compare a file with files, or a folder with folders")
    if all(folders):
        with tqdm(unit="scan", leave=False, disable=None) as bar:
            found, faults, warnings = evaluate_folders(
                prediction, references, label=label, resample=resample, progress=messages.moves(bar)
            )
        for warning in warnings:
            messages.warn(warning)
    else:
        found = run(prediction, references, label=label, resample=resample)
    for fault in faults:
        messages.fail(fault)
    if not found.get("scans", True):
        return 2
    for file, text in ((tsv, scorecard.as_tsv), (json_file, scorecard.as_json)):
        if file:
            files.write_text(file, text(found))
    print(scorecard.as_table(found))
    for name, why in found["undefined"].items():
        messages.warn(f"{name}: {why}")
    return 2 if faults else 0


# ------------------------------------------------------------------------------------ train


@app.command()
def train(
    dataset: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="GM Challenge folders (siteN-scNN-image.nii.gz, -mask-rN.nii.gz), or BIDS folders with *_gmseg-manual.nii.gz masks under derivatives/labels.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model, the log and the checkpoint.")],
    protocol: Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="How to train: default, made for few scans and to go on from a model (--from default); paper2018, the paper's on the GM Challenge (32,000 steps, days on a CPU); exvivo, the paper's at 0.1 mm; or your own.")] = "default",
    split: Annotated[str | None, typer.Option(metavar="PERSON,...|challenge|all", help="Persons to validate on and never train on; two of every site of the challenge; all trains on everybody. [default: challenge for its folders]")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="MODEL", help="Begin with a model's weights. [default: from scratch]")] = None,
    template: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with *_gm.nii.gz and *_wm.nii.gz of a template, PAM50 or AMU7T: its cross-sections are painted over some of the cords, as the protocol says.")] = None,
    early_stop: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N validations without a better Dice, and keep the best weights.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write DIR/tensorboard, too (pip install tensorboard).")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in DIR.")] = False,
    seed: Annotated[int, typer.Option(metavar="S", min=0, max=2**32 - 1)] = 0,
) -> int:  # fmt: skip
    """Train a network on your own masks.

    Writes DIR/model.weights.h5 and DIR/model.json: segment with --model DIR/model.json.
    Beside them log.csv, curves.png, and a checkpoint from which --resume goes on.
    """
    from tqdm import tqdm

    from gmseg.bundled import commit
    from gmseg.train import train as run

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
            dataset, out, protocol=protocol, split=split, start=start, template=template,
            early_stop=early_stop, tensorboard=tensorboard, seed=seed, resume=resume,
            command=command, commit=commit(), describe=partial(tqdm.write, file=sys.stderr),
            progress=progress,
        )  # fmt: skip
    print(f"{trained.weights}  {trained.scores[0]['value'] if trained.scores else ''}".rstrip())
    return 0


app.command()(cli_paper.reproduce)
app.command()(cli_paper.figures)


# ------------------------------------------------------------------------- phantom and demo


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    subjects: Annotated[int, typer.Option(metavar="N", min=1, help="Per site.")] = 1,
    seed: Annotated[int, typer.Option(metavar="S", min=0, max=2**32 - 1)] = 0,
    overwrite: Overwrite = False,
) -> int:
    """Make up cord phantoms with known truth, laid out as the GM challenge's data."""
    from gmseg.phantom import write_challenge

    written = write_challenge(folder, subjects=subjects, seed=seed, overwrite=overwrite)
    print(f"{folder}  {len(written)} files")
    return 0


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option(metavar="DIR", help="Created if missing.")] = Path("gmseg-demo"),
    overwrite: Overwrite = False,
) -> int:  # fmt: skip
    """Segment the sample that travels with gmseg, and show the result."""
    from gmseg.demo import run_demo

    for line in run_demo(out_dir, overwrite=overwrite):
        print(line)
    return 0


if __name__ == "__main__":
    main()
