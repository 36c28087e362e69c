"""What is written of a BIDS dataset's scans, where, under which names, and read again."""

from __future__ import annotations

import csv
import json
import os
import re
import statistics
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, unquote

from gmseg.batch.bids_query import Scan, description_of, read_description
from gmseg.errors import InputError
from gmseg.io.files import check_folder, write_text
from gmseg.io.tables import sidecar_of
from gmseg.morphometry.areas import COLUMNS, Column

BIDS_VERSION = "1.11.1"
CODE_URL = "https://github.com/neuropoly/gmseg"
PAPER = "https://doi.org/10.1038/s41598-018-24304-3"
RAW = "raw"
"""The dataset of the scans, in BIDS URIs."""

PAGE = "qc"
GROUP_TABLE = "group_label-GM_morph.tsv"
_DESCRIPTION = "dataset_description.json"
_KNOWN = re.compile(r"\..*|(README|CHANGES|CHANGELOG|LICENSE)(\..*)?|code|sourcedata|logs")
"""What may lie in a folder that is to become a dataset."""

_ORDER = (
    "sub",
    "ses",
    "task",
    "acq",
    "ce",
    "rec",
    "run",
    "echo",
    "part",
    "space",
    "chunk",
    "label",
    "desc",
)
# the book has no name yet for tables of areas; _morph is the draft's on structural derivatives
_IGNORED = f"{PAGE}\n*_morph.tsv\n*_morph.json\n"
_README = """\
Gray matter of the spinal cord in the T2*-weighted scans of a BIDS dataset, by gmseg.

*_space-orig_label-GM_mask.nii.gz: 1 is gray matter, on the scan's own grid.
*_space-orig_label-GM_probseg.nii.gz: the probability of gray matter.
*_space-orig_label-GM_morph.tsv: areas and volumes, a row per slice, and one for all.
*_desc-rms*_T2starw.nii.gz: the root mean square of the echoes of one scan, which was segmented.
{group}: a row per scan, once the group level was run.
{page}/index.html: pictures, flags and a viewer; open it in a browser.
logs/: one line for each scan that failed.

The JSON file beside each file tells what it was made of, and how. Look at the masks before you
use the numbers: gmseg is a research tool. Code: {code}. Paper: {paper}.
"""


# ---------------------------------------------------------------------------- the names of files


def derivative(scan: Scan, suffix: str, extension: str, **entities: str) -> Path:
    """Return where a derivative of a scan lies within the dataset of derivatives.

    Examples
    --------
    >>> scan = Scan(Path(), (), {"sub": "01", "chunk": "2"}, "T2starw")
    >>> derivative(scan, "mask", ".json", label="GM", space="orig").as_posix()
    'sub-01/anat/sub-01_space-orig_chunk-2_label-GM_mask.json'
    """
    every = scan.entities | {key: value for key, value in entities.items() if value}
    parts = [f"{key}-{every[key]}" for key in _ORDER if key in every]
    return scan.folder / ("_".join([*parts, suffix]) + extension)


def combination(scan: Scan) -> Path:
    """Return where the combination of a scan's echoes lies; its suffix may not be MEGRE."""
    desc = "rmsMEGRE" if scan.suffix == "MEGRE" else "rms"
    return derivative(scan, "T2starw", ".nii.gz", desc=desc)


def outputs(scan: Scan) -> dict[str, Path]:
    """Return where a scan's mask, soft segmentation and table lie.

    A MEGRE and a T2starw, or a T2starw and its echoes, may have the same entities: ``desc`` tells
    them apart.
    """
    desc = "MEGRE" if scan.suffix == "MEGRE" else "rms" if len(scan.files) > 1 else ""
    told = {"mask": ("mask", ".nii.gz"), "soft": ("probseg", ".nii.gz"), "table": ("morph", ".tsv")}
    return {
        kind: derivative(scan, *ending, space="orig", label="GM", desc=desc)
        for kind, ending in told.items()
    }


def json_of(file: Path) -> Path:
    """Return the sidecar of an image or a table."""
    return sidecar_of(file.with_name(file.name.removesuffix(".gz")))


def fault_file(scan: Scan) -> Path:
    """Return where it is noted why a scan failed."""
    return Path("logs", f"{scan.name}.txt")


# ------------------------------------------------------------------------- the dataset's own files


def check_out_dir(bids_dir: Path, out_dir: Path) -> None:
    """Refuse a folder where derivatives may not lie, or that holds those of something else."""
    check_folder(out_dir)
    usual = Path(bids_dir) / "derivatives" / "gmseg"
    place = Path(out_dir).resolve()
    for dataset in place.parents:
        within = place.relative_to(dataset).parts
        allowed = dataset.name == "derivatives" or (within[0] == "derivatives" and len(within) > 1)
        if (dataset / _DESCRIPTION).exists() and not allowed:
            raise InputError(
                f"{out_dir}: lies within the dataset {dataset}, not in a folder of its "
                f"derivatives; choose another, such as {usual}"
            )
    if not (place / _DESCRIPTION).exists():
        others = [path for path in place.glob("*") if not _KNOWN.fullmatch(path.name)]
        if others:
            raise InputError(
                f"{out_dir}: holds files such as {others[0].name}, and is no dataset of gmseg's; "
                f"choose another folder, such as {usual}"
            )
        return
    there = description_of(place)
    if there is None or not _is_ours(there):
        raise InputError(
            f"{out_dir}: holds another dataset; choose another folder, such as {usual}"
        )
    linked = (place / unquote(_links(there).get(RAW, ""))).resolve()
    if linked not in (place, Path(bids_dir).resolve()) and linked.is_dir():
        raise InputError(
            f"{out_dir}: holds derivatives of {linked}, not of {bids_dir}; choose another folder"
        )


def write_dataset(bids_dir: Path, out_dir: Path) -> None:
    """Write what every dataset of derivatives has; what users wrote into it is kept."""
    raw = read_description(Path(bids_dir))
    relative = os.path.relpath(Path(bids_dir).resolve(), Path(out_dir).resolve())
    source = {"URL": f"bids:{RAW}:"}
    source |= {"DOI": raw["DatasetDOI"]} if isinstance(raw.get("DatasetDOI"), str) else {}
    fresh = {
        "Name": f"gmseg: gray matter of the spinal cord in {raw.get('Name', 'a BIDS dataset')}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "gmseg",
                "Version": metadata.version("gmseg"),
                "Description": "Segmentation of spinal cord gray matter",
                "CodeURL": CODE_URL,
            }
        ],
        "SourceDatasets": [source],
        "DatasetLinks": {RAW: quote(Path(relative).as_posix())},
        "HowToAcknowledge": f"Cite {PAPER}",
        "ReferencesAndLinks": [PAPER],
    }
    old = description_of(Path(out_dir)) or {}
    others = [one for one in old.get("GeneratedBy", []) if not _is_ours({"GeneratedBy": [one]})]
    new = {
        **fresh,
        **old,
        "GeneratedBy": fresh["GeneratedBy"] + others,
        "DatasetLinks": _links(old) | fresh["DatasetLinks"],
    }
    Path(out_dir).mkdir(parents=True, exist_ok=True)
    if new != old:
        write_json(Path(out_dir) / _DESCRIPTION, new)
    readme = _README.format(group=GROUP_TABLE, page=PAGE, code=CODE_URL, paper=PAPER)
    for name, text in (("README", readme), (".bidsignore", _IGNORED)):
        if not (Path(out_dir) / name).exists():
            write_text(Path(out_dir) / name, text)


def write_json(file: Path, content: dict) -> None:
    """Write a JSON file for people to read."""
    write_text(file, json.dumps(content, indent=2) + "\n")


def _is_ours(description: dict) -> bool:
    made_by = description.get("GeneratedBy")
    return isinstance(made_by, list) and any(
        isinstance(entry, dict) and entry.get("Name") == "gmseg" for entry in made_by
    )


def _links(description: dict) -> dict:
    links = description.get("DatasetLinks")
    return links if isinstance(links, dict) else {}


# -------------------------------------------------------------------------- what sidecars tell


def combination_facts(scan: Scan, choices: dict) -> dict:
    """Return the sidecar of the combination of a scan's echoes."""
    return {
        "Description": f"Root mean square of {len(scan.files)} echoes",
        "Sources": _uris(scan),
        "SkullStripped": False,
        **_taken(choices),
    }


def facts(scan: Scan, summary: dict, mark: str, choices: dict) -> tuple[dict, dict]:
    """Return the sidecars of a scan's mask and of its soft segmentation.

    Parameters
    ----------
    scan : Scan
    summary : dict
        Of `gmseg.Segmentation`.
    mark : str
        What stands in the images' headers, see `gmseg.io.image.mark_of`.
    choices : dict
        Of `gmseg.segment`.
    """
    combined = len(scan.files) > 1
    common = {
        "SpatialReference": "orig",
        "Sources": [f"bids::{combination(scan).as_posix()}"] if combined else _uris(scan),
        "Manual": False,
        **({} if combined else _taken(choices)),
        "Model": summary["model"],
        "ModelWeightsSHA256": summary["model_sha256"],
        "GmsegVersion": summary["gmseg_version"],
        "Standardisation": summary["standardise"],
        "Window": summary["window"],
        **(
            {"TestTimeAugmentation": {"Copies": summary["tta"], "Seed": summary["seed"]}}
            if summary["tta"]
            else {}
        ),
        "MadeFrom": mark,
    }
    mask = {
        "Description": "Gray matter of the spinal cord: 1",
        "Type": "ROI",
        "Threshold": summary["threshold"],
        **common,
        "ExpectedDice": summary["expected_dice"],
        "Flags": [
            {"Name": flag["name"], "Text": flag["text"], "Slices": list(flag["slices"])}
            for flag in summary["flag_details"]
        ],
    }
    return mask, {"Description": "Probability of gray matter of the spinal cord", **common}


def _uris(scan: Scan) -> list[str]:
    return [f"bids:{RAW}:{file.relative_to(scan.root).as_posix()}" for file in scan.files]


def _taken(choices: dict) -> dict:
    """Return what was taken of a 4-D scan."""
    taken = "mean" if choices.get("mean") else choices.get("volume")
    return {} if taken is None else {"Volume": taken}


def read_facts(out_dir: Path, scan: Scan) -> dict | None:
    """Return the sidecar of a scan's mask, None where the scan is not done."""
    files = {kind: out_dir / file for kind, file in outputs(scan).items()}
    try:
        content = json.loads(json_of(files["mask"]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(content, dict) and all(file.exists() for file in files.values())
    return content if whole else None


# ----------------------------------------------------------------------------- a row of the group

_WHO = {
    "participant_id": Column("participant"),
    "session_id": Column("session"),
    "acquisition": Column("acquisition, as the scan's name has it"),
    "run": Column("run"),
    "source": Column("the scan in the dataset; of several echoes, the first"),
}
_HOW = {
    "expected_dice": Column("median over the slices of the Dice that the model foretells", "1"),
    "flags": Column("names of what looked suspicious, or none; the mask's sidecar tells more"),
    "model": Column("the model that made the mask"),
    "gmseg_version": Column("the version of gmseg that made it"),
    "problem": Column("why there is no mask"),
}
_MEASURED = {
    name: column
    for name, column in COLUMNS.items()
    if (name.startswith(("slices", "gm_")) and "ratio" not in name)
    or name in ("turn_deg", "obliqueness_deg")
}
GROUP_COLUMNS = _WHO | _MEASURED | _HOW
"""The columns of the group table; areas are means over the slices with gray matter."""


def group_row(out_dir: Path, scan: Scan) -> dict:
    """Return a scan's row of the group table; what is not known is None.

    Raises
    ------
    gmseg.errors.InputError
        If its table is none of ours.
    """
    row = dict.fromkeys(GROUP_COLUMNS)
    keys = {"participant_id": "sub", "session_id": "ses"}
    row |= {
        name: f"{key}-{scan.entities[key]}" for name, key in keys.items() if key in scan.entities
    }
    row |= {
        "acquisition": scan.entities.get("acq"),
        "run": scan.entities.get("run"),
        "source": scan.files[0].relative_to(scan.root).as_posix(),
    }
    found = read_facts(out_dir, scan)
    if found is None:
        fault = out_dir / fault_file(scan)
        why = fault.read_text(encoding="utf-8") if fault.exists() else "not segmented yet"
        return row | {"problem": why.removeprefix(f"{row['source']}: ")}
    table = out_dir / outputs(scan)["table"]
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[-1].get("region") != "all":
        raise InputError(f"{table}: is no table of gmseg's; segment the scan anew (--overwrite)")
    expected = [dice for dice in found.get("ExpectedDice", []) if dice is not None]
    return (
        row
        | {name: rows[-1].get(name) for name in _MEASURED}
        | {
            "expected_dice": statistics.median(expected) if expected else None,
            "flags": ",".join(flag["Name"] for flag in found.get("Flags", [])) or "none",
            "model": found.get("Model"),
            "gmseg_version": found.get("GmsegVersion"),
        }
    )
