"""The command ``gmseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gmseg.cli import console
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option
from gmseg.errors import InputError


def evaluate(
    prediction: Annotated[
        Path, Argument(metavar="PREDICTION", help="A mask, or a folder of masks.")
    ],
    references: Annotated[
        list[Path],
        Argument(
            metavar="REFERENCE...",
            help="The references on the same grid, one per rater; or folders of them, whose names match the predictions' (t2s_gmseg.nii.gz and t2s_gmseg-manual.nii.gz, site1-sc01-image_gmseg.nii.gz and site1-sc01-mask-r1.nii.gz).",
        ),
    ],
    label: Annotated[
        int | None,
        Option(
            metavar="N",
            help="The value of gray matter in the references, 1 in the GM Challenge's. [default: they hold nothing but 0 and 1]",
        ),
    ] = None,
    resample: Annotated[
        bool,
        Option("--resample", help="Bring what lies on another grid onto the first reference's."),
    ] = False,
    tsv: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write the scores against each rater, and the raters' majority, of every slice, too.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, Option("--json", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Compare masks with references by the ten metrics of the GM Challenge.

    Distances are in mm. Over the whole volume, and over the slices that a reference labels.
    """
    from tqdm import tqdm

    from gmseg.evaluation import score_table
    from gmseg.evaluation.evaluate import evaluate as run
    from gmseg.evaluation.evaluate import evaluate_folders
    from gmseg.io import files

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
                prediction, references, label=label, resample=resample, progress=console.moves(bar)
            )
        for warning in warnings:
            console.warn(warning)
    else:
        found = run(prediction, references, label=label, resample=resample)
    for fault in faults:
        console.fail(fault)
    if not found.get("scans", True):
        return 2
    score_table.write_scores(found, tsv=tsv, json_file=json_file)
    print(score_table.as_table(found))
    for name, why in found["undefined"].items():
        console.warn(f"{name}: {why}")
    return 2 if faults else 0
