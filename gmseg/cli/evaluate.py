"""The command ``gmseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import advance, fail, progress_bar, say, warn
from gmseg.cli.options import INPUT, METHOD, OUTPUT, Overwrite
from gmseg.errors import InputError

_Prediction = Annotated[Path, Argument(metavar="PREDICTION", help="A mask, or a folder of masks.")]
_References = Annotated[
    list[Path],
    Argument(
        metavar="REFERENCE...",
        help="References on the same grid, one per rater; or folders of them, matched by name "
        "(t2s_gmseg.nii.gz and t2s_gmseg-manual.nii.gz, site1-sc01-image_gmseg.nii.gz and "
        "site1-sc01-mask-r1.nii.gz).",
    ),
]
_Label = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Value of GM in the references; needed unless they contain only 0 and 1. It is 1 in "
        "those of the GM Challenge 2016.",
        rich_help_panel=INPUT,
    ),
]
_Resample = Annotated[
    bool,
    Option(
        "--resample",
        help="Resample masks on another grid to the first reference's grid.",
        rich_help_panel=METHOD,
    ),
]
_Tsv = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Write the scores of every slice against each rater and the majority of the raters.",
        rich_help_panel=OUTPUT,
    ),
]
_Json = Annotated[
    Path | None,
    Option("--json", metavar="FILE", help="Write all scores as JSON.", rich_help_panel=OUTPUT),
]


def evaluate(
    prediction: _Prediction,
    references: _References,
    label: _Label = None,
    resample: _Resample = False,
    tsv: _Tsv = None,
    json_file: _Json = None,
    overwrite: Overwrite = False,
) -> int:
    """Compare masks with references by the GM Challenge's metrics.

    The ten metrics are computed over the whole volume and over the slices that a reference
    labels. Distances are in mm.

        gmseg evaluate t2s_gmseg.nii.gz rater1.nii.gz rater2.nii.gz
        gmseg evaluate predictions/ references/ --tsv scores.tsv
    """
    from gmseg.evaluation import score_table
    from gmseg.evaluation.evaluate import evaluate as evaluate_files
    from gmseg.evaluation.evaluate import evaluate_folders
    from gmseg.io import files

    paths = [prediction, *references]
    for output in (tsv, json_file):
        if output:
            files.check_output(output, inputs=paths, overwrite=overwrite)
    if tsv and json_file and tsv.resolve() == json_file.resolve():
        raise InputError(f"{tsv}: --tsv and --json name the same file; give two")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
    folders = {path.is_dir() for path in paths}
    if len(folders) > 1:
        raise InputError(f"{prediction}: compare a file with files, or a folder with folders")
    faults: list[str] = []
    if prediction.is_dir():
        with progress_bar(unit="scan") as bar:
            scores, faults, warnings = evaluate_folders(
                prediction, references, label=label, resample=resample, progress=advance(bar)
            )
        for message in warnings:
            warn(message)
    else:
        scores = evaluate_files(prediction, references, label=label, resample=resample)
    for fault in faults:
        fail(fault)
    if not scores.get("scans", True):
        return 2
    score_table.write_scores(scores, tsv=tsv, json_file=json_file, overwrite=overwrite)
    say(*score_table.as_table(scores).split("\n"))
    for name, reason in scores["undefined"].items():
        warn(f"{name}: {reason}")
    return 2 if faults else 0
