"""Find the scans of a BIDS dataset with pybids, and group the echoes of one scan.

Nothing is written into the dataset: pybids keeps its index in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from gmseg.errors import InputError

QUERIES = {"t2starw": "T2starw", "megre": "MEGRE"}
"""The queries of a filter file, and the suffix that each of them selects."""

EXTENSIONS = (".nii.gz", ".nii")
DESCRIPTION = "dataset_description.json"
ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "run", "echo", "part", "chunk")
"""Entities of raw scans, in the order of BIDS."""

_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)+)(T2starw|MEGRE)\.nii(?:\.gz)?")
_MISNAMED = re.compile(r"_(t2_?s(?:tar)?_?w?)\.nii(?:\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """A scan of a BIDS dataset.

    Attributes
    ----------
    root : pathlib.Path
        Folder of the dataset.
    files : tuple of pathlib.Path
        The image file, or one file per echo in the order of the echoes.
    entities : dict
        Entities of the file name in the order of BIDS, without ``echo`` if there are several
        files: ``{"sub": "01", "acq": "MEDIC"}``.
    suffix : {"T2starw", "MEGRE"}
        Suffix of the file name.

    Examples
    --------
    >>> scan = Scan(Path(), (), {"sub": "01", "ses": "a", "acq": "MEDIC"}, "T2starw")
    >>> scan.name
    'sub-01_ses-a_acq-MEDIC_T2starw'
    >>> scan.folder.as_posix()
    'sub-01/ses-a/anat'
    """

    root: Path
    files: tuple[Path, ...]
    entities: dict[str, str]
    suffix: str

    @property
    def name(self) -> str:
        """Name of the file without its extension."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities.items()), self.suffix])

    @property
    def folder(self) -> Path:
        """Folder of the files within the dataset, and of their derivatives."""
        parts = (f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)
        return Path(*parts, "anat")


def query_scans(
    bids_dir,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    acquisitions: Sequence[str] = (),
    filters: dict | None = None,
) -> tuple[list[Scan], list[str]]:
    """Return the T2starw and MEGRE scans of a raw BIDS dataset, without phase images.

    Parameters
    ----------
    bids_dir : path-like
        Folder of the dataset.
    participants, sessions, acquisitions : sequence of str
        Labels to select, with or without ``sub-``, ``ses-`` and ``acq-``; all if empty.
    filters : dict, optional
        Values of pybids' entities to select, see `read_filters`.

    Returns
    -------
    scans : list of Scan
        The scans, sorted by name.
    skipped : list of str
        One line for each file whose name is not valid in BIDS, or has a suffix that BIDS spells
        T2starw.

    Raises
    ------
    gmseg.errors.InputError
        If the folder is not a raw BIDS dataset, an entity is unknown, or no scan matches.
    """
    root = Path(bids_dir)
    check_raw_dataset(root)
    subjects = [_label(text, "sub") for text in participants]
    _check_subjects(root, subjects)
    labels = {
        "session": [_label(text, "ses") for text in sessions],
        "acquisition": [_label(text, "acq") for text in acquisitions],
    }
    layout = _index(root, subjects)
    files: set[Path] = set()
    for query in QUERIES:
        files |= set(_query(layout, query, labels, (filters or {}).get(query, {})))
    scans, skipped = _group_echoes(root, sorted(root / file for file in files))
    if not scans:
        reason = _found_instead(root)
        if any((participants, sessions, acquisitions, filters)):
            reason = " matches the selection; select less narrowly"
        raise InputError(f"{root}: no T2starw or MEGRE scan in an anat folder{reason}")
    return scans, [*skipped, *_misnamed(root, subjects)]


def read_filters(path) -> dict[str, dict]:
    """Return the content of a filter file, which has the format of fMRIPrep.

    Parameters
    ----------
    path : path-like
        JSON file that maps ``t2starw`` and ``megre`` to pybids' entities and the values to select.
        ``null`` selects names without the entity, ``"*"`` names that have it.

    Returns
    -------
    dict
        Query to entity to value.

    Raises
    ------
    gmseg.errors.InputError
        If the file cannot be read or has another format.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    ...     _ = file.write('{"t2starw": {"acquisition": ["MEDIC", "MERGE"], "run": null}}')
    ...     file.flush()
    ...     read_filters(file.name)
    {'t2starw': {'acquisition': ['MEDIC', 'MERGE'], 'run': None}}
    """
    path = Path(path)
    try:
        filters = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON; see docs/bids.md for the format") from None
    if not isinstance(filters, dict) or not all(isinstance(v, dict) for v in filters.values()):
        raise InputError(f'{path}: is not of the form {{"t2starw": {{entity: value}}}}; correct it')
    if unknown := sorted(set(filters) - set(QUERIES)):
        raise InputError(
            f"{path}: {', '.join(unknown)}: unknown query; use only {' and '.join(QUERIES)}"
        )
    for query, entities in filters.items():
        for entity, value in entities.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(_is_filter_value(item) for item in values):
                raise InputError(
                    f"{path}: {query}: {entity}: give a text, a number, null, or a list of these"
                )
    return filters


def check_raw_dataset(root: Path) -> dict:
    """Return the description of a raw BIDS dataset.

    Raises
    ------
    gmseg.errors.InputError
        If the folder is not a BIDS dataset, or contains derivatives.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of a BIDS dataset")
    description = read_description(root)
    if description is None:
        raise InputError(
            f"{root}: has no readable {DESCRIPTION}; give the folder of a BIDS dataset"
        )
    if description.get("DatasetType") == "derivative":
        raise InputError(f"{root}: contains derivatives; give the dataset of the scans")
    return description


def read_description(root: Path) -> dict | None:
    """Return the content of a dataset's description, or None if there is no valid one.

    Examples
    --------
    >>> read_description(Path("no-such-folder")) is None
    True
    """
    try:
        content = json.loads((root / DESCRIPTION).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _anat_images(root: Path, subject: str = "*") -> list[Path]:
    """Return the NIfTI files in the anat folders of a subject, or of all."""
    folders = (f"sub-{subject}/anat", f"sub-{subject}/ses-*/anat")
    files = (file for folder in folders for file in root.glob(f"{folder}/*.nii*"))
    return sorted(file for file in files if file.name.endswith(EXTENSIONS))


def _found_instead(root: Path) -> str:
    """Return what the anat folders of a dataset contain instead of scans, and the remedy."""
    files = _anat_images(root)
    if not files:
        return "; scans are expected as sub-LABEL/anat/sub-LABEL_T2starw.nii.gz"
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return (
        f": found {files[0].relative_to(root).as_posix()}{more}; name scans "
        f"sub-LABEL_T2starw.nii.gz or sub-LABEL_echo-N_MEGRE.nii.gz"
    )


def _misnamed(root: Path, subjects: list[str]) -> list[str]:
    """Return a line for each file with another spelling of T2starw as its suffix."""
    files = (file for subject in subjects or ["*"] for file in _anat_images(root, subject))
    return [
        f"{file}: is skipped; if it is T2*-weighted, name it _T2starw instead of _{match[1]}"
        for file in files
        if (match := _MISNAMED.search(file.name)) and match[1] != "T2starw"
    ]


def _label(text: str, key: str) -> str:
    """Return a label without its entity's key."""
    label = text.removeprefix(f"{key}-")
    if not re.fullmatch(r"[A-Za-z0-9+]+", label):
        raise InputError(f"{text}: is not a BIDS label ({key}-LABEL); use letters and digits")
    return label


def _check_subjects(root: Path, subjects: list[str]) -> None:
    """Refuse subjects without a folder in the dataset."""
    if unknown := [label for label in subjects if not (root / f"sub-{label}").is_dir()]:
        known = ", ".join(sorted(path.name.removeprefix("sub-") for path in root.glob("sub-*")))
        raise InputError(
            f"{root}: has no participant {', '.join(unknown)}; choose from: "
            f"{shorten(known, 80, placeholder=' ..') or 'none'}"
        )


def _is_filter_value(value) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _index(root: Path, subjects: list[str]):
    """Return pybids' index of the anat folders of these subjects, or of all."""
    try:
        from bids.layout import BIDSLayout, BIDSLayoutIndexer
    except ImportError:
        raise InputError("pybids is not installed; run pip install 'gmseg[cohort]'") from None
    indexed = "|".join(map(re.escape, subjects)) or "[^/]+"
    # nothing below a file of an anat folder is indexed: links may lead into trees without an end
    indexed_paths = rf"/sub-(?:{indexed})(?:/ses-[^/]+)?(?:/anat(?:/[^/]+)?)?"
    ignored = re.compile(rf"^/(?!{indexed_paths[1:]}\Z)[^/]", re.DOTALL)
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=[ignored])
    try:
        return BIDSLayout(root.absolute(), validate=False, indexer=indexer)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{root}: pybids cannot read it ({reason}); fix the dataset") from None


def _query(layout, query: str, labels: dict, filters: dict) -> list[Path]:
    """Return the files that match the labels and the filters of a query, relative to the root."""
    from bids.layout import Query

    special = {None: Query.NONE, "*": Query.ANY}
    known = layout.get_entities()
    entities: dict = {"suffix": QUERIES[query], "datatype": "anat", "extension": list(EXTENSIONS)}
    entities |= {name: values for name, values in labels.items() if values}
    for name, value in filters.items():
        values = [
            str(item) if isinstance(item, int) else item
            for item in (value if isinstance(value, list) else [value])
        ]
        if name not in known:
            raise InputError(
                f"filters of {query}: pybids has no entity {name}; choose from "
                f"{', '.join(sorted(known))}"
            )
        if name in ("suffix", "datatype") and values != [entities[name]]:
            raise InputError(
                f"filters of {query}: {name} is always {entities[name]}; remove it from the filters"
            )
        if labels.get(name):
            raise InputError(
                f"filters of {query}: {name} is also selected by label; use one of the two"
            )
        entities[name] = [special.get(item, item) for item in values]
    return [Path(file.relpath) for file in layout.get(**entities)]


def _group_echoes(root: Path, files: list[Path]) -> tuple[list[Scan], list[str]]:
    """Return the scans of these files, and a line for each file with an invalid name."""
    groups: dict[tuple, list[Scan]] = {}
    skipped = []
    for file in files:
        scan = _parse(root, file)
        if scan is None:
            skipped.append(f"{file}: is skipped; its name is not valid in BIDS")
        elif scan.entities.get("part", "mag") == "mag":
            others = tuple(pair for pair in scan.entities.items() if pair[0] != "echo")
            key = (others, scan.suffix, "echo" in scan.entities, "".join(file.suffixes))
            groups.setdefault(key, []).append(scan)
    return [_join_echoes(group) for _, group in sorted(groups.items())], skipped


def _parse(root: Path, file: Path) -> Scan | None:
    """Return a file as a scan, or None if its name or its folder is not valid in BIDS."""
    match = _NAME.fullmatch(file.name)
    if match is None:
        return None
    pairs = [part.split("-") for part in match[1].removesuffix("_").split("_")]
    keys = [key for key, _ in pairs]
    entities = dict(pairs)
    in_order = [key for key in ENTITIES if key in keys]
    if keys != in_order or keys[0] != "sub" or not entities.get("echo", "1").isdecimal():
        return None
    scan = Scan(root, (file,), entities, match[2])
    return scan if file.parent == root / scan.folder else None


def _join_echoes(scans: list[Scan]) -> Scan:
    """Return the files of several echoes as one scan; a single file stays as it is."""
    if len(scans) == 1:
        return scans[0]
    scans = sorted(scans, key=lambda scan: int(scan.entities["echo"]))
    entities = {key: value for key, value in scans[0].entities.items() if key != "echo"}
    return replace(scans[0], files=tuple(scan.files[0] for scan in scans), entities=entities)
