"""Names and contents of the files that the BIDS App writes."""

from __future__ import annotations

import csv
import json
import os
import re
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, unquote

from gmseg.batch.bids_query import DESCRIPTION, ENTITIES, Scan, check_raw_dataset, read_description
from gmseg.errors import InputError
from gmseg.inference.segmentation import CORD_THRESHOLD
from gmseg.io.files import check_folder, write_text
from gmseg.io.tables import sidecar_of

BIDS_VERSION = "1.11.1"
CODE_URL = "https://github.com/neuropoly/gmseg"
PAPER = "https://doi.org/10.1038/s41598-018-24304-3"
RAW = "raw"
"""Name of the dataset of the scans in BIDS URIs."""

LABELS = {"wm": "WM", "cord": "SC"}
"""Labels of the tissues that only a model with a cord output segments."""

PAGE = "qc"
GROUP_TABLE = "group_label-GM_morph.tsv"
_ORDER = (*ENTITIES[:-1], "space", "chunk", "label", "desc")
_ALLOWED = re.compile(r"\..*|(README|CHANGES|CHANGELOG|LICENSE)(\..*)?|code|sourcedata|logs")
"""Files that a folder may contain before it becomes a dataset of derivatives."""

# BIDS has no suffix for tables of areas yet; its draft on structural derivatives has _morph
_BIDSIGNORE = f"{PAGE}\n*_morph.tsv\n*_morph.json\n"
_README = f"""\
Gray matter of the spinal cord in the T2*-weighted scans of a BIDS dataset, segmented by gmseg.

*_space-orig_label-GM_mask.nii.gz: mask on the scan's native grid; 1 is gray matter.
*_space-orig_label-GM_probseg.nii.gz: soft segmentation, the probability of gray matter.
*_space-orig_label-WM_*, *_space-orig_label-SC_*: the same for white matter (spinal cord without
  gray matter) and spinal cord, if the model segments them.
*_space-orig_label-GM_morph.tsv: areas and volumes; one row per slice and one for all slices.
*_desc-rms*_T2starw.nii.gz: root mean square of the echoes of one scan, which was segmented.
{GROUP_TABLE}: one row per scan, written by the group level.
{PAGE}/index.html: QC page with images, QC flags and a viewer; open it in a browser.
logs/: one line for each scan that failed.

The JSON file next to each file says how it was made and from which files. gmseg is a research
tool: check the masks before you use the numbers. Code: {CODE_URL}. Paper: {PAPER}.
"""

# ------------------------------------------------------------------------------------ file names


def derivative(scan: Scan, ending: str, **entities: str) -> Path:
    """Return the path of a scan's derivative within the dataset of derivatives.

    Examples
    --------
    >>> scan = Scan(Path(), (), {"sub": "01", "chunk": "2"}, "T2starw")
    >>> derivative(scan, "mask.json", label="GM", space="orig").as_posix()
    'sub-01/anat/sub-01_space-orig_chunk-2_label-GM_mask.json'
    """
    merged = scan.entities | {key: value for key, value in entities.items() if value}
    parts = [f"{key}-{merged[key]}" for key in _ORDER if key in merged]
    return scan.folder / "_".join([*parts, ending])


def combined_echoes(scan: Scan) -> Path:
    """Return the path of the image that combines a scan's echoes; its suffix cannot be MEGRE.

    Examples
    --------
    >>> combined_echoes(Scan(Path(), (), {"sub": "01"}, "MEGRE")).name
    'sub-01_desc-rmsMEGRE_T2starw.nii.gz'
    """
    desc = "rmsMEGRE" if scan.suffix == "MEGRE" else "rms"
    return derivative(scan, "T2starw.nii.gz", desc=desc)


def outputs(scan: Scan, *, cord: bool = False) -> dict[str, Path]:
    """Return the paths of a scan's table and images, by kind as in `gmseg.inference.segment.TYPES`.

    With `cord`, they include those of white matter and cord. The entity ``desc`` separates scans
    whose names have the same entities: a MEGRE and a T2starw scan, or a T2starw scan and its single
    echoes.

    Examples
    --------
    >>> outputs(Scan(Path(), (), {"sub": "01"}, "T2starw"))["mask"].name
    'sub-01_space-orig_label-GM_mask.nii.gz'
    >>> outputs(Scan(Path(), (), {"sub": "01"}, "T2starw"), cord=True)["wm_soft"].name
    'sub-01_space-orig_label-WM_probseg.nii.gz'
    """
    desc = "MEGRE" if scan.suffix == "MEGRE" else "rms" if len(scan.files) > 1 else ""
    mask, soft = "mask.nii.gz", "probseg.nii.gz"
    names = {"mask": ("GM", mask), "soft": ("GM", soft), "table": ("GM", "morph.tsv")}
    for tissue, label in LABELS.items() if cord else ():
        names |= {tissue: (label, mask), f"{tissue}_soft": (label, soft)}
    return {
        kind: derivative(scan, ending, space="orig", label=label, desc=desc)
        for kind, (label, ending) in names.items()
    }


def sidecar_path(file: Path) -> Path:
    """Return the path of the JSON file that describes an image or a table.

    Examples
    --------
    >>> sidecar_path(Path("sub-01_mask.nii.gz")).name
    'sub-01_mask.json'
    """
    return sidecar_of(file.with_name(file.name.removesuffix(".gz")))


def log_path(scan: Scan) -> Path:
    """Return the path of the text file that says why a scan failed."""
    return Path("logs", f"{scan.name}.txt")


# ------------------------------------------------------------------------- the dataset's own files


def check_out_dir(bids_dir: Path, out_dir: Path) -> None:
    """Refuse a folder that BIDS does not allow for derivatives or that contains other data.

    Raises
    ------
    gmseg.errors.InputError
        If the folder lies in a dataset but not in its ``derivatives``, or contains other files,
        another dataset, or the derivatives of another dataset.
    """
    check_folder(out_dir)
    bids_dir = Path(bids_dir)
    if fault := _fault_of_place(bids_dir.resolve(), Path(out_dir).resolve()):
        usual = bids_dir / "derivatives" / "gmseg"
        raise InputError(f"{out_dir}: {fault}; choose another folder, such as {usual}")


def _fault_of_place(bids_dir: Path, out_dir: Path) -> str | None:
    """Return why derivatives of one folder may not be written to another, or None."""
    for dataset in out_dir.parents:
        inner = out_dir.relative_to(dataset).parts
        allowed = dataset.name == "derivatives" or (inner[0] == "derivatives" and len(inner) > 1)
        if (dataset / DESCRIPTION).exists() and not allowed:
            return f"lies within the dataset {dataset} but not in its derivatives"
    if not (out_dir / DESCRIPTION).exists():
        others = [path.name for path in out_dir.glob("*") if not _ALLOWED.fullmatch(path.name)]
        return f"contains other files, such as {others[0]}" if others else None
    description = read_description(out_dir)
    if description is None or not any(map(_is_gmseg, _generators(description))):
        return "contains another dataset"
    linked = (out_dir / unquote(_links(description).get(RAW, ""))).resolve()
    if linked not in (out_dir, bids_dir) and linked.is_dir():
        return f"contains derivatives of {linked}"
    return None


def write_dataset_files(bids_dir: Path, out_dir: Path) -> None:
    """Write the description, the README and .bidsignore; keep what users wrote into them."""
    out_dir = Path(out_dir)
    new = _new_description(Path(bids_dir), out_dir)
    old = read_description(out_dir) or {}
    merged = {
        **new,
        **old,
        "GeneratedBy": new["GeneratedBy"]
        + [generator for generator in _generators(old) if not _is_gmseg(generator)],
        "DatasetLinks": _links(old) | new["DatasetLinks"],
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    if merged != old:
        _write_json(out_dir / DESCRIPTION, merged)
    for name, text in (("README", _README), (".bidsignore", _BIDSIGNORE)):
        if not (out_dir / name).exists():
            write_text(out_dir / name, text)


def _new_description(bids_dir: Path, out_dir: Path) -> dict:
    """Return the description of a dataset of derivatives that does not exist yet."""
    raw = check_raw_dataset(bids_dir)
    link = Path(os.path.relpath(bids_dir.resolve(), out_dir.resolve())).as_posix()
    source = {"URL": f"bids:{RAW}:"}
    if isinstance(raw.get("DatasetDOI"), str):
        source["DOI"] = raw["DatasetDOI"]
    generator = {
        "Name": "gmseg",
        "Version": metadata.version("gmseg"),
        "Description": "Segmentation of spinal cord gray matter",
        "CodeURL": CODE_URL,
    }
    return {
        "Name": f"gmseg: gray matter of the spinal cord in {raw.get('Name', 'a BIDS dataset')}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "SourceDatasets": [source],
        "DatasetLinks": {RAW: quote(link)},
        "HowToAcknowledge": f"Cite {PAPER}",
        "ReferencesAndLinks": [PAPER],
    }


def _generators(description: dict) -> list:
    generators = description.get("GeneratedBy")
    return generators if isinstance(generators, list) else []


def _is_gmseg(generator) -> bool:
    return isinstance(generator, dict) and generator.get("Name") == "gmseg"


def _links(description: dict) -> dict:
    links = description.get("DatasetLinks")
    return links if isinstance(links, dict) else {}


# -------------------------------------------------------------------------------------- sidecars


def echoes_sidecar(scan: Scan, choices: dict) -> dict:
    """Return the sidecar of the image that combines a scan's echoes."""
    return {
        "Description": f"Root mean square of {len(scan.files)} echoes",
        "Sources": _source_uris(scan),
        "SkullStripped": False,
        **_volume_entry(choices),
    }


def segmentation_sidecars(scan: Scan, summary: dict, mark: str, choices: dict) -> dict[str, dict]:
    """Return the sidecars of a scan's masks and soft segmentations, by kind as in `outputs`.

    Parameters
    ----------
    scan : Scan
        The scan.
    summary : dict
        Summary of the segmentation, see `gmseg.inference.summary.Summary.to_dict`. If it has cord
        areas, there are sidecars of white matter and cord.
    mark : str
        Description in the headers of the images, see `gmseg.io.image.description_of`.
    choices : dict
        The options `volume` and `mean` of `gmseg.segment` that were used.
    """
    combined = len(scan.files) > 1
    common = {
        "SpatialReference": "orig",
        "Sources": [f"bids::{combined_echoes(scan).as_posix()}"]
        if combined
        else _source_uris(scan),
        "Manual": False,
        **({} if combined else _volume_entry(choices)),
        "Model": summary["model"],
        "ModelWeightsSHA256": summary["model_sha256"],
        "GmsegVersion": summary["gmseg_version"],
        "Standardisation": summary["standardise"],
        "Window": summary["window"],
    }
    if summary["tta"]:
        common["TestTimeAugmentation"] = {"Copies": summary["tta"], "Seed": summary["seed"]}
    common["MadeFrom"] = mark
    mask = {
        "Description": "Mask of the gray matter of the spinal cord: 1 is gray matter",
        "Type": "ROI",
        "Threshold": summary["threshold"],
        **common,
        "ExpectedDice": summary["expected_dice"],
        "Flags": [
            {"Name": flag["name"], "Text": flag["text"], "Slices": list(flag["slices"])}
            for flag in summary["flag_details"]
        ],
    }
    soft = {"Description": "Probability of gray matter of the spinal cord", **common}
    if summary["cord_area_mm2"] is None:
        return {"mask": mask, "soft": soft}
    mask["Labels"] = ["GM", *LABELS.values()]  # of all masks of this scan
    return {"mask": mask, "soft": soft} | _cord_sidecars(common)


def _cord_sidecars(common: dict) -> dict[str, dict]:
    """Return the sidecars of white matter and cord."""
    mask, soft = "Mask of the", "Probability of"
    white = "white matter of the spinal cord"
    own: dict[str, dict] = {
        "wm": {"Description": f"{mask} {white}: cord without gray matter", "Type": "ROI"},
        "wm_soft": {"Description": f"{soft} {white}: that of cord minus that of gray matter"},
        "cord": {
            "Description": f"{mask} spinal cord: 1 is cord",
            "Type": "ROI",
            "Threshold": CORD_THRESHOLD,
        },
        "cord_soft": {"Description": f"{soft} spinal cord"},
    }
    return {kind: entries | common for kind, entries in own.items()}


def write_sidecar(file: Path, content: dict) -> None:
    """Write the JSON file that describes an image."""
    _write_json(sidecar_path(file), content)


def _write_json(file: Path, content: dict) -> None:
    write_text(file, json.dumps(content, indent=2) + "\n")


def _source_uris(scan: Scan) -> list[str]:
    return [f"bids:{RAW}:{file.relative_to(scan.root).as_posix()}" for file in scan.files]


def _volume_entry(choices: dict) -> dict:
    """Return the entry that says which volume of a 4-D scan was used."""
    volume = "mean" if choices.get("mean") else choices.get("volume")
    return {} if volume is None else {"Volume": volume}


def read_mask_sidecar(out_dir: Path, scan: Scan) -> dict | None:
    """Return the sidecar of a scan's mask, or None if one of the scan's files is missing."""
    content = read_sidecar(out_dir / outputs(scan)["mask"])
    if content is None:
        return None
    files = outputs(scan, cord="Labels" in content).values()
    return content if all((out_dir / file).exists() for file in files) else None


def read_sidecar(file: Path) -> dict | None:
    """Return the content of the JSON file that describes an image or a table, if it is readable.

    Examples
    --------
    >>> read_sidecar(Path("no-such-file.nii.gz"))
    """
    try:
        content = json.loads(sidecar_path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_complete(out_dir: Path, scan: Scan, *, cord: bool) -> bool:
    """Return whether a scan's table and all its sidecars can be read; images are not checked.

    Raises
    ------
    gmseg.errors.InputError
        If the table was not written by gmseg.
    """
    files = {kind: out_dir / file for kind, file in outputs(scan, cord=cord).items()}
    return last_row(files["table"]) is not None and all(map(read_sidecar, files.values()))


def last_row(table: Path) -> dict[str, str] | None:
    """Return the row of all slices, the last one in a scan's table, or None if it is cut off."""
    if not table.exists():
        return None
    text = table.read_text(encoding="utf-8", errors="replace")
    header, _, content = text.partition("\n")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows and rows[-1].get("region") == "all" and text.endswith("\n"):
        return rows[-1]
    if content and "gm_area_mm2" not in header.split("\t"):
        raise InputError(
            f"{table}: was not written by gmseg; segment the scan again with `overwrite=True`"
        )
    return None
