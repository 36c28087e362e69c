"""The command ``gmseg measure``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gmseg.cli.console import advance, note, progress_bar, say, warn
from gmseg.cli.options import INPUT, METHOD, OUTPUT, Label, Overwrite
from gmseg.errors import InputError

_TITLES = {
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
"""Columns that are printed."""
_Mask = Annotated[Path, Argument(metavar="MASK", help="A GM mask, from gmseg or drawn by a rater.")]
_Soft = Annotated[
    Path | None,
    Option(
        metavar="SOFT",
        help="Soft segmentation (SCAN_gmsoft.nii.gz): adds areas that weight every voxel by its "
        "GM probability.",
        rich_help_panel=INPUT,
    ),
]
_Cord = Annotated[
    Path | None,
    Option(
        metavar="MASK",
        help="Cord mask: adds cord and white-matter (WM) area and the GM/cord ratio, and gives "
        "the axes of the cord. By default the one that gmseg segment --tissues wrote with MASK.",
        rich_help_panel=INPUT,
    ),
]
_Levels = Annotated[
    Path | None,
    Option(
        metavar="LABELS",
        help="Label image of vertebral levels over the cord: adds means per level.",
        rich_help_panel=INPUT,
    ),
]
_CorrectObliqueness = Annotated[
    bool,
    Option(
        "--correct-obliqueness",
        help="Multiply areas by the cosine of the angle between the cord and the slice normal.",
        rich_help_panel=METHOD,
    ),
]
_Tsv = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Write all numbers with a row per slice, per level and for the scan, and a JSON file "
        "next to it that describes the columns.",
        rich_help_panel=OUTPUT,
    ),
]


def measure(
    mask: _Mask,
    soft: _Soft = None,
    cord: _Cord = None,
    levels: _Levels = None,
    label: Label = None,
    correct_obliqueness: _CorrectObliqueness = False,
    tsv: _Tsv = None,
    overwrite: Overwrite = False,
) -> int:
    """Measure areas and volume of a gray-matter mask.

    Areas are in mm^2, per slice and per vertebral level, of the whole GM and of its horns. Left,
    right, anterior and posterior are those of the cord, not of the image.

        gmseg measure t2s_gmseg.nii.gz --soft t2s_gmsoft.nii.gz
        gmseg measure t2s_gmseg.nii.gz --cord t2s_seg.nii.gz --tsv t2s_gmseg.tsv
    """
    from gmseg.batch.outputs import cord_of_same_run
    from gmseg.io import files, tables
    from gmseg.io.image_file import open_image
    from gmseg.morphometry.anatomy import measurement_faults
    from gmseg.morphometry.areas import COLUMNS, measure_mask

    if cord is None and (cord := cord_of_same_run(mask)):
        note(f"{cord}: is used as the cord mask, because the same run wrote it and the GM mask")
    inputs = [file for file in (mask, soft, cord, levels) if file]
    for file in inputs:
        files.check_input(file)
    if tsv:
        if tsv.suffix != ".tsv":
            raise InputError(f"{tsv}: is no name of a table; end it in .tsv")
        for file in (tsv, tables.sidecar_of(tsv)):
            files.check_output(file, inputs=inputs, overwrite=overwrite)
        tables.check_sidecar(tsv, COLUMNS)
    with progress_bar(desc=mask.name) as bar:
        rows = measure_mask(
            mask,
            soft=soft,
            cord=cord,
            levels=levels,
            label=label,
            correct_obliqueness=correct_obliqueness,
            progress=advance(bar),
        )
    if tsv:
        tables.write_table(tsv, rows, COLUMNS, overwrite=overwrite)
    say(*_as_table(rows).split("\n"))
    for fault in measurement_faults(rows, open_image(mask).affine):
        warn(f"{mask}: {fault}")
    return 0


def _as_table(rows: list[dict]) -> str:
    """Return a line per slice, per level and for the scan, and the volume."""
    titles = {name: title for name, title in _TITLES.items() if name in rows[0]}
    widths = {name: max(8, len(title)) + 2 for name, title in titles.items()}
    lines = ["mm^2      " + "".join(f"{titles[name]:>{width}}" for name, width in widths.items())]
    for row in rows:
        head = {
            "slice": f"slice {row['slice']}",
            "level": f"level {row.get('level', math.nan):g}",
            "all": "mean",
        }[row["region"]]
        cells = (f"{_cell(name, row[name]):>{width}}" for name, width in widths.items())
        lines.append(f"{head:<10}" + "".join(cells))
    total = rows[-1]
    volume = f"volume of GM {total['gm_volume_mm3']:.1f} mm^3"
    if "gm_soft_volume_mm3" in total:
        volume += f", soft {total['gm_soft_volume_mm3']:.1f} mm^3"
    return "\n".join([*lines, f"{volume}; means over {total['slices']} slices with GM"])


def _cell(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if name.endswith("ratio") else f"{value:.2f}"
