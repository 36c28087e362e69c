"""The command ``gmseg measure``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from gmseg.cli.console import moves
from gmseg.cli.models import Overwrite
from gmseg.cli.options import Argument, Option
from gmseg.errors import InputError

_SHOWN = {
    "gm_area_mm2": "GM",
    "gm_left_area_mm2": "left",
    "gm_right_area_mm2": "right",
    "gm_anterior_area_mm2": "anterior",
    "gm_posterior_area_mm2": "posterior",
    "gm_soft_area_mm2": "GM soft",
    "cord_area_mm2": "cord",
    "wm_area_mm2": "WM",
    "gm_cord_ratio": "GM/cord",
}


def measure(
    mask: Annotated[
        Path, Argument(metavar="MASK", help="A gray-matter mask, from gmseg or drawn.")
    ],
    soft: Annotated[
        Path | None,
        Option(
            metavar="SOFT",
            help="The soft segmentation (SCAN_gmsoft.nii.gz): areas from it count every voxel by its share.",
        ),
    ] = None,
    cord: Annotated[
        Path | None,
        Option(
            metavar="MASK",
            help="A mask of the cord: cord and white-matter area, GM/cord ratio; the cord's axes are found on it, too.",
        ),
    ] = None,
    levels: Annotated[
        Path | None,
        Option(
            metavar="LABELS",
            help="Vertebral levels as whole numbers that fill the cord: means per level.",
        ),
    ] = None,
    label: Annotated[
        int | None,
        Option(
            metavar="N",
            help="The value of gray matter in the mask. [default: it holds nothing but 0 and 1]",
        ),
    ] = None,
    correct_obliqueness: Annotated[
        bool,
        Option(
            "--correct-obliqueness",
            help="Multiply areas by the cosine of the angle between cord and slices. [default: areas as scanned]",
        ),
    ] = False,
    tsv: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write every number, horns apart, a row per slice, per level and for all; and FILE.json, which tells the columns and units.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Measure a gray-matter mask: areas per slice and level, horns apart, volume.

    Left, right, anterior and posterior are the cord's own, not the image's. Areas in mm^2.
    """
    from tqdm import tqdm

    from gmseg.io import files, tables
    from gmseg.morphometry.areas import COLUMNS, measure_mask

    inputs = [file for file in (mask, soft, cord, levels) if file]
    for file in inputs:
        files.check_input(file)
    if tsv:
        if tsv.suffix != ".tsv":
            raise InputError(f"{tsv}: name the table .tsv")
        for file in (tsv, tables.sidecar_of(tsv)):
            files.check_output(file, inputs=inputs, overwrite=overwrite)
        tables.check_sidecar(tsv, COLUMNS)
    with tqdm(desc=mask.name, leave=False, disable=None) as bar:  # a slice takes two steps
        rows = measure_mask(
            mask,
            soft=soft,
            cord=cord,
            levels=levels,
            label=label,
            correct_obliqueness=correct_obliqueness,
            progress=moves(bar),
        )
    if tsv:
        tables.write_table(tsv, rows, COLUMNS)
    print(_as_table(rows))
    return 0


def _as_table(rows: list[dict]) -> str:
    """Return the areas for the terminal, a line per slice, level and for all, and the volume."""
    shown = {name: title for name, title in _SHOWN.items() if name in rows[0]}
    wide = {name: max(8, len(title)) + 2 for name, title in shown.items()}
    lines = ["mm^2      " + "".join(f"{title:>{wide[name]}}" for name, title in shown.items())]
    for row in rows:
        head = {
            "slice": f"slice {row['slice']}",
            "level": f"level {row.get('level', math.nan):g}",
            "all": "mean",
        }[row["region"]]
        cells = (
            "-"
            if not math.isfinite(row[name])
            else f"{row[name]:.3f}"
            if name.endswith("ratio")
            else f"{row[name]:.2f}"
            for name in shown
        )
        lines.append(
            f"{head:<10}"
            + "".join(f"{text:>{wide[name]}}" for text, name in zip(cells, shown, strict=True))
        )
    every = rows[-1]
    volume = f"volume of GM {every['gm_volume_mm3']:.1f} mm^3"
    if "gm_soft_volume_mm3" in every:
        volume += f", soft {every['gm_soft_volume_mm3']:.1f} mm^3"
    return "\n".join([*lines, f"{volume}; means over {every['slices']} slices with GM"])
