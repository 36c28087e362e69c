"""Names of the output files of a scan, and checks of where they are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmseg.errors import InputError
from gmseg.io.files import check_input, check_output
from gmseg.io.image import description_of, is_result
from gmseg.io.image_file import open_image

if TYPE_CHECKING:
    from gmseg.batch.jobs import Job


TISSUES = {"gm": "gmseg", "wm": "wmseg", "cord": "seg"}
"""Tissues, and the suffixes of their masks, which are those of the Spinal Cord Toolbox."""


def output_files(
    scan: Path,
    output: Path | None = None,
    out_dir: Path | None = None,
    *,
    soft: bool = False,
    spread: bool = False,
    tissues: Collection[str] = ("gm",),
) -> dict[str, Path]:
    """Return where the mask of a scan and the other requested images are written.

    Parameters
    ----------
    scan : pathlib.Path
        The scan.
    output : pathlib.Path, optional
        File of the mask. By default, ``_gmseg.nii.gz`` replaces the suffix of the scan.
    out_dir : pathlib.Path, optional
        Folder of the files; that of the scan by default.
    soft, spread : bool
        Whether soft segmentations, and the standard deviation over the TTA copies, are written.
    tissues : collection of {"gm", "wm", "cord"}
        Tissues to write. The GM mask is always written.

    Returns
    -------
    dict of pathlib.Path
        Files by kind, see `gmseg.inference.segmentation.TYPES`.

    Raises
    ------
    gmseg.errors.InputError
        If `output` does not end in ``.nii`` or ``.nii.gz``, or a tissue is unknown.

    Examples
    --------
    >>> files = output_files(Path("data/t2s.nii.gz"), soft=True)
    >>> [str(file) for file in files.values()]
    ['data/t2s_gmseg.nii.gz', 'data/t2s_gmsoft.nii.gz']
    >>> files = output_files(Path("t2s.nii.gz"), tissues=("gm", "wm", "cord"))
    >>> [str(file) for file in files.values()]
    ['t2s_gmseg.nii.gz', 't2s_wmseg.nii.gz', 't2s_seg.nii.gz']
    >>> files = output_files(Path("t2s.mgz"), Path("out/gm.nii"), spread=True)
    >>> [str(file) for file in files.values()]
    ['out/gm.nii', 'out/gm_gmspread.nii.gz']
    """
    if output and not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{output}: is no name of a mask; end it in .nii.gz or .nii")
    stem = re.sub(r"\.gz$", "", (output or scan).name, flags=re.IGNORECASE)
    stem = stem.removesuffix(Path(stem).suffix)
    folder = output.parent if output else out_dir or scan.parent
    if output:
        stem = stem.removesuffix("_gmseg")
    files = {"mask": output or folder / f"{stem}_gmseg.nii.gz"}
    if soft:
        files["soft"] = folder / f"{stem}_gmsoft.nii.gz"
    for tissue in dict.fromkeys(tissues):
        if tissue not in TISSUES:
            raise InputError(f"`tissues`: {tissue!r} is unknown; choose from {', '.join(TISSUES)}")
        if tissue != "gm":
            files[tissue] = folder / f"{stem}_{TISSUES[tissue]}.nii.gz"
            if soft:
                files[f"{tissue}_soft"] = folder / f"{stem}_{tissue}soft.nii.gz"
    if spread:
        files["spread"] = folder / f"{stem}_gmspread.nii.gz"
    return files


def split_results(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the scans among files, and the results of gmseg, which are no scans.

    Results are recognised by their description, and by their names where the scan that they
    belong to is also among the files. Files that cannot be read count as scans.

    Examples
    --------
    >>> scans, results = split_results([Path("a.nii.gz"), Path("a_gmseg.nii.gz")])
    >>> [path.name for path in results]
    ['a_gmseg.nii.gz']
    """
    named = {
        file.absolute()
        for path in paths
        for file in output_files(path, soft=True, spread=True, tissues=TISSUES).values()
    }
    results = [path for path in paths if path.absolute() in named or _is_result(path)]
    return [path for path in paths if path not in results], results


def _is_result(path: Path) -> bool:
    try:
        return is_result(open_image(path))
    except (InputError, OSError):
        return False


def cord_of_same_run(mask: Path) -> Path | None:
    """Return the cord mask that gmseg wrote beside a GM mask in the same run, or None.

    Parameters
    ----------
    mask : pathlib.Path
        GM mask, such as ``t2s_gmseg.nii.gz``; its cord mask is ``t2s_seg.nii.gz``. Both headers
        must have the same description by gmseg, because other programs write such files as well.

    Examples
    --------
    >>> cord_of_same_run(Path("no-such-folder/t2s_gmseg.nii.gz")) is None
    True
    """
    if not mask.name.endswith((".nii", ".nii.gz")):
        return None
    cord = output_files(mask, mask, tissues=("cord",))["cord"]
    if not cord.is_file():
        return None
    try:
        made_from = description_of(mask)
        same = made_from.startswith("gmseg ") and description_of(cord) == made_from
    except InputError:  # one of them is no image
        return None
    return cord if same else None


def check_job(
    job: Job,
    *,
    scans: Collection[Path],
    taken: Mapping[Path, str],
    inputs: Collection[Path],
    out_dir: Path | None,
    overwrite: bool,
) -> None:
    """Check that the scan of a job can be read, and that its files may be written.

    Parameters
    ----------
    job : Job
        The job.
    scans : collection of pathlib.Path
        All scans of the call, resolved.
    taken : mapping
        Files, resolved, that other jobs write, and names of these jobs.
    inputs : collection of pathlib.Path
        Other files that must not be replaced.
    out_dir : pathlib.Path or None
        Folder that is created if missing.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    gmseg.errors.InputError
        If one of them may not.
    """
    check_input(job.scan)
    open_image(job.scan)  # a file that is no image takes no names from those that are
    for file in job.files.values():
        if file.resolve() in scans:
            raise InputError(f"{file}: is the input itself; choose another output")
        if file.resolve() in taken:
            raise InputError(
                f"{job.scan}: has the same output {file} as {taken[file.resolve()]}; "
                f"choose another name, or segment the two in separate calls"
            )
        if out_dir is None or out_dir.exists():
            check_output(file, inputs=inputs, overwrite=overwrite)


def check_summary(
    summary: Path,
    *,
    scans: Collection[Path],
    inputs: Collection[Path],
    out_dir: Path | None,
    overwrite: bool,
) -> None:
    """Check that the summary may be written; see `check_job`."""
    if summary.resolve() in scans:
        raise InputError(f"{summary}: is the input itself; choose another output")
    if out_dir is None or out_dir.exists() or summary.parent != out_dir:
        check_output(summary, inputs=inputs, overwrite=overwrite)
