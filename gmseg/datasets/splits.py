"""TODO."""

from __future__ import annotations

import re
from collections import defaultdict

from gmseg.datasets.folders import LabelledScan, subject_of
from gmseg.errors import InputError

VALIDATION_PER_SITE = 2


def subjects_named(text: str) -> set[str]:
    """Return the subjects whose scans a model's card names in its ``trained_on``."""
    bids = {subject_of(name) for name in re.findall(r"\bsub-[A-Za-z0-9][\w-]*", text)}
    return bids | set(re.findall(r"\bsite\d+-sc\d+", text))


def split_by_subject(
    scans: list[LabelledScan], held_out: str | None
) -> tuple[list[LabelledScan], list[LabelledScan]]:
    """Split scans so that nobody is on both sides.

    Parameters
    ----------
    scans : list of LabelledScan
    held_out : str or None
        Subjects to validate on, separated by commas; ``"all"`` trains on everybody;
        ``"challenge"`` holds out the last two subjects of every site, 8 in all, as many as
        the paper (which ones it took is not known). None is ``"challenge"`` for challenge
        folders.

    Returns
    -------
    training, validation : list of LabelledScan

    Raises
    ------
    gmseg.errors.InputError
        If a subject is unknown or nobody is left to train on.
    """
    subjects = sorted({scan.subject for scan in scans})
    if held_out is None and all(scan.site for scan in scans):
        held_out = "challenge"
    if held_out is None:
        raise InputError(f"--split: whom to hold out? {', '.join(subjects)}, or all for nobody")
    if held_out == "challenge":
        wanted = _last_of_every_site(scans)
    else:
        wanted = set() if held_out == "all" else {p.strip() for p in held_out.split(",")}
    if unknown := wanted - set(subjects):
        raise InputError(
            f"--split {held_out}: nobody is called {', '.join(sorted(unknown))}; "
            f"there are {', '.join(subjects)}, or all"
        )
    training = [scan for scan in scans if scan.subject not in wanted]
    if not training:
        raise InputError(f"--split {held_out}: nobody is left to train on; hold out fewer")
    return training, [scan for scan in scans if scan.subject in wanted and scan.manual]


def _last_of_every_site(scans: list[LabelledScan]) -> set[str]:
    if not all(scan.site for scan in scans):
        raise InputError("--split challenge: needs a GM Challenge folder; name subjects instead")
    sites = defaultdict(set)
    for scan in scans:
        sites[scan.site].add(scan.subject)
    for site, subjects in sites.items():
        if len(subjects) <= VALIDATION_PER_SITE:
            raise InputError(
                f"--split challenge: {site} has only {len(subjects)} labelled subjects; "
                f"name those to hold out"
            )
    return {
        subject
        for subjects in sites.values()
        for subject in sorted(subjects, key=lambda name: int(name.split("-sc")[1]))[
            -VALIDATION_PER_SITE:
        ]
    }
