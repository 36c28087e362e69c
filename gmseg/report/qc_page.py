"""The QC page: one self-contained folder that a browser opens from disk, to judge masks by eye."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gmseg.errors import InputError
from gmseg.io.files import atomic_path, check_folder, write_text
from gmseg.io.image_file import open_image
from gmseg.io.scan_reader import open_mask, open_scan
from gmseg.report import qc_slices
from gmseg.report.qc_facts import Facts, command_line, gather, header_facts, header_text_of, made_by
from gmseg.report.qc_volumes import volumes_script

PAGES = Path(__file__).with_name("assets")
_ASSETS = (
    "page.css",
    "text.js",
    "verdicts.js",
    "plot.js",
    "viewer.js",
    "scan.js",
    "page.js",
    "niivue.umd.js",
    "niivue-licences.txt",
)
_FORMAT = 1
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


def add_scan(
    folder,
    scan,
    mask,
    *,
    name: str | None = None,
    soft=None,
    spread=None,
    summary: dict | None = None,
    command: Sequence[str] | None = None,
    volume: int | None = None,
    mean: bool = False,
    header_text: bool = False,
) -> Path:
    """Add a scan and its mask to a report, or replace what the report has of this scan.

    Several processes may add different scans at a time; `write_index` comes last.

    Parameters
    ----------
    folder : path-like
        The report's; made if it does not exist.
    scan, mask : path-like
        The mask's grid is the scan's.
    name : str, optional
        What to call the scan on the page and in what is exported from it; by default the name of
        its file, without folders.
    soft, spread : path-like, optional
        The soft segmentation, and its standard deviation over the copies of test-time
        augmentation.
    summary : dict, optional
        From `gmseg.segment` or `gmseg.inference.segment.segment_files`: flags, expected_dice, and how the mask
        was made. Without it, flags are those that the header and the mask's areas raise.
    command : sequence of str, optional
        The command line; folders are taken out of it.
    volume, mean : int, bool
        What was taken of a 4-D scan, see `gmseg.segment`.
    header_text : bool
        Show the header's text fields, where names and dates can hide.

    Returns
    -------
    pathlib.Path
        The scan's folder within the report; it is there whole, or as it was before.

    Raises
    ------
    gmseg.errors.InputError
        If the folder is no report, an image cannot be read, or they do not belong together.
    """
    folder, scan = check_report(folder), Path(scan)
    image = open_image(scan)
    sources = {"scan": open_scan(scan, volume=volume, mean=mean)}
    given = {"mask": mask, "soft": soft, "spread": spread}
    called = {"mask": "mask", "soft": "soft segmentation", "spread": "spread"}
    for kind, path in given.items():
        if path is not None:
            sources[kind] = open_mask(path, sources["scan"], what=called[kind])
    facts = gather(sources["scan"], sources["mask"], mask, summary)
    place = scan_folder(folder, scan, name)
    name = name or scan.name
    with _whole_folder(folder, place) as temporary:
        pictures = qc_slices.draw(sources, facts, temporary)
        script, volumes = volumes_script(sources, facts, place.name)
        write_text(temporary / "volumes.js", script)
        detail = {
            **_plain(facts),
            **pictures,
            "name": name,
            "volumes": volumes,
            "header": header_facts(image, volume=volume, mean=mean),
            "header_text": header_text_of(image) if header_text else [],
            "made": made_by(summary),
            "command": command_line(command, scan.name, name) if command else None,
        }
        script = f'gmseg.scans["{place.name}"] = {as_script(detail)};\n'
        write_text(temporary / "facts.js", script)
        entry = {"format": _FORMAT, "name": name, **_entry(facts)}
        write_text(temporary / "facts.json", json.dumps(entry) + "\n")
    return place


def write_index(folder) -> Path:
    """Write the page of a report, and what it needs, from the scans that are in it.

    Parameters
    ----------
    folder : path-like
        A report's, or one that is to become one.

    Returns
    -------
    pathlib.Path
        The page: open it in a browser.
    """
    folder = check_report(folder)
    (folder / "page").mkdir(parents=True, exist_ok=True)
    for asset in _ASSETS:
        content, there = (PAGES / asset).read_bytes(), folder / "page" / asset
        if not there.exists() or there.read_bytes() != content:
            with atomic_path(there) as temporary:
                temporary.write_bytes(content)
    scans = []
    for place in sorted((folder / "scans").glob("*/facts.json")):
        entry = _read(place)
        if _KEY.fullmatch(place.parent.name) and entry.get("format") == _FORMAT:
            scans.append({"key": place.parent.name, **entry})
    page = (PAGES / "index.html").read_text(encoding="utf-8")
    content = as_script({"id": _mark(folder), "scans": scans})
    write_text(folder / "index.html", page.replace("{{ REPORT }}", content))
    return folder / "index.html"


def check_report(folder) -> Path:
    """Return a report's folder after checking that it is one, is empty, or can be made.

    Raises
    ------
    gmseg.errors.InputError
        If something else is in it.
    """
    folder = check_folder(folder)
    # others may be writing a file of theirs, whose temporary name begins with a dot
    others = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    if others and not _read(folder / "report.json").get("gmseg_report"):
        raise InputError(f"{folder}: holds files, and no report of gmseg; choose another folder")
    return folder


def scan_folder(folder, scan, name: str | None = None) -> Path:
    """Return where a report keeps a scan: named for its file, and never two scans in one.

    Parameters
    ----------
    folder : path-like
        The report's.
    scan : path-like
    name : str, optional
        See `add_scan`.
    """
    stem = re.sub(r"\.(nii|img|hdr|mgz|mnc)?(\.gz)?$", "", name or Path(scan).name)
    safe = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:60] or "scan"
    path = os.fsencode(Path(scan).resolve())
    return Path(folder) / "scans" / f"{safe}-{hashlib.sha256(path).hexdigest()[:8]}"


def as_script(value) -> str:
    """Return a value as JSON that may stand in a script or in a page, whatever its texts are."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _mark(folder: Path) -> str:
    """Return a report's id, under which a browser keeps verdicts; made once."""
    place = folder / "report.json"
    if not _read(place).get("id"):
        content = {"gmseg_report": _FORMAT, "id": secrets.token_hex(8)}
        write_text(place, json.dumps(content) + "\n")
    return _read(place)["id"]


def _read(path: Path) -> dict:
    """Return the object in a file of ours, or nothing where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextlib.contextmanager
def _whole_folder(folder: Path, place: Path):
    """Yield a temporary folder that takes a place in a report once it is complete, or no trace."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _mark(folder)  # first, for others may be looking whether this is a report
    place.parent.mkdir(exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".gmseg-", dir=place.parent))
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        yield new
        if place.exists():  # a folder cannot take the place of another in one step
            place.rename(old)
        try:
            new.rename(place)
        except BaseException:
            if old.exists():
                old.rename(place)
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):
                place.parent.rmdir()  # unless others have written something
                (folder / "report.json").unlink()
                for path in made:
                    path.rmdir()
        raise
    shutil.rmtree(temporary, ignore_errors=True)


def _plain(facts: Facts) -> dict:
    """Return what is known of a scan's slices, ready for JSON."""
    return {
        "slices": len(facts.numbers),
        "numbers": facts.numbers,
        "step_mm": round(facts.step_mm, 4),
        "area_mm2": facts.area_mm2,
        "expected_dice": facts.expected_dice,
        "volume_mm3": facts.volume_mm3,
        "flags": facts.flags,
        "mask_sha256": facts.mask_sha256,
    }


def _entry(facts: Facts) -> dict:
    """Return what the index tells of a scan."""
    areas = [area for area in facts.area_mm2 if area > 0]
    expected = sorted(value for value in facts.expected_dice or [] if value is not None)
    return {
        "slices": len(facts.numbers),
        "gm_slices": len(areas),
        "mean_area_mm2": round(sum(areas) / len(areas), 2) if areas else None,
        "expected_dice": expected[len(expected) // 2] if expected else None,
        "flags": [{"name": flag["name"], "text": flag["text"]} for flag in facts.flags],
        "mask_sha256": facts.mask_sha256,
    }
