"""The QC page: one self-contained folder that a browser opens from disk, to check masks by eye."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from gmseg.errors import InputError
from gmseg.io.files import (
    atomic_path,
    check_folder,
    flush_file,
    flush_folder,
    is_empty_file,
    write_text,
)
from gmseg.io.image_file import open_image
from gmseg.io.scan_reader import ScanReader, open_mask, open_scan
from gmseg.io.temporary import temporary_folder
from gmseg.report.qc_facts import (
    Facts,
    collect_facts,
    command_line,
    header_facts,
    header_texts,
    provenance,
)
from gmseg.report.qc_slices import write_images
from gmseg.report.qc_volumes import volumes_script

_SOURCES = Path(__file__).with_name("assets")
_ASSETS = (
    "page.css",
    "text.js",
    "verdicts.js",
    "plot.js",
    "overview.js",
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
    label: int | None = None,
    soft=None,
    spread=None,
    cord=None,
    summary: dict | None = None,
    command: Sequence[str] | None = None,
    volume: int | None = None,
    mean: bool = False,
    header_text: bool = False,
) -> Path:
    """Add a scan to a report, or replace its entry; call `write_index` after the last one.

    Several processes may add different scans at a time.

    Parameters
    ----------
    folder, scan, mask : path-like
        Folder of the report, created if missing; scan, and mask on its grid.
    name : str, optional
        Name on the page and in exports; the file name by default.
    label : int, optional
        Value of GM in a mask with other values than 0 and 1.
    soft, spread : path-like, optional
        Soft segmentation, and its standard deviation over the copies of TTA.
    cord : path-like, optional
        Cord mask, whose outline and area are shown.
    summary : dict, optional
        Summary of the segmentation, see `collect_facts`.
    command : sequence of str, optional
        Command line to show without folders.
    volume, mean : int, bool
        Volume of a 4-D scan, see `gmseg.segment`.
    header_text : bool
        Show the text fields of the header, which can contain names and dates.

    Returns
    -------
    pathlib.Path
        Folder of the scan within the report; complete, or as it was before an error.

    Raises
    ------
    gmseg.errors.InputError
        If the folder is not a report, an image cannot be read, or they do not belong together.
    """
    folder, scan = check_report(folder), Path(scan)
    masks = {"mask": mask, "soft": soft, "spread": spread, "cord": cord}
    readers = _open_readers(scan, masks, label, volume=volume, mean=mean)
    facts = collect_facts(readers["scan"], readers["mask"], mask, summary, cord=readers.get("cord"))
    place = scan_folder(folder, scan, name)
    image, name = open_image(scan), name or scan.name
    texts = {
        "name": name,
        "header": header_facts(image, volume=volume, mean=mean),
        "header_text": header_texts(image) if header_text else [],
        "made": provenance(summary),
        "command": command_line(command, scan.name, name) if command else None,
    }
    with _new_entry(folder, place) as temporary:
        _write_scan(temporary, readers, facts, texts, place.name)
    return place


def _open_readers(
    scan: Path, masks: dict, label: int | None, *, volume, mean
) -> dict[str, ScanReader]:
    """Open a scan, and the masks and layers that are given."""
    readers = {"scan": open_scan(scan, volume=volume, mean=mean)}
    titles = {"mask": "mask", "soft": "soft segmentation", "spread": "spread", "cord": "cord mask"}
    for kind, path in masks.items():
        if path is not None:
            value = label if kind == "mask" else None
            readers[kind] = open_mask(path, readers["scan"], what=titles[kind], label=value)
    return readers


def _write_scan(folder: Path, readers, facts: Facts, texts: dict, key: str) -> None:
    """Write images, volumes and facts of a scan."""
    images = write_images(readers, facts, folder)
    volumes, description = volumes_script(readers, facts, key)
    write_text(folder / "volumes.js", volumes)
    detail = {**_slice_facts(facts), **images, **texts, "volumes": description}
    write_text(folder / "facts.js", f'gmseg.scans["{key}"] = {script_json(detail)};\n')
    entry = {"format": _FORMAT, "name": texts["name"], **_index_entry(facts)}
    write_text(folder / "facts.json", json.dumps(entry) + "\n")


def write_index(folder) -> Path:
    """Write the page of a report with all scans that are in it, and return its path.

    Parameters
    ----------
    folder : path-like
        Folder of a report, or an empty or missing one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_index(folder).name
    'index.html'
    """
    folder = check_report(folder)
    report_id = _begin(folder)
    _write_assets(folder / "page")
    page = (_SOURCES / "index.html").read_text(encoding="utf-8")
    scans = None
    while (entries := _entries(folder)) != scans:  # until no process has added another meanwhile
        scans = entries
        report = script_json({"id": report_id, "scans": scans})
        write_text(folder / "index.html", page.replace("{{ REPORT }}", report))
    return folder / "index.html"


def _write_assets(folder: Path) -> None:
    """Write the scripts and styles of the page."""
    folder.mkdir(exist_ok=True)
    for asset in _ASSETS:
        content, target = (_SOURCES / asset).read_bytes(), folder / asset
        if not target.exists() or target.read_bytes() != content:
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)


def _entries(folder: Path) -> list[dict]:
    """Return what the list of the page shows of each scan in a report."""
    entries = []
    for file in sorted((folder / "scans").glob("*/facts.json")):
        entry = _read_json(file)
        if _KEY.fullmatch(file.parent.name) and entry.get("format") == _FORMAT:
            entries.append({"key": file.parent.name, **entry})
    return entries


def is_complete(place: Path) -> bool:
    """Return whether the folder of a scan in a report has all its files.

    Parameters
    ----------
    place : pathlib.Path
        From `scan_folder`.

    Examples
    --------
    >>> is_complete(Path("no-such-folder"))
    False
    """
    scripts = (place / "facts.js", place / "volumes.js")
    return (
        _read_json(place / "facts.json").get("format") == _FORMAT
        and all(script.is_file() for script in scripts)
        and not any(is_empty_file(file) for file in place.iterdir())
    )


def check_report(folder) -> Path:
    """Return the folder of a report after checking that it is one, is empty or can be created.

    Raises
    ------
    gmseg.errors.InputError
        If the folder contains other files.
    """
    folder = check_folder(folder)
    mark = folder / "report.json"  # written before all others, see _begin
    ignored = {mark.name} if is_empty_file(mark) else set()
    # another process may be writing a file, whose temporary name begins with a dot
    others = folder.is_dir() and any(
        not path.name.startswith(".") and path.name not in ignored for path in folder.iterdir()
    )
    if others and not _read_json(mark).get("gmseg_report"):
        raise InputError(f"{folder}: contains files but no report of gmseg; choose another folder")
    return folder


def scan_folder(folder, scan, name: str | None = None) -> Path:
    """Return the folder of a scan in a report; its name contains a checksum of the scan's path.

    Parameters
    ----------
    folder : path-like
        Folder of the report.
    scan : path-like
        Scan.
    name : str, optional
        Name of the scan on the page, see `add_scan`.

    Examples
    --------
    >>> scan_folder("qc", "/data/sub-01/t2s.nii.gz").as_posix()
    'qc/scans/t2s-53cfe02a'
    """
    stem = re.sub(r"\.(nii|img|hdr|mgz|mnc)?(\.gz)?$", "", name or Path(scan).name)
    safe = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:60] or "scan"
    path = os.fsencode(Path(scan).resolve())
    return Path(folder) / "scans" / f"{safe}-{hashlib.sha256(path).hexdigest()[:8]}"


def script_json(value) -> str:
    """Return a value as JSON that is safe within a script or a page, whatever its texts are.

    Examples
    --------
    >>> "</script>" in script_json({"name": "</script>"})
    False
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII only
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _begin(folder: Path) -> str:
    """Create a report, unless there is one; return its id, under which browsers keep verdicts.

    The file with the id comes before all others, because it shows other processes, and later
    ones if this one is killed, that the folder is a report.
    """
    file = folder / "report.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not (existing := _read_json(file)).get("id"):
        content = {"gmseg_report": _FORMAT, "id": secrets.token_hex(8)}
        with contextlib.suppress(InputError):  # another process was faster
            write_text(file, json.dumps(content) + "\n", overwrite=bool(existing))
    return _read_json(file)["id"]


def _read_json(path: Path) -> dict:
    """Return the object in a JSON file, empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextlib.contextmanager
def _new_entry(folder: Path, place: Path) -> Iterator[Path]:
    """Yield a folder that replaces a place in a report on success, or leaves no trace."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with _folder_in_report(folder, place) as temporary:
            new = temporary / "new"
            new.mkdir()
            yield new
            for file in new.iterdir():
                flush_file(file)
            flush_folder(new)
            _begin(folder)
            place.parent.mkdir(exist_ok=True)
            _replace_folder(new, place, temporary)
            flush_folder(place.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # where another process has written something
            for path in created:
                path.rmdir()
        raise


@contextlib.contextmanager
def _folder_in_report(folder: Path, place: Path) -> Iterator[Path]:
    """Yield a temporary folder in a report, whose folder another process may have removed."""
    with contextlib.ExitStack() as stack:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary = stack.enter_context(temporary_folder(place, folder))
                break
            except FileNotFoundError:
                continue
        yield temporary


def _replace_folder(new: Path, place: Path, aside: Path) -> None:
    """Move a folder to a place, and what is there aside; others may do the same."""
    for attempt in itertools.count():
        old = aside / f"old-{attempt}"
        try:
            with contextlib.suppress(FileNotFoundError):
                place.rename(old)  # a folder cannot replace another in one step
            new.rename(place)
            return
        except BaseException as error:
            if isinstance(error, OSError) and new.exists() and place.exists():
                continue  # another process has put its own there
            if old.exists() and not place.exists():
                old.rename(place)
            raise


def _slice_facts(facts: Facts) -> dict:
    """Return the facts of all slices, ready for JSON."""
    return {
        "slices": len(facts.numbers),
        "numbers": facts.numbers,
        "step_mm": round(facts.step_mm, 4),
        "area_mm2": facts.area_mm2,
        "expected_dice": facts.expected_dice,
        "cord_area_mm2": facts.cord_area_mm2,
        "volume_mm3": facts.volume_mm3,
        "flags": facts.flags,
        "mask_sha256": facts.mask_sha256,
    }


def _index_entry(facts: Facts) -> dict:
    """Return the facts of a scan that the list shows."""
    areas = [area for area in facts.area_mm2 if area > 0]
    expected = sorted(dice for dice in facts.expected_dice or [] if dice is not None)
    return {
        "slices": len(facts.numbers),
        "gm_slices": len(areas),
        "mean_area_mm2": _mean(areas, 2),
        "areas_mm2": [round(area, 2) for area in facts.area_mm2],
        "step_mm": round(facts.step_mm, 4),
        **_cord_entry(facts),
        "expected_dice": expected[len(expected) // 2] if expected else None,
        "lowest_expected_dice": expected[0] if expected else None,
        "flags": [{"name": flag["name"], "text": flag["text"]} for flag in facts.flags],
        "mask_sha256": facts.mask_sha256,
    }


def _cord_entry(facts: Facts) -> dict:
    """Return mean cord area and GM/cord ratio of the slices with GM and cord."""
    if facts.cord_area_mm2 is None:
        return {}
    pairs = zip(facts.area_mm2, facts.cord_area_mm2, strict=True)
    both = [(area, cord) for area, cord in pairs if area > 0 and cord > 0]
    return {
        "mean_cord_area_mm2": _mean([cord for _, cord in both], 2),
        "gm_cord_ratio": _mean([area / cord for area, cord in both], 4),
    }


def _mean(values: list[float], decimals: int) -> float | None:
    return round(sum(values) / len(values), decimals) if values else None
