"""Find labelled scans in folders of the GM Challenge or in BIDS folders."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from gmseg.errors import InputError

MANUAL, AUTOMATIC = "_gmseg-manual.nii.gz", "_gmseg-auto.nii.gz"
CHALLENGE_GM = 1  # 0 background, 1 gray matter, 2 white matter
_CORD = "_seg-manual.nii.gz"
_CHALLENGE_FILE = re.compile(
    r"(?P<subject>site\d+-sc\d+)-(?P<kind>image|mask-r(?P<rater>\d+)|levels)(?P<end>\.\w+(\.gz)?)"
)


@dataclass(frozen=True)
class LabelledScan:
    """The files of a scan and its GM references.

    Attributes
    ----------
    name : str
        File name of the scan without its suffix.
    subject : str
        Subject, whose sessions and runs are kept together in a split.
    scan : pathlib.Path
    references : tuple of pathlib.Path
        GM masks, one per rater.
    cord : pathlib.Path or None
        Cord mask.
    site : str
        Site of the challenge; empty in BIDS folders.
    manual : bool
        Whether the references were drawn or corrected by hand. Others are used to train, not
        to validate.
    gm_label : int or None
        Value of GM in the references; None if they contain GM alone.
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
    """Return the labelled scans of a GM Challenge folder or a BIDS folder.

    Raises
    ------
    gmseg.errors.InputError
        If the folder is neither, or if files are missing or misnamed; the message lists them all.

    Examples
    --------
    >>> import tempfile
    >>> from gmseg.datasets.phantom import write_challenge
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_challenge(folder, subjects=1, sites=1, raters=2, shape=(16, 16, 1))
    ...     [(scan.name, len(scan.references)) for scan in find_scans(folder)]
    [('site1-sc01', 2)]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    challenge = any(_challenge_files(folder))
    if challenge and (folder / "derivatives" / "labels").is_dir():
        raise InputError(
            f"{folder}: contains GM Challenge files and derivatives/labels; give two folders"
        )
    return challenge_scans(folder) if challenge else bids_scans(folder)


def challenge_scans(folder) -> list[LabelledScan]:
    """Return the labelled scans of a folder of the GM Challenge 2016, as distributed.

    Parameters
    ----------
    folder : path-like
        Folder with ``site1-sc01-image.nii.gz``, ``site1-sc01-mask-r1.nii.gz`` (and other
        raters) and ``site1-sc01-levels.txt``. Raters and levels may be missing. Subjects
        without a mask, such as the challenge's test set, are left out.

    Returns
    -------
    list of LabelledScan
        Sorted by name.

    Raises
    ------
    gmseg.errors.InputError
        If a mask has no image, a file is misnamed, or nothing is labelled.
    """
    subjects, faults = _challenge_subjects(folder)
    scans = []
    for subject, files in subjects.items():
        raters = sorted(kind for kind in files if kind.startswith("mask-"))
        if "image" not in files:
            faults.append(f"{subject} has no image")
        elif raters:
            references = tuple(files[rater] for rater in raters)
            scans.append(_challenge_scan(subject, files["image"], references))
    if faults:
        raise InputError(f"{folder}: {'; '.join(faults)}; rename, add or remove these files")
    if not scans:
        raise InputError(f"{folder}: no image has a mask (siteN-scNN-mask-rN.nii.gz); add masks")
    return scans


def unlabelled_scans(folder) -> list[LabelledScan]:
    """Return the challenge subjects of a folder that have an image and no mask."""
    files = _challenge_files(Path(folder))
    labelled = {file.name.split("-mask-")[0] for file in files if "-mask-" in file.name}
    images = {file.name.split("-image.")[0]: file for file in files if "-image." in file.name}
    return [_challenge_scan(name, images[name], ()) for name in sorted(images.keys() - labelled)]


def _challenge_files(folder: Path) -> list[Path]:
    """Return the files named like the challenge's, without results of gmseg."""
    return [
        file
        for file in sorted(folder.iterdir())
        if re.match(r"site\d*-sc", file.name, re.IGNORECASE)
        and not re.search(r"_gm(seg|soft)\.", file.name)
    ]


def _challenge_subjects(folder) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Return the files of every subject by kind, and the faults of their names."""
    subjects: dict[str, dict[str, Path]] = defaultdict(dict)
    faults = []
    for file in _challenge_files(Path(folder)):
        match = _CHALLENGE_FILE.fullmatch(file.name)
        if match is None:
            faults.append(f"{file.name} is not named like the challenge's files")
        elif match["kind"] in subjects[match["subject"]]:
            faults.append(f"{match['subject']} has two files for {match['kind']}")
        else:
            subjects[match["subject"]][match["kind"]] = file
    return subjects, faults


def _challenge_scan(subject: str, image: Path, references: tuple[Path, ...]) -> LabelledScan:
    site = subject.split("-")[0]
    return LabelledScan(subject, subject, image, references, site=site, gm_label=CHALLENGE_GM)


def bids_scans(folder) -> list[LabelledScan]:
    """Return the labelled scans of a BIDS folder.

    Parameters
    ----------
    folder : path-like
        Folder with masks ``*_gmseg-manual.nii.gz`` under ``derivatives/labels``, in the same
        sub-folders as their scans, or ``*_gmseg-auto.nii.gz`` if a program drew them. Cord
        masks ``*_seg-manual.nii.gz`` next to them are optional.

    Returns
    -------
    list of LabelledScan
        Sorted by name. A manual mask is preferred to an automatic one.

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
    references = sorted(labels.glob("sub-*/**/*gmseg*.nii*"))
    if odd := [file.name for file in references if not file.name.endswith((MANUAL, AUTOMATIC))]:
        raise InputError(
            f"{labels}: {', '.join(odd)}: GM masks end in {MANUAL} or {AUTOMATIC}; rename them"
        )
    scans, orphans = [], []
    for reference in references:
        manual = reference.name.endswith(MANUAL)
        if not manual and reference.with_name(reference.name.replace(AUTOMATIC, MANUAL)).exists():
            continue
        name = reference.name.removesuffix(MANUAL).removesuffix(AUTOMATIC)
        scan = folder / reference.relative_to(labels).with_name(f"{name}.nii.gz")
        cord = reference.with_name(name + _CORD)
        if scan.is_file():
            known_cord = cord if cord.is_file() else None
            scans.append(
                LabelledScan(name, subject_of(name), scan, (reference,), known_cord, manual=manual)
            )
        else:
            orphans.append(reference.name)
    if orphans:
        raise InputError(f"{folder}: masks without their scan: {', '.join(orphans)}; add the scans")
    if not scans:
        raise InputError(f"{labels}: contains no *{MANUAL}; rename the GM masks to end so")
    return scans


def subject_of(name: str) -> str:
    """Return the subject of a BIDS name.

    Sessions are ``ses-`` entities or, in the multicentre data, ``SesN`` after the subject's
    label.

    Raises
    ------
    gmseg.errors.InputError
        If it is not a BIDS name.

    Examples
    --------
    >>> subject_of("sub-9709Ses2_run-1_T2starw")
    '9709'
    """
    match = re.match(r"sub-([A-Za-z0-9]+?)(?:Ses\d+)?(?:_|$)", name)
    if match is None:
        raise InputError(f"{name}: is not a BIDS name; it should begin with sub-")
    return match[1]
