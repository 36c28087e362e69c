"""Score predictions against references: one pair, several raters, folders of scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation
from nibabel.processing import resample_from_to

from gmseg.core.geometry import slice_axis
from gmseg.errors import InputError
from gmseg.evaluation import metrics
from gmseg.evaluation.matching import match_files
from gmseg.io import image
from gmseg.io.grids import displacement_mm, orientation_onto

REGIONS = ("volume", "labelled_slices")

_Path = str | PathLike[str]


def evaluate(
    prediction: _Path,
    references: _Path | Sequence[_Path],
    *,
    label: int | None = None,
    resample: bool = False,
) -> dict[str, Any]:
    """Score a prediction against one reference or several raters' references.

    Parameters
    ----------
    prediction : path-like
        A mask of 0 and 1, or of `label`.
    references : path-like or sequence of path-like
        Masks on the same grid, in any orientation; one per rater.
    label : int, optional
        Value of GM in the references. By default they may contain only 0 and 1.
    resample : bool
        Whether to resample masks on other grids to the grid of the first reference, linearly,
        with a threshold of 0.5. By default another grid is an error.

    Returns
    -------
    dict
        See `compare_raters`; raters have the names of their files, ``name`` is the prediction's.

    Raises
    ------
    gmseg.errors.InputError
        If a file cannot be read, contains other labels, or is on another grid.

    Examples
    --------
    >>> import tempfile
    >>> mask = np.zeros((8, 8, 2), np.uint8)
    >>> mask[2:6, 2:6] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nib.save(nib.Nifti1Image(mask, np.eye(4)), f"{folder}/a.nii")
    ...     nib.save(nib.Nifti1Image(np.roll(mask, 1, axis=0), np.eye(4)), f"{folder}/b.nii")
    ...     scores = evaluate(f"{folder}/a.nii", f"{folder}/b.nii")
    >>> scores["volume"]["DSC"], scores["volume"]["HSD"]
    (0.75, 1.0)
    """
    predicted = Path(prediction)
    if isinstance(references, str | PathLike):
        references = [references]
    files = [Path(file) for file in references]
    if not files:
        raise InputError("there is no reference; give at least one")
    drawn = [image.read_segmentation(file, label=label) for file in files]
    images = [_read_prediction(predicted, label), *drawn]
    masks = [
        _on_grid(mask, drawn[0], file, files[0], resample)
        for mask, file in zip(images, [predicted, *files], strict=True)
    ]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    raters = dict(zip(names, masks[1:], strict=True))
    return {"name": predicted.name} | compare_raters(masks[0], raters, drawn[0].affine)


def _read_prediction(file: Path, label: int | None) -> nib.Nifti1Image:
    """Read a mask of 0 and 1 or, if it contains other values, of the label."""
    try:
        return image.read_segmentation(file)
    except InputError:
        if label is None:
            raise
        return image.read_segmentation(file, label=label)


def _on_grid(mask, grid, file: Path, grid_file: Path, resample: bool) -> np.ndarray:
    """Return the voxels of a mask on a grid, bool; refuse another grid without `resample`."""
    ornt = orientation_onto(mask, grid)
    if ornt is not None:
        return apply_orientation(np.asarray(mask.dataobj, bool), ornt)
    if not resample:
        remedy = f"set `resample=True` to resample it to the grid of {grid_file}"
        if mask.shape != grid.shape:
            raise InputError(f"{file}: its shape is {mask.shape}, not {grid.shape}; {remedy}")
        displaced_mm = displacement_mm(mask.affine, grid.affine, grid.shape)
        raise InputError(  # some masks of the challenge have a wrong header
            f"{file}: is displaced by up to {displaced_mm:.3g} mm against {grid_file}; {remedy}; "
            f"if a header is wrong, copy the scan's to it instead"
        )
    soft = nib.Nifti1Image(np.asarray(mask.dataobj, np.float32), mask.affine)
    # "constant" would blank edge voxels that rounding puts just outside
    moved = resample_from_to(soft, (grid.shape, grid.affine), order=1, mode="grid-constant")
    voxels = np.asarray(moved.dataobj) > 0.5
    if np.any(mask.dataobj) and not voxels.any():
        raise InputError(
            f"{file}: does not overlap the grid of {grid_file}; check that both are of one scan"
        )
    return voxels


# ------------------------------------------------------------------------------- comparing


def compare_raters(
    prediction: np.ndarray, references: Mapping[str, np.ndarray], affine: np.ndarray
) -> dict[str, Any]:
    """Compare a prediction with every rater's reference, and the raters with one another.

    Parameters
    ----------
    prediction : numpy.ndarray
        bool, (x, y, z).
    references : dict of str to numpy.ndarray
        Name of the rater to reference, like `prediction`.
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    dict
        ``volume``, ``labelled_slices``: the metrics `gmseg.evaluation.metrics.METRICS` over the
        whole volume and over the slices with reference GM, mean over the raters as in the paper
        ("Evaluation"). ``slices``: the same per slice, in plane. ``raters``: the result of
        `compare_one` for each. ``undefined``: why metrics are not defined. With several raters
        also ``consensus``, against the `majority`, and ``between_raters``, the mean over all
        ordered pairs of raters.

    Examples
    --------
    >>> mask = np.ones((4, 4, 1), bool)
    >>> half = mask * (np.arange(4)[:, None, None] < 2)
    >>> scores = compare_raters(mask, {"r1": mask, "r2": half}, np.eye(4))
    >>> [round(scores[key]["volume"]["DSC"], 3) for key in ("consensus", "between_raters")]
    [0.667, 0.667]
    """
    raters = [
        {"name": name} | compare_one(prediction, reference, affine)
        for name, reference in references.items()
    ]
    scores: dict[str, Any] = _mean_regions(raters)
    scores |= {"slices": _mean_slices(raters), "raters": raters}
    reasons = {f"against {rater['name']}": rater["undefined"] for rater in raters}
    if len(references) > 1:
        consensus = majority(list(references.values()))
        scores["consensus"] = compare_one(prediction, consensus, affine)
        reasons["against the majority"] = scores["consensus"]["undefined"]
        pairs = {
            f"{first} against {second}": compare_one(references[first], references[second], affine)
            for first, second in permutations(references, 2)
        }
        scores["between_raters"] = _mean_regions(list(pairs.values()))
        reasons |= {name: pair["undefined"] for name, pair in pairs.items()}
    undefined = {name: _in_words(reason) for name, reason in reasons.items() if reason}
    return scores | {"undefined": undefined}


def majority(references: Sequence[np.ndarray]) -> np.ndarray:
    """Return the voxels that more than half of the raters mark; of two raters, both.

    Examples
    --------
    >>> majority([np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([1, 1, 1])]).tolist()
    [False, True, True]
    """
    return 2 * np.sum(references, axis=0) > len(references)


def compare_one(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray
) -> dict[str, Any]:
    """Compare a prediction with one reference.

    Parameters
    ----------
    prediction, reference : numpy.ndarray
        bool, (x, y, z).
    affine : numpy.ndarray
        (4, 4), in mm.

    Returns
    -------
    dict
        ``volume`` and ``labelled_slices``: metrics. ``slices``: for each its number ``slice``,
        its metrics, and in ``undefined`` why some are not defined, or "". ``undefined``: region
        to reason, without the regions in which all metrics are defined.

    Examples
    --------
    >>> scores = compare_one(np.zeros((4, 4, 1), bool), np.ones((4, 4, 1), bool), np.eye(4))
    >>> scores["undefined"]["volume"]
    'the prediction is empty: distances, P and CC are not defined'
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
        "undefined": {region: reason for region, reason in reasons.items() if reason},
    }


def _in_words(reasons: dict[str, str]) -> str:
    """Return the reasons of both regions as one text, without repeating the same reason."""
    if len(set(reasons.values())) == 1 and len(reasons) == 2:
        return reasons["volume"]
    return "; ".join(
        reason if region == "volume" else f"over the labelled slices, {reason}"
        for region, reason in reasons.items()
    )


def _mean_regions(scores: Sequence[dict]) -> dict[str, dict]:
    return {region: metrics.mean_of([item[region] for item in scores]) for region in REGIONS}


def _mean_slices(raters: list[dict]) -> list[dict]:
    by_number = defaultdict(list)
    for rater in raters:
        for scores in rater["slices"]:
            by_number[scores["slice"]].append(scores)
    means = []
    for number, slices in sorted(by_number.items()):
        reasons = dict.fromkeys(item["undefined"] for item in slices if item["undefined"])
        mean = metrics.mean_of(slices)
        means.append({"slice": number} | mean | {"undefined": "; ".join(reasons)})
    return means


# --------------------------------------------------------------------------------- folders


def evaluate_folders(
    predictions: _Path,
    references: Sequence[_Path],
    *,
    label: int | None = None,
    resample: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Score a folder of predictions against folders of references.

    Parameters
    ----------
    predictions : path-like
        Folder of masks.
    references : sequence of path-like
        Folders of masks, matched by name: see `gmseg.evaluation.matching.match_files`.
    label, resample
        See `evaluate`.
    progress : callable, optional
        Called with the number of scans done and of all scans.

    Returns
    -------
    scores : dict
        See `pool`; without scans if none could be compared.
    faults : list of str
        Why scans could not be compared. The others were compared.
    warnings : list of str
        References without a prediction.

    Raises
    ------
    gmseg.errors.InputError
        If a folder contains no mask, or nothing matches.
    """
    matched, faults, warnings = match_files(Path(predictions), [Path(f) for f in references])
    scans = {}
    for count, (name, (prediction, files)) in enumerate(matched.items(), 1):
        try:
            scans[name] = evaluate(prediction, files, label=label, resample=resample)
        except InputError as error:
            faults.append(str(error))
        if progress is not None:
            progress(count, len(matched))
    return pool(scans), faults, warnings


def pool(scans: Mapping[str, dict]) -> dict[str, Any]:
    """Summarise the scores of several scans.

    Parameters
    ----------
    scans : dict of str to dict
        Name of the scan to the result of `compare_raters`.

    Returns
    -------
    dict
        ``volume`` and ``labelled_slices``: means over the scans; ``volume_sd`` and
        ``labelled_slices_sd``: standard deviations; ``consensus`` and ``between_raters``: means
        over the scans with several raters, if any. ``scans``: the scores of each, and its name.
        ``undefined``: why metrics are not defined.

    Examples
    --------
    >>> mask = np.ones((2, 2, 1), bool)
    >>> scans = {"a": compare_raters(mask, {"r1": mask}, np.eye(4)),
    ...          "b": compare_raters(~mask, {"r1": mask}, np.eye(4))}
    >>> scores = pool(scans)
    >>> scores["volume"]["DSC"], list(scores["undefined"])
    (0.5, ['a, against r1', 'b, against r1'])
    """
    scores: dict[str, Any] = _mean_regions(list(scans.values()))
    for region in REGIONS:
        scores[f"{region}_sd"] = metrics.deviation_of([scan[region] for scan in scans.values()])
    for kind in ("consensus", "between_raters"):
        if with_raters := [scan[kind] for scan in scans.values() if kind in scan]:
            scores[kind] = _mean_regions(with_raters)
    scores["scans"] = [scan | {"name": name} for name, scan in scans.items()]
    scores["undefined"] = {
        f"{name}, {comparison}": reason
        for name, scan in scans.items()
        for comparison, reason in scan["undefined"].items()
    }
    return scores
