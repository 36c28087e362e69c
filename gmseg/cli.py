"""The command ``gmseg``: parses, calls, prints; no work of its own."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gmseg import cli_paper
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


class Standardise(StrEnum):
    """Whose mean and standard deviation are taken."""

    volume = "volume"
    training = "training"


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
        return _fail(error)
    except KeyboardInterrupt:
        print("gmseg: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    except OSError as error:
        return _fail(_told(error, "a file"))
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or argument
            return _fail(f"{error.format_message()} (see gmseg --help)")
        traceback.print_exc()
        print(
            "gmseg: this is a fault of gmseg's own; please report it with the lines above",
            file=sys.stderr,
        )
        return 1


def _fail(error) -> int:
    print(f"gmseg: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
    return 2


def _told(error, where):
    """Return an error as it is told to the user: those of the system lack a remedy."""
    if isinstance(error, OSError):
        return f"{error.filename or where}: {error.strerror or error}; choose another place or name"
    return error


def _warn(text) -> None:
    print(f"gmseg: warning: {' '.join(str(text).splitlines())}", file=sys.stderr)


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


# ---------------------------------------------------------------------------------- segment


@app.command()
def segment(
    scans: Annotated[list[Path], typer.Argument(metavar="SCAN...", help="Scans, NIfTI or any format that nibabel reads.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="The mask's file; for a single scan. [default: SCAN_gmseg.nii.gz beside the scan]")] = None,
    out_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the results; created if missing.")] = None,
    model: Annotated[str, typer.Option(metavar="NAME|FILE", help="A known model (gmseg models list), a model's JSON or weights file, or the 2017 release's .hdf5.")] = "default",
    threshold: Annotated[float | None, typer.Option(metavar="T", help="A voxel is GM where the soft segmentation is larger, 0-1. [default: the model's, 0.5]")] = None,
    standardise: Annotated[Standardise | None, typer.Option(help="By mean and standard deviation of the scan's windows, or of the training set. [default: the model's]")] = None,
    centre: Annotated[str, typer.Option(metavar="auto|image|X,Y", help="Where the 50 mm window lies: on the cord, which is looked for (auto); at the image's centre, as in the paper (image); at a place in mm in the scan's world space.")] = "auto",
    cord: Annotated[Path | None, typer.Option(metavar="MASK", help="A mask of the cord on the scan's grid: the window follows it. For a single scan.")] = None,
    within_cord: Annotated[bool, typer.Option("--within-cord", help="Nothing outside the mask of --cord is GM.")] = False,
    clean: Annotated[str, typer.Option(metavar="WAY,...", help="Clean every slice: largest keeps its largest piece, small drops pieces below 2 mm^2, holes fills them. [default: nothing]")] = "",
    volume: Annotated[int | None, typer.Option(metavar="K", help="Take volume K of a 4-D scan, counted from 0.")] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Average the volumes of a 4-D scan.")] = False,
    soft: Annotated[bool, typer.Option("--soft", help="Write the soft segmentation, too (SCAN_gmsoft.nii.gz).")] = False,
    tta: Annotated[int, typer.Option("--tta", metavar="N", min=0, max=1000, help="Average over N copies of the scan, flipped, turned, scaled: takes N times as long. Writes where they disagree, too (SCAN_gmspread.nii.gz). [default: none]")] = 0,
    seed: Annotated[int, typer.Option(metavar="S", min=0, max=2**32 - 1, help="Of --tta.")] = 0,
    summary: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write what was done and measured.")] = None,
    overwrite: Overwrite = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything looked suspicious.")] = False,
) -> int:  # fmt: skip
    """Segment the gray matter of one scan or many.

    Writes a mask (1 is GM) on each scan's own grid: t2s.nii.gz becomes t2s_gmseg.nii.gz.
    """
    from gmseg import files
    from gmseg.clean import check_ways
    from gmseg.pretrained import card_of, load_model

    chosen = load_model(model)
    where = _parse_centre(centre)
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold {threshold:g}: is not between 0 and 1")
    if volume is not None and mean:
        raise InputError("--volume and --mean exclude each other; give one")
    if output and out_dir:
        raise InputError("-o and --out-dir exclude each other; give one")
    if len(scans) > 1 and (output or cord):
        raise InputError(f"{'-o' if output else '--cord'} is for a single scan; use --out-dir")
    if output and not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{output}: name the mask .nii.gz or .nii")
    if out_dir:
        files.check_folder(out_dir)
    if cord and centre != "auto":
        raise InputError("--cord and --centre exclude each other; give one")
    if within_cord and not cord:
        raise InputError("--within-cord: give a cord mask with --cord")
    ways = tuple(filter(None, clean.split(",")))
    check_ways(ways)
    inputs = [*scans, *([cord] if cord else []), chosen.weights, card_of(chosen.weights)]
    if summary and not (out_dir and summary.parent == out_dir and not out_dir.exists()):
        files.check_output(summary, inputs=inputs, overwrite=overwrite)

    done, failed = [], 0
    taken = {summary.resolve(): "the summary"} if summary else {}
    for scan in scans:
        try:
            files.check_input(scan)
            outputs = _output_files(scan, output, out_dir, soft, tta)
            for file in outputs.values():
                if file.resolve() in taken:
                    raise InputError(
                        f"{scan}: would be written to {file}, as {taken[file.resolve()]} is; "
                        f"give another name, or scans of one name in separate calls"
                    )
                if not (out_dir and not out_dir.exists()):
                    files.check_output(file, inputs=inputs, overwrite=overwrite)
            entry = _segment_with_bar(
                scan, outputs, chosen, threshold=threshold, standardise=standardise, centre=where,
                cord=cord, within_cord=within_cord, clean=ways, volume=volume, mean=mean, tta=tta,
                seed=seed,
            )  # fmt: skip
        except (InputError, OSError) as error:
            _fail(_told(error, scan))
            failed += 1
            continue
        taken |= {file.resolve(): str(scan) for file in outputs.values()}
        done.append(entry | {"mask": str(outputs["mask"])})
        areas = [area for area in entry["area_mm2"] if area > 0]
        print(
            f"{outputs['mask']}  GM in {len(areas)} of {len(entry['area_mm2'])} slices, "
            f"mean area {sum(areas) / max(len(areas), 1):.1f} mm^2, "
            f"{entry['seconds']:.1f} s{_told_where(entry['window'])}"
        )
        for flag in entry["flags"]:
            _warn(f"{scan}: {flag}")
    if summary and done:
        files.write_text(summary, json.dumps({"scans": done}, indent=2) + "\n")
    if failed:
        return 2
    return 3 if strict and any(entry["flags"] for entry in done) else 0


def _told_where(window: str) -> str:
    """Return how the cord was found, where that is worth a word."""
    return f", window {window}" if window in ("moved to the cord", "found by a search") else ""


def _parse_centre(text: str):
    if text in ("auto", "image"):
        return text
    try:
        x_mm, y_mm = (float(part) for part in text.split(","))
        if not (abs(x_mm) < 1e6 and abs(y_mm) < 1e6):  # nor NaN
            raise ValueError
    except ValueError:
        raise InputError(
            f"--centre {text}: give auto, image, or X,Y in mm such as --centre 2.5,-31"
        ) from None
    return x_mm, y_mm


def _output_files(
    scan: Path, output: Path | None, out_dir: Path | None, soft: bool, tta: int
) -> dict[str, Path]:
    """Return where the mask is written, and what else is wanted."""
    name = output.name if output else scan.name
    stem = name.removesuffix(".gz")
    stem = stem[: -len(Path(stem).suffix)] if Path(stem).suffix else stem
    folder = output.parent if output else out_dir or scan.parent
    if output:
        stem = stem.removesuffix("_gmseg")
    files = {"mask": output or folder / f"{stem}_gmseg.nii.gz"}
    if soft:
        files["soft"] = folder / f"{stem}_gmsoft.nii.gz"
    if tta > 1:
        files["spread"] = folder / f"{stem}_gmspread.nii.gz"
    return files


def _segment_with_bar(scan: Path, files: dict, model, **choices) -> dict:
    """Segment with a bar over the slices, where there is a terminal to show it."""
    from tqdm import tqdm

    from gmseg.pipeline import segment_files

    with tqdm(desc=scan.name, unit="slice", leave=False, disable=None) as bar:
        return segment_files(scan, files, model, progress=_moves(bar), **choices)


def _moves(bar):
    """Return what moves a bar to so many of so many."""

    def progress(count: int, total: int) -> None:
        bar.total = total
        bar.update(count - bar.n)

    return progress


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
                prediction, references, label=label, resample=resample, progress=_moves(bar)
            )
        for warning in warnings:
            _warn(warning)
    else:
        found = run(prediction, references, label=label, resample=resample)
    for fault in faults:
        _fail(fault)
    if not found.get("scans", True):
        return 2
    for file, text in ((tsv, scorecard.as_tsv), (json_file, scorecard.as_json)):
        if file:
            files.write_text(file, text(found))
    print(scorecard.as_table(found))
    for name, why in found["undefined"].items():
        _warn(f"{name}: {why}")
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
