"""Split labelled scans by subject into training and validation."""

from __future__ import annotations

import re
from collections import defaultdict

from gmseg.datasets.folders import LabelledScan, subject_of
from gmseg.errors import InputError

VALIDATION_PER_SITE = 2


def subjects_named(text: str) -> set[str]:
    """Return the subjects of the scans that a model card names in ``trained_on``.

    Examples
    --------
    >>> sorted(subjects_named("2 scans: sub-9709Ses2_run-1_T2starw, site1-sc03"))
    ['9709', 'site1-sc03']
    """
    bids = {subject_of(name) for name in re.findall(r"\bsub-[A-Za-z0-9][\w-]*", text)}
    return bids | set(re.findall(r"\bsite\d+-sc\d+", text))


def split_by_subject(
    scans: list[LabelledScan], split: str | None
) -> tuple[list[LabelledScan], list[LabelledScan]]:
    """Split scans so that no subject is on both sides.

    Parameters
    ----------
    scans : list of LabelledScan
    split : str or None
        Subjects to validate on, separated by commas; ``"all"`` trains on every subject;
        ``"challenge"`` holds out the last two subjects of every site: 8 in all, as many as
        in the paper, which does not name them. None means ``"challenge"`` for challenge
        folders.

    Returns
    -------
    training, validation : list of LabelledScan
        Scans with automatic masks are left out of the validation.

    Raises
    ------
    gmseg.errors.InputError
        If a subject is unknown or none is left for training.

    Examples
    --------
    >>> scans = [LabelledScan(f"sub-{x}_T2starw", x, None, ()) for x in "abc"]
    >>> training, validation = split_by_subject(scans, "b")
    >>> [scan.name for scan in training], [scan.name for scan in validation]
    (['sub-a_T2starw', 'sub-c_T2starw'], ['sub-b_T2starw'])
    """
    subjects = sorted({scan.subject for scan in scans})
    if split is None and all(scan.site for scan in scans):
        split = "challenge"
    if split is None:
        raise InputError(f"`split` must name subjects to hold out: {', '.join(subjects)}, or all")
    if split == "challenge":
        held_out = _last_of_every_site(scans)
    else:
        held_out = set() if split == "all" else {part.strip() for part in split.split(",")}
    if unknown := held_out - set(subjects):
        raise InputError(
            f"`split={split}`: there is no subject {', '.join(sorted(unknown))}; "
            f"choose from {', '.join(subjects)}, or all"
        )
    training = [scan for scan in scans if scan.subject not in held_out]
    if not training:
        raise InputError(f"`split={split}`: no subject is left to train on; hold out fewer")
    return training, [scan for scan in scans if scan.subject in held_out and scan.manual]


def _last_of_every_site(scans: list[LabelledScan]) -> set[str]:
    if not all(scan.site for scan in scans):
        raise InputError("`split=challenge` needs a GM Challenge folder; name subjects instead")
    sites = defaultdict(set)
    for scan in scans:
        sites[scan.site].add(scan.subject)
    for site, subjects in sites.items():
        if len(subjects) <= VALIDATION_PER_SITE:
            raise InputError(
                f"`split=challenge`: {site} has only {len(subjects)} labelled subjects; "
                f"name those to hold out"
            )
    return {
        subject
        for subjects in sites.values()
        for subject in sorted(subjects, key=_number_in_site)[-VALIDATION_PER_SITE:]
    }


def _number_in_site(subject: str) -> int:
    return int(subject.split("-sc")[1])
