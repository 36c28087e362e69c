"""Which predictions and references belong together, by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from gmseg.errors import InputError

_IMAGE = re.compile(r"\.nii(\.gz)?$")
# what the names of GM masks end in: ours, BIDS derivatives', the challenge's
_DRAWN = re.compile(r"([_-]gmseg)?[_-](manual|mask-r\d+|rater-?[A-Za-z0-9]+)$")
_CORD = re.compile(r"(?<!label-GM)[_-]seg([_-]manual)?$")  # or GM, in somebody's own way
_PLAIN = re.compile(r"[_-](gmseg|gm|mask|label-GM_(seg|mask))$")


def match_files(
    predictions: Path, references: Sequence[Path]
) -> tuple[dict[str, tuple[Path, list[Path]]], list[str], list[str]]:
    """Find which files of two or more folders belong together, by their names.

    Names match that are the same once endings as ``_gmseg``, ``-image_gmseg``, ``-mask-r1`` or
    ``_gmseg-manual`` are cut off; several references of one name in one folder are several
    raters, as are those of several folders. Sub-folders are searched, too; where a name is in
    several of them, as ``t2s`` of every subject, both sides must have it in the same one. Of the
    references, masks drawn by humans (``-manual``, ``-mask-r1``) leave out all others of their
    name. Scans, soft segmentations and masks of the cord are known by their names and left out.

    Parameters
    ----------
    predictions : pathlib.Path
    references : sequence of pathlib.Path

    Returns
    -------
    matched : dict
        Name to prediction and references, sorted.
    faults : list of str
        Predictions that belong to no reference, or to none for certain.
    warnings : list of str
        References that no prediction belongs to.

    Raises
    ------
    gmseg.errors.InputError
        If a folder holds no mask, or nothing matches.
    """
    ours = _masks(predictions, drawn=False)
    theirs = [_masks(folder, drawn=True, but=predictions) for folder in references]
    stems = Counter(stem for _, stem in ours)
    matched, faults, used = {}, [], set()
    for (parent, stem), files in sorted(ours.items()):
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            faults.append(f"{files[0].parent}: {names} are predictions of one scan; keep one")
            continue
        truths, doubt = [], False
        for masks in theirs:
            parents = {place for place, name in masks if name == stem}
            if parent in parents:
                truths += masks[parent, stem]
            elif len(parents) == 1 and stems[stem] == 1:
                truths += masks[parents.pop(), stem]
            else:
                doubt |= bool(parents)
        used |= set(truths)
        truths = [truth for truth in truths if truth.resolve() != files[0].resolve()]
        if truths and not doubt:
            name = stem if stems[stem] == 1 else str(parent / stem)
            matched[name] = files[0], truths
        elif doubt:
            faults.append(
                f"{files[0]}: its name is in several folders; lay predictions and "
                f"references out alike, each rater in a folder of their own"
            )
        else:
            faults.append(f"{files[0]}: has no reference of its name; add one, or remove it")
    if not matched and not any("several folders" in fault for fault in faults):
        raise InputError(
            f"{predictions}: no name matches one in {', '.join(map(str, references))}; name "
            f"predictions as their references, such as t2s_gmseg.nii.gz for t2s_gmseg-manual.nii.gz"
        )
    left = [file for masks in theirs for files in masks.values() for file in files]
    unused = [
        f"{file}: no prediction is named so; it counts nowhere" for file in left if file not in used
    ]
    return matched, faults, unused


def _masks(folder: Path, *, drawn: bool, but: Path | None = None) -> dict:
    """Return a folder's GM masks by sub-folder and what their names begin with.

    Parameters
    ----------
    folder : pathlib.Path
    drawn : bool
        Prefer masks that humans drew; otherwise those that they did not.
    but : pathlib.Path, optional
        A folder within it to leave out.
    """
    apart = but is not None and but.resolve() != folder.resolve()
    kinds: dict[tuple[Path, str], dict[str, dict[str, Path]]] = defaultdict(dict)
    for file in sorted(folder.rglob("*")):
        name, inner = _IMAGE.sub("", file.name), file.relative_to(folder)
        if name == file.name or any(part.startswith(".") for part in inner.parts):
            continue
        if not (file.is_file() or file.is_symlink()) or name.endswith("_gmsoft"):
            continue
        if apart and file.resolve().is_relative_to(but.resolve()):
            continue
        kind, stem = _kind(name)
        # .nii and .nii.gz of one name are one mask, kept twice
        kinds[inner.parent, stem].setdefault(kind, {}).setdefault(name, file)
    if not kinds:
        raise InputError(f"{folder}: holds no mask, .nii.gz or .nii; give a folder of masks")
    if any(kind != "unclear" for found in kinds.values() for kind in found):
        kinds = {key: found for key, found in kinds.items() if set(found) != {"unclear"}}
    order = (
        ["drawn", "plain", "auto", "unclear"] if drawn else ["plain", "auto", "unclear", "drawn"]
    )
    return {
        key: list(next(found[kind] for kind in order if kind in found).values())
        for key, found in kinds.items()
    }


def _kind(name: str) -> tuple[str, str]:
    """Return what a file is by its name, and what the name begins with."""
    if match := _CORD.search(name):
        kind, stem = "unclear", name[: match.start()]
    elif match := _DRAWN.search(name):
        kind, stem = "drawn", name[: match.start()]
    elif match := re.search(r"[_-]gmseg[_-]auto$", name):
        kind, stem = "auto", name[: match.start()]
    elif match := _PLAIN.search(name):
        kind, stem = "plain", name[: match.start()]
    else:  # a scan, or a mask in somebody's own way
        kind, stem = "unclear", name
    return kind, stem.removesuffix("-image")
