"""TODO."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from gmseg.errors import InputError

MANUAL, AUTOMATIC = "_gmseg-manual.nii.gz", "_gmseg-auto.nii.gz"


_CORD = "_seg-manual.nii.gz"


CHALLENGE_GM = 1  # 0 background, 1 gray matter, 2 white matter


_CHALLENGE_FILE = re.compile(
    r"(?P<subject>site\d+-sc\d+)-(?P<kind>image|mask-r(?P<rater>\d+)|levels)(?P<end>\.\w+(\.gz)?)"
)


@dataclass(frozen=True)
class LabelledScan:
    """A scan and its GM references.

    Attributes
    ----------
    name : str
        The scan's file name without its ending.
    subject : str
        Who was scanned: sessions of one subject share it.
    scan : pathlib.Path
    references : tuple of pathlib.Path
        One per rater.
    cord : pathlib.Path or None
        A cord mask.
    site : str
        Where, as far as the names say.
    manual : bool
        Whether humans drew or corrected the references. Others are trained on, never scored
        against.
    gm_label : int or None
        The value of GM in the references; None where they hold nothing but GM.
    """

    name: str
    subject: str
    scan: Path
    references: tuple[Path, ...]
    cord: Path | None = None
    site: str = ""
    manual: bool = True
    gm_label: int | None = None


def find_scans(folder) -> list[LabelledScan]:
    """Find the labelled scans of a GM Challenge or BIDS folder.

    Raises
    ------
    gmseg.errors.InputError
        If it is neither, or its files do not belong together: every fault is named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    challenge = any(_challenge_files(folder))
    if challenge and (folder / "derivatives" / "labels").is_dir():
        raise InputError(
            f"{folder}: holds GM Challenge files and derivatives/labels; give them as two folders"
        )
    return challenge_scans(folder) if challenge else bids_scans(folder)


def _challenge_files(folder: Path) -> list[Path]:
    """Return the files of the challenge, or what looks so, but for our own results."""
    return [
        file
        for file in sorted(folder.iterdir())
        if re.match(r"site\d*-sc", file.name, re.IGNORECASE)
        and not re.search(r"_gm(seg|soft)\.", file.name)
    ]


def without_masks(folder) -> list[str]:
    """Return the challenge subjects of a folder that have an image and no mask."""
    names = [file.name for file in _challenge_files(Path(folder))]
    labelled = {name.split("-mask-")[0] for name in names if "-mask-" in name}
    images = {name.split("-image.")[0] for name in names if "-image." in name}
    return sorted(images - labelled)


def unlabelled_scans(folder) -> list[LabelledScan]:
    """Return the challenge subjects of a folder that have an image and no mask, as scans."""
    images = {
        file.name.split("-image.")[0]: file
        for file in _challenge_files(Path(folder))
        if "-image." in file.name
    }
    return [
        LabelledScan(name, name, images[name], (), site=name.split("-")[0])
        for name in without_masks(folder)
    ]


def challenge_scans(folder) -> list[LabelledScan]:
    """Find the labelled scans of a folder of the GM Challenge 2016, as it is distributed.

    Parameters
    ----------
    folder : path-like
        With ``site1-sc01-image.nii.gz``, ``site1-sc01-mask-r1.nii.gz`` and further raters',
        ``site1-sc01-levels.txt``. Raters and levels may be missing; subjects without any
        mask, as those that the challenge kept for testing, are left out.

    Returns
    -------
    list of LabelledScan
        Sorted by name; a subject is a subject.

    Raises
    ------
    gmseg.errors.InputError
        If a mask has no image, a name is not the challenge's, or nothing is labelled.
    """
    subjects, faults = defaultdict(dict), []
    for file in _challenge_files(Path(folder)):
        match = _CHALLENGE_FILE.fullmatch(file.name)
        if match is None:
            faults.append(f"{file.name} is not named as the challenge's files are")
        elif match["kind"] in subjects[match["subject"]]:
            faults.append(f"{match['subject']} has two files for {match['kind']}")
        else:
            subjects[match["subject"]][match["kind"]] = file
    found = []
    for subject, files in subjects.items():
        raters = sorted(kind for kind in files if kind.startswith("mask-"))
        if "image" not in files:
            faults.append(f"{subject} has no image")
        elif raters:
            found.append(
                LabelledScan(
                    subject,
                    subject,
                    files["image"],
                    tuple(files[r] for r in raters),
                    site=subject.split("-")[0],
                    gm_label=CHALLENGE_GM,
                )
            )
    if faults:
        raise InputError(f"{folder}: {'; '.join(faults)}; mend this before training")
    if not found:
        raise InputError(f"{folder}: no image has a mask (siteN-scNN-mask-rN.nii.gz); add masks")
    return found


def bids_scans(folder) -> list[LabelledScan]:
    """Find the labelled scans of a BIDS folder.

    Parameters
    ----------
    folder : path-like
        With masks ``*_gmseg-manual.nii.gz`` under ``derivatives/labels``, in the same
        sub-folders as their scans, or ``*_gmseg-auto.nii.gz`` where a program drew them;
        cord masks ``*_seg-manual.nii.gz`` beside them, where there are any.

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
        raise InputError(
            f"{folder}: has neither derivatives/labels nor siteN-scNN-image.nii.gz; "
            f"give a BIDS folder with masks or a GM Challenge folder"
        )
    found, orphans = [], []
    references = sorted(labels.glob("sub-*/**/*gmseg*.nii*"))
    if odd := [file.name for file in references if not file.name.endswith((MANUAL, AUTOMATIC))]:
        raise InputError(
            f"{labels}: {', '.join(odd)}: GM masks end in {MANUAL} or {AUTOMATIC}; rename them"
        )
    for reference in references:
        manual = reference.name.endswith(MANUAL)
        if not manual and reference.with_name(reference.name.replace(AUTOMATIC, MANUAL)).exists():
            continue  # what a human drew is better
        name = reference.name.removesuffix(MANUAL).removesuffix(AUTOMATIC)
        scan = folder / reference.relative_to(labels).with_name(f"{name}.nii.gz")
        cord = reference.with_name(name + _CORD)
        if not scan.is_file():
            orphans.append(reference.name)
            continue
        found.append(
            LabelledScan(
                name,
                subject_of(name),
                scan,
                (reference,),
                cord=cord if cord.is_file() else None,
                manual=manual,
            )
        )
    if orphans:
        raise InputError(f"{folder}: masks without their scan: {', '.join(orphans)}; add the scans")
    if not found:
        raise InputError(f"{labels}: holds no *{MANUAL}; name the GM masks so")
    return found


def subject_of(name: str) -> str:
    """Return the subject of a BIDS name: ``sub-9709Ses2_run-1_T2starw`` is of ``9709``.

    Sessions are written as ``ses-`` entities, or, in the multicentre data, as ``SesN``
    behind the participant's label.
    """
    match = re.match(r"sub-([A-Za-z0-9]+?)(?:Ses\d+)?(?:_|$)", name)
    if match is None:
        raise InputError(f"{name}: is not a BIDS name; it should begin with sub-")
    return match[1]
