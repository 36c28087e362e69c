"""Labelled scans on disk: which files belong together, and which belong to one person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gmseg.errors import InputError

REFERENCE_SUFFIX = "_gmseg-manual.nii.gz"


@dataclass(frozen=True)
class LabelledScan:
    """A scan and its GM reference.

    Attributes
    ----------
    name : str
        The scan's file name without its ending.
    person : str
        Who was scanned: sessions of one person share it.
    scan, reference : pathlib.Path
    """

    name: str
    person: str
    scan: Path
    reference: Path


def bids_scans(folder) -> list[LabelledScan]:
    """Find the labelled scans of a BIDS folder.

    Parameters
    ----------
    folder : path-like
        With masks ``*_gmseg-manual.nii.gz`` under ``derivatives/labels``, in the same
        sub-folders as their scans.

    Returns
    -------
    list of LabelledScan
        Sorted by name.

    Raises
    ------
    gmseg.errors.InputError
        If there is no such folder, no mask, or a mask without its scan.
    """
    folder = Path(folder)
    labels = folder / "derivatives" / "labels"
    if not labels.is_dir():
        raise InputError(f"{folder}: has no derivatives/labels; give a BIDS folder with masks")
    found, orphans = [], []
    for reference in sorted(labels.glob(f"sub-*/**/*{REFERENCE_SUFFIX}")):
        name = reference.name.removesuffix(REFERENCE_SUFFIX)
        scan = folder / reference.relative_to(labels).with_name(f"{name}.nii.gz")
        if scan.is_file():
            found.append(LabelledScan(name, person_of(name), scan, reference))
        else:
            orphans.append(reference.name)
    if orphans:
        raise InputError(f"{folder}: masks without their scan: {', '.join(orphans)}; add the scans")
    if not found:
        raise InputError(f"{labels}: holds no *{REFERENCE_SUFFIX}; name the GM masks so")
    return found


def person_of(name: str) -> str:
    """Return the person of a BIDS name: ``sub-9709Ses2_run-1_T2starw`` is of ``9709``.

    Sessions are written as ``ses-`` entities, or, in the multicentre data, as ``SesN``
    behind the participant's label.
    """
    match = re.match(r"sub-([A-Za-z0-9]+?)(?:[Ss]es-?\d+)?(?:_|$)", name)
    if match is None:
        raise InputError(f"{name}: is not a BIDS name; it should begin with sub-")
    return match[1]


def split_by_person(
    scans: list[LabelledScan], held_out: str
) -> tuple[list[LabelledScan], list[LabelledScan]]:
    """Split scans so that nobody is on both sides.

    Parameters
    ----------
    scans : list of LabelledScan
    held_out : str
        Persons to validate on, separated by commas; ``"all"`` trains on everybody.

    Returns
    -------
    training, validation : list of LabelledScan

    Raises
    ------
    gmseg.errors.InputError
        If a person is unknown or nobody is left to train on.
    """
    wanted = set() if held_out == "all" else {p.strip() for p in held_out.split(",")}
    persons = {scan.person for scan in scans}
    if unknown := wanted - persons:
        raise InputError(
            f"--split {held_out}: nobody is called {', '.join(sorted(unknown))}; "
            f"there are {', '.join(sorted(persons))}, or all"
        )
    training = [scan for scan in scans if scan.person not in wanted]
    if not training:
        raise InputError(f"--split {held_out}: nobody is left to train on; hold out fewer")
    return training, [scan for scan in scans if scan.person in wanted]
