"""Score predictions against references: one pair, several raters, folders of them."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from gmseg.core.geometry import slice_axis
from gmseg.errors import InputError
from gmseg.evaluation import metrics
from gmseg.evaluation.matching import match_files
from gmseg.io import image

REGIONS = ("volume", "labelled_slices")


def evaluate(prediction, references, *, label: int | None = None, resample: bool = False) -> dict:
    """Score a prediction against one reference or several raters' references.

    Parameters
    ----------
    prediction : path-like
        A mask of 0 and 1 (or of `label`).
    references : path-like or sequence of path-like
        Masks on the same grid, one per rater.
    label : int, optional
        The value of GM in the references; by default they must hold nothing but 0 and 1.
    resample : bool
        Bring what is on another grid onto the first reference's, linearly, and threshold it
        at 0.5. By default another grid is an error.

    Returns
    -------
    dict
        See `compare_raters`; ``raters`` are named by their files, ``name`` is the prediction's.

    Raises
    ------
    gmseg.errors.InputError
        If a file cannot be read, holds other labels, or lies on another grid.
    """
    files = [references] if isinstance(references, str | Path) else list(references)
    files = [Path(file) for file in files]
    if not files:
        raise InputError("there is no reference; give one at least")
    truths = [image.read_segmentation(file, label=label) for file in files]
    predicted = _read_prediction(Path(prediction), label)
    grid = truths[0]
    masks = [
        _on_grid(one, grid, file, files[0], resample)
        for one, file in zip([predicted, *truths], [Path(prediction), *files], strict=True)
    ]
    names = [file.name for file in files]
    raters = dict(zip(_distinct(files, names), masks[1:], strict=True))
    return {"name": Path(prediction).name} | compare_raters(masks[0], raters, grid.affine)


def _distinct(files: list[Path], names: list[str]) -> list[str]:
    """Return file names, or whole paths where two raters' files are called the same."""
    return names if len(set(names)) == len(names) else [str(file) for file in files]


def _read_prediction(file: Path, label: int | None) -> nib.Nifti1Image:
    """Read a prediction: 0 and 1, or, if it holds more and a label is given, that label."""
    try:
        return image.read_segmentation(file)
    except InputError:
        if label is None:
            raise
        return image.read_segmentation(file, label=label)


def _on_grid(mask, grid, file: Path, other: Path, resample: bool) -> np.ndarray:
    """Return a mask's voxels, bool, on a grid; refuse another grid unless it may be resampled."""
    shift = image.affine_difference_mm(mask.affine, grid.affine)
    if mask.shape == grid.shape and shift <= image.GRID_MM:
        return np.asarray(mask.dataobj, bool)
    if not resample:
        fault = (
            f"its shape is {mask.shape}, that of {other} {grid.shape}"
            if mask.shape != grid.shape
            else f"its affine differs from that of {other} by {shift:.3g} mm"
        )
        wrong = ""
        if mask.shape == grid.shape:  # as some masks of the challenge
            wrong = "; if a header is wrong, copy the scan's to it instead"
        raise InputError(f"{file}: {fault}; --resample brings it onto that grid{wrong}")
    soft = nib.Nifti1Image(np.asarray(mask.dataobj, np.float32), mask.affine)
    # "constant" would blank the edge voxels that rounding puts a hair outside
    moved = resample_from_to(soft, (grid.shape, grid.affine), order=1, mode="grid-constant")
    found = np.asarray(moved.dataobj) > 0.5
    if np.any(mask.dataobj) and not found.any():
        raise InputError(
            f"{file}: nothing of it is left on the grid of {other}; check that both are of one scan"
        )
    return found


# ------------------------------------------------------------------------------- comparing


def compare_raters(
    prediction: np.ndarray, references: dict[str, np.ndarray], affine: np.ndarray
) -> dict:
    """Compare a prediction with every rater's reference, and the raters with one another.

    Parameters
    ----------
    prediction : numpy.ndarray
        bool, (x, y, z).
    references : dict of str to numpy.ndarray
        By rater.
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    dict
        ``volume`` and ``labelled_slices``: the metrics of `gmseg.evaluation.metrics.METRICS`, over the
        whole volume and over the slices with reference GM, averaged over the raters as the
        authors did (paper, "Evaluation"). ``slices``: the same per slice, in plane.
        ``raters``: all this for each. ``undefined``: which metrics are not defined, and why.
        Of several raters, too, ``consensus``: against what most of them see (of two, both);
        and ``between_raters``: the raters against each other, the human ceiling, the mean over
        all pairs, each rater as the prediction and as the reference.
    """
    raters = [
        {"name": name} | compare_one(prediction, reference, affine)
        for name, reference in references.items()
    ]
    found = _mean_regions(raters) | {"slices": _mean_slices(raters), "raters": raters}
    undefined = {
        f"against {rater['name']}": _told(rater["undefined"])
        for rater in raters
        if rater["undefined"]
    }
    if len(references) > 1:
        consensus = majority(list(references.values()))
        found["consensus"] = compare_one(prediction, consensus, affine)
        if reason := found["consensus"]["undefined"]:
            undefined["against the majority"] = _told(reason)
        pairs = [
            {"name": f"{one} against {other}"}
            | compare_one(references[one], references[other], affine)
            for one, other in permutations(references, 2)
        ]
        found["between_raters"] = _mean_regions(pairs)
        undefined |= {p["name"]: _told(p["undefined"]) for p in pairs if p["undefined"]}
    return found | {"undefined": undefined}


def compare_one(prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray) -> dict:
    """Compare a prediction with one reference: over the volume, labelled slices, every slice.

    Returns
    -------
    dict
        ``volume``, ``labelled_slices``, ``slices``, and ``undefined``: for either region why
        metrics are not defined, if any are not; for single slices a text, "" if all are.
    """
    axis = slice_axis(affine)
    slices = []
    for number, scores in metrics.compare_slices(prediction, reference, affine).items():
        pair = (np.take(mask, number, axis) for mask in (prediction, reference))
        slices.append({"slice": number} | scores | {"undefined": metrics.why_undefined(*pair)})
    keep = metrics.labelled_slices(reference, axis)
    labelled = (np.compress(keep, mask, axis) for mask in (prediction, reference))
    reasons = {
        "volume": metrics.why_undefined(prediction, reference),
        "labelled_slices": metrics.why_undefined(*labelled)
        if keep.any()
        else "no slice is labelled: nothing is defined",
    }
    return {
        "volume": metrics.compare(prediction, reference, affine),
        "labelled_slices": metrics.compare_labelled(prediction, reference, affine),
        "slices": slices,
        "undefined": {region: why for region, why in reasons.items() if why},
    }


def _told(undefined: dict[str, str]) -> str:
    """Return the reasons of both regions as one text, what is the same only once."""
    if len(set(undefined.values())) == 1 and len(undefined) == 2:
        return undefined["volume"]
    return "; ".join(
        why if region == "volume" else f"over the labelled slices, {why}"
        for region, why in undefined.items()
    )


def _mean_regions(compared: list[dict]) -> dict[str, dict]:
    return {region: metrics.mean_of([one[region] for one in compared]) for region in REGIONS}


def _mean_slices(raters: list[dict]) -> list[dict]:
    by_number = defaultdict(list)
    for rater in raters:
        for scores in rater["slices"]:
            by_number[scores["slice"]].append(scores)
    found = []
    for number, scores in sorted(by_number.items()):
        reasons = dict.fromkeys(one["undefined"] for one in scores if one["undefined"])
        means = metrics.mean_of(scores)
        found.append({"slice": number} | means | {"undefined": "; ".join(reasons)})
    return found


# --------------------------------------------------------------------------------- folders


def evaluate_folders(
    predictions, references, *, label=None, resample=False, progress=None
) -> tuple[dict, list[str], list[str]]:
    """Score a folder of predictions against folders of references.

    Parameters
    ----------
    predictions : path-like
    references : sequence of path-like
    label, resample
        See `evaluate`.
    progress : callable, optional
        Called with the number of scans done and of all.

    Returns
    -------
    found : dict
        See `pool`; without any scan if none could be compared.
    faults : list of str
        Of scans that could not be compared: the others were.
    warnings : list of str
        What has no counterpart.

    Raises
    ------
    gmseg.errors.InputError
        If a folder holds no image, or nothing matches.
    """
    matched, faults, warnings = match_files(Path(predictions), [Path(f) for f in references])
    scans = {}
    for count, (name, (prediction, truths)) in enumerate(matched.items(), 1):
        try:
            scans[name] = evaluate(prediction, truths, label=label, resample=resample)
        except InputError as error:
            faults.append(str(error))
        if progress is not None:
            progress(count, len(matched))
    return pool(scans), faults, warnings


def pool(scans: dict[str, dict]) -> dict:
    """Put the scores of several scans together.

    Parameters
    ----------
    scans : dict of str to dict
        Name to what `compare_raters` returned.

    Returns
    -------
    dict
        ``volume`` and ``labelled_slices``: the mean over the scans, and with ``_sd`` at the
        end of their names the standard deviation; where several raters drew them,
        ``consensus`` and ``between_raters``, too. ``scans``: each scan's own. ``undefined``.
    """
    found = _mean_regions(list(scans.values()))
    for region in REGIONS:
        found[f"{region}_sd"] = metrics.deviation_of([scan[region] for scan in scans.values()])
    for kind in ("consensus", "between_raters"):
        if with_raters := [scan[kind] for scan in scans.values() if kind in scan]:
            found[kind] = _mean_regions(with_raters)
    found["scans"] = [scan | {"name": name} for name, scan in scans.items()]
    found["undefined"] = {
        f"{name}, {where}": why
        for name, scan in scans.items()
        for where, why in scan["undefined"].items()
    }
    return found


def majority(masks: list[np.ndarray]) -> np.ndarray:
    """Return where more than half of the raters see GM; of two raters, both."""
    return 2 * np.sum(masks, axis=0) > len(masks)
