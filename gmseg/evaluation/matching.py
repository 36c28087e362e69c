"""Match the predictions and references of two or more folders by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from gmseg.errors import InputError

_IMAGE = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
# endings of GM masks: ours, those of BIDS derivatives and of the challenge
_MANUAL = re.compile(r"([_-]gmseg)?[_-](manual|mask-r\d+|rater-?[A-Za-z0-9]+)$")
_SEG = re.compile(r"(?<!label-GM)[_-]seg([_-]manual)?$")  # usually of the cord, sometimes of GM
_AUTO = re.compile(r"[_-]gmseg[_-]auto$")
_PLAIN = re.compile(r"[_-](gmseg|gm|mask|label-GM_(seg|mask))$")
_KINDS = {"unclear": _SEG, "manual": _MANUAL, "auto": _AUTO, "plain": _PLAIN}
_BIDS = re.compile(r"sub-[A-Za-z0-9+]+(_[A-Za-z0-9]+(-[A-Za-z0-9+]+)?)*")
_OF_DERIVATIVES = {"space", "res", "den", "label", "desc"}  # entities that a scan does not have
_CONTRASTS = {"T2starw", "T2star"}  # masks of gmseg name no contrast but MEGRE

_Masks = dict[tuple[Path, str], list[Path]]  # by sub-folder and stem


def match_files(
    predictions: Path, references: Sequence[Path]
) -> tuple[dict[str, tuple[Path, list[Path]]], list[str], list[str]]:
    """Match the files of a folder of predictions with those of folders of references.

    Names match if they are the same without endings such as ``_gmseg``, ``-image_gmseg``,
    ``-mask-r1`` or ``_gmseg-manual``. BIDS names match if they have the same entities, without
    those of derivatives (``space``, ``label``, ``desc``). Several references of one name are
    several raters, whether in one folder or in several. Sub-folders are searched too; a name that
    is in several of them, such as ``t2s`` of every subject, must be in the same sub-folder on both
    sides. If a name has manual references (``-manual``, ``-mask-r1``), its other references are
    left out. Scans, soft segmentations and cord masks are recognised by their names and left out.

    Parameters
    ----------
    predictions : pathlib.Path
    references : sequence of pathlib.Path

    Returns
    -------
    matched : dict
        Name to prediction and references, sorted.
    faults : list of str
        Predictions without a reference, or with an ambiguous one.
    warnings : list of str
        References without a prediction.

    Raises
    ------
    gmseg.errors.InputError
        If a folder contains no mask, or nothing matches.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("ours/t2s_gmseg.nii.gz", "manual/t2s_gmseg-manual.nii.gz"):
    ...         Path(folder, name).parent.mkdir()
    ...         Path(folder, name).touch()
    ...     matched, _, _ = match_files(Path(folder, "ours"), [Path(folder, "manual")])
    >>> [(name, file.name, refs[0].name) for name, (file, refs) in matched.items()]
    [('t2s', 't2s_gmseg.nii.gz', 't2s_gmseg-manual.nii.gz')]
    """
    predicted = _masks(predictions, prefer_manual=False)
    raters = [_masks(folder, prefer_manual=True, excluded=predictions) for folder in references]
    matched, faults, used = _match(predicted, raters)
    if not matched and not any("several folders" in fault for fault in faults):
        raise InputError(
            f"{predictions}: no name matches one in {', '.join(map(str, references))}; name "
            f"predictions like their references, such as t2s_gmseg.nii.gz for "
            f"t2s_gmseg-manual.nii.gz"
        )
    warnings = [
        f"{file}: has no prediction of its name; it is not used"
        for masks in raters
        for files in masks.values()
        for file in files
        if file not in used
    ]
    return matched, faults, warnings


def _match(predicted: _Masks, raters: list[_Masks]):
    """Return what matches, the faults of the other predictions, and the references in use."""
    counts = Counter(stem for _, stem in predicted)
    matched: dict[str, tuple[Path, list[Path]]] = {}
    faults: list[str] = []
    used: set[Path] = set()
    for (parent, stem), files in sorted(predicted.items()):
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            faults.append(f"{files[0].parent}: {names} are predictions of one scan; keep one")
            continue
        references, ambiguous = _references_of(parent, stem, raters, unique=counts[stem] == 1)
        used |= set(references)
        references = [file for file in references if file.resolve() != files[0].resolve()]
        if ambiguous:
            faults.append(
                f"{files[0]}: its name is in several folders; give predictions and references "
                f"the same sub-folders, and each rater a separate folder"
            )
        elif references:
            shown = _kind_and_stem(_IMAGE.sub("", files[0].name))[1]
            matched[shown if counts[stem] == 1 else str(parent / shown)] = files[0], references
        else:
            faults.append(f"{files[0]}: has no reference of its name; add one, or remove it")
    return matched, faults, used


def _references_of(parent: Path, stem: str, raters: list[_Masks], *, unique: bool):
    """Return all references of a prediction, and whether some are in unclear sub-folders."""
    references: list[Path] = []
    ambiguous = False
    for masks in raters:
        parents = {folder for folder, name in masks if name == stem}
        if parent in parents:
            references += masks[parent, stem]
        elif unique and len(parents) == 1:
            references += masks[parents.pop(), stem]
        else:
            ambiguous |= bool(parents)
    return references, ambiguous


def _masks(folder: Path, *, prefer_manual: bool, excluded: Path | None = None) -> _Masks:
    """Return the GM masks in a folder by sub-folder and stem; `excluded` is a folder in it."""
    apart = excluded.resolve() if excluded is not None else None
    if apart == folder.resolve():
        apart = None
    groups: dict[tuple[Path, str], dict[str, dict[str, Path]]] = defaultdict(dict)
    for file in sorted(folder.rglob("*")):
        name, inner = _IMAGE.sub("", file.name), file.relative_to(folder)
        if name == file.name or any(part.startswith(".") for part in inner.parts):
            continue
        if not (file.is_file() or file.is_symlink()) or name.endswith("_gmsoft"):
            continue
        if apart is not None and file.resolve().is_relative_to(apart):
            continue
        kind, stem = _kind_and_stem(name)
        # .nii and .nii.gz of one name are the same mask
        groups[inner.parent, _scan_of(stem)].setdefault(kind, {}).setdefault(name, file)
    if not groups:
        raise InputError(f"{folder}: contains no mask, .nii.gz or .nii; give a folder of masks")
    all_unclear = all(set(kinds) == {"unclear"} for kinds in groups.values())
    order = ["plain", "auto", "unclear"]
    order = ["manual", *order] if prefer_manual else [*order, "manual"]
    return {
        key: list(next(kinds[kind] for kind in order if kind in kinds).values())
        for key, kinds in groups.items()
        if all_unclear or set(kinds) != {"unclear"}
    }


def _kind_and_stem(name: str) -> tuple[str, str]:
    """Return the kind of mask that a file name stands for, and the name without its ending."""
    if (label := re.search(r"_label-([A-Za-z0-9]+)", name)) and label[1] != "GM":
        return "unclear", name
    for kind, ending in _KINDS.items():
        if match := ending.search(name):
            manual = kind == "plain" and re.search(r"_desc-(manual|rater)", name)
            return "manual" if manual else kind, name[: match.start()].removesuffix("-image")
    return "unclear", name.removesuffix("-image")  # a scan, or a mask of another naming


def _scan_of(stem: str) -> str:
    """Return what identifies the scan in a name without ending: in BIDS, entities in one order.

    Examples
    --------
    >>> _scan_of("sub-1_run-01_acq-MEDIC_space-orig"), _scan_of("sub-1_acq-MEDIC_run-1_T2starw")
    ('sub-1_acq-MEDIC_run-1', 'sub-1_acq-MEDIC_run-1')
    """
    if not _BIDS.fullmatch(stem):
        return stem
    entities = dict(part.split("-") for part in stem.split("_") if "-" in part)
    others = {part for part in stem.split("_") if "-" not in part} - _CONTRASTS
    if "MEGRE" in entities.get("desc", ""):
        others.add("MEGRE")
    for key in ("run", "echo"):
        if entities.get(key, "").isdecimal():
            entities[key] = str(int(entities[key]))
    own = sorted(set(entities) - _OF_DERIVATIVES - {"sub"})
    pairs = (f"{key}-{entities[key]}" for key in ("sub", *own))
    return "_".join([*pairs, *sorted(others)])
