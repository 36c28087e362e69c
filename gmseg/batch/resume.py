"""Recognise results of an earlier run: fingerprints in headers, and entries of the summary."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import check_input, check_link, is_empty_file, sha256, write_text
from gmseg.io.image import description_of
from gmseg.io.image_file import is_intact, open_image
from gmseg.io.temporary import locked, remove_leftovers

if TYPE_CHECKING:
    from gmseg.batch.jobs import Job


def fingerprint(job: Job, model: Model) -> str:
    """Return a short text, written into headers, of all that the files of a job depend on."""
    defaults = {"threshold": model.threshold, "standardise": model.standardise}
    choices = defaults | {name: value for name, value in job.choices.items() if value is not None}
    if choices.get("tta", 0) < 2:  # the seed has no effect
        choices = {name: value for name, value in choices.items() if name not in ("tta", "seed")}
    version = metadata.version("gmseg")
    made_from = {
        "gmseg": version,
        "weights": model.weights_sha256,
        "model": [model.mean, model.std, model.window, model.voxel_size_mm],
        "scan": _checksums(job.scan),
        "choices": {
            name: _checksums(value) if name == "cord" and value else value
            for name, value in sorted(choices.items())
        },
    }
    text = json.dumps(made_from, sort_keys=True, default=list)
    return f"gmseg {version} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_done(job: Job, model: Model) -> bool:
    """Return whether all files of a job exist, are what it would write, and can be read whole.

    Raises
    ------
    gmseg.errors.InputError
        If one of them was made from another scan, model or choice, or is a broken link.
    """
    files = list(job.files.values())
    if any(map(os.path.lexists, files)):
        check_fingerprints(job, fingerprint(job, model))
    if not all(file.exists() and is_intact(file) for file in files):
        return False
    for file in files:
        remove_leftovers(file)
    return True


def check_fingerprints(job: Job, made_from: str) -> None:
    """Raise InputError if a file of the job exists with another fingerprint than `made_from`.

    Files without a header that can be read, which a crash or a full disk leaves, pass.
    """
    for file in job.files.values():
        check_link(file)
        if not file.exists():
            continue
        try:
            found = description_of(file)
        except InputError:
            if is_intact(file):  # raises the error again if the file may not be read
                raise
            continue
        if found == made_from:
            continue
        version, our_version = found.split(" ")[:2], made_from.split(" ")[:2]
        if version[0] == "gmseg" and version != our_version:
            reason = f"was made by {' '.join(version)}, and this is {our_version[1]}"
        else:
            reason = "was not made from this scan by this model and these choices"
        raise InputError(f"{file}: exists, and {reason}; set `overwrite=True` to replace it")


def is_on_page(job: Job) -> bool:
    """Return whether the QC page of a job, if one is wanted, shows the mask that exists."""
    if not job.report:
        return True
    from gmseg.report.qc_page import is_complete, scan_folder

    place = scan_folder(job.report, job.scan)
    if not is_complete(place):
        return False
    remove_leftovers(place, job.report)
    # the page is written after the mask
    return (place / "facts.json").stat().st_mtime_ns >= job.files["mask"].stat().st_mtime_ns


def read_entries(summary: Path) -> dict[str, dict]:
    """Return the entries of an earlier summary by mask; none if there is no summary.

    Raises
    ------
    gmseg.errors.InputError
        If the file is no summary of gmseg.
    """
    if not summary.exists() or is_empty_file(summary):
        return {}
    try:
        scans = json.loads(summary.read_text(encoding="utf-8"))["scans"]
        entries = {entry["mask"]: entry for entry in scans}
        valid = all(
            isinstance(mask, str)
            and isinstance(entry["scan"], str)
            and isinstance(entry["flags"], list)
            for mask, entry in entries.items()
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise InputError(f"{summary}: is no summary of gmseg; choose another name")
    return entries


class SummaryFile:
    """The summary of a run, which other runs may write to at the same time.

    Parameters
    ----------
    path : pathlib.Path
        The JSON file.
    resume : bool
        Whether to keep the entries that it contains; otherwise they are replaced.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.earlier: dict[str, dict] = {}
        self._replaced: dict[str, dict] = {}
        if resume:
            check_link(path)
            self.earlier = read_entries(path)
        else:
            with contextlib.suppress(InputError):  # another file, which may be replaced
                self._replaced = read_entries(path)

    def write(self, entries: Iterable[dict]) -> None:
        """Write the entries of this run, and keep those of other runs."""
        ours = {entry["mask"]: entry for entry in entries}
        with locked(self.path):
            current: dict[str, dict] = {}
            with contextlib.suppress(InputError):
                current = read_entries(self.path)
            others = {
                mask: entry
                for mask, entry in current.items()
                if mask not in ours and self._replaced.get(mask) != entry
            }
            scans = self.earlier | others | ours
            write_text(self.path, json.dumps({"scans": list(scans.values())}, indent=2) + "\n")


def _checksums(path: Path) -> list[str]:
    """Return the checksums of an image's files; some formats have two."""
    check_input(path)
    holders = open_image(Path(path)).file_map.values()
    names = {str(holder.filename) for holder in holders if holder.filename}
    return [sha256(name) for name in sorted(names) if Path(name).is_file()]
