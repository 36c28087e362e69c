"""Which scans a BIDS dataset holds: pybids finds them, and the echoes of one scan belong together.

Nothing is written into the dataset: pybids keeps its index in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gmseg.errors import InputError

QUERIES = {"t2starw": "T2starw", "megre": "MEGRE"}
"""What may be asked for in a filter file, and the suffix that it is of."""

EXTENSIONS = (".nii.gz", ".nii")
_ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "run", "echo", "part", "chunk")
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)+)(T2starw|MEGRE)(\.nii(?:\.gz)?)")
_SHOWN = 12


@dataclass(frozen=True)
class Scan:
    """A scan of a BIDS dataset.

    Attributes
    ----------
    root : pathlib.Path
        The dataset.
    files : tuple of pathlib.Path
        One, or the echoes in their order.
    entities : dict
        Of its name, in BIDS' order: ``{"sub": "01", "acq": "MEDIC"}``. Without ``echo`` where
        the files are several.
    suffix : {"T2starw", "MEGRE"}
    """

    root: Path
    files: tuple[Path, ...]
    entities: dict[str, str]
    suffix: str

    @property
    def name(self) -> str:
        """What the scan is called: ``sub-01_acq-MEDIC_T2starw``."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities.items()), self.suffix])

    @property
    def folder(self) -> Path:
        """The folder of its files in the dataset, and of what is made of them."""
        return Path(
            *(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities),
            "anat",
        )


def find_scans(
    bids_dir,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    acquisitions: Sequence[str] = (),
    filters: dict | None = None,
) -> tuple[list[Scan], list[str]]:
    """Find the T2starw and MEGRE scans of a BIDS dataset, but no phases and no derivatives.

    Parameters
    ----------
    bids_dir : path-like
    participants, sessions, acquisitions : sequence of str
        Labels, with or without ``sub-``, ``ses-`` and ``acq-``; all by default.
    filters : dict, optional
        See `read_filters`.

    Returns
    -------
    scans : list of Scan
        By name.
    left_out : list of str
        A line for each file that looks like a scan but is not named as one.

    Raises
    ------
    gmseg.errors.InputError
        If it is no raw BIDS dataset, an entity is unknown, or nothing is found.
    """
    root = Path(bids_dir)
    read_description(root)
    wanted = [_label(text, "sub") for text in participants]
    if unknown := [label for label in wanted if not (root / f"sub-{label}").is_dir()]:
        there = sorted(path.name.removeprefix("sub-") for path in root.glob("sub-*"))
        some = ", ".join(there[:_SHOWN]) + (", .." if len(there) > _SHOWN else "")
        raise InputError(
            f"{root}: has no participant {', '.join(unknown)}; there are {some or 'none'}"
        )
    asked = {
        "session": [_label(text, "ses") for text in sessions],
        "acquisition": [_label(text, "acq") for text in acquisitions],
    }
    files: set[Path] = set()
    layout = _index(root, wanted)
    for query, suffix in QUERIES.items():
        found = _query(layout, suffix, asked, (filters or {}).get(query, {}), query)
        files |= {root / path for path in found}
    groups: dict[tuple, list[Path]] = {}
    left_out = []
    for file in sorted(files):
        named = _parse(file, root)
        if named is None:
            left_out.append(f"{file}: is not named as BIDS names such a scan; left out")
            continue
        entities, suffix, extension = named
        if entities.get("part", "mag") != "mag":
            continue
        others = tuple((key, value) for key, value in entities.items() if key != "echo")
        groups.setdefault((others, suffix, "echo" in entities, extension), []).append(file)
    if not groups:
        chosen = any((participants, sessions, acquisitions, filters))
        raise InputError(
            f"{root}: no T2starw or MEGRE scan in an anat folder"
            + (" is what was asked for; ask for less" if chosen else "; is it the right dataset?")
        )
    return [_scan(root, *key[:2], files) for key, files in sorted(groups.items())], left_out


def read_filters(path) -> dict[str, dict]:
    """Read a filter file, as fMRIPrep has them.

    Parameters
    ----------
    path : path-like
        JSON: ``t2starw`` and ``megre`` to pybids' entities and the values that they may have:
        ``{"t2starw": {"acquisition": ["MEDIC", "MERGE"], "reconstruction": null}}``. ``null``:
        the name must not have the entity; ``"*"``: it must have it.

    Raises
    ------
    gmseg.errors.InputError
        If it is none, or asks for something else.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON; see docs/bids.md for what it holds") from None
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        raise InputError(f'{path}: is not of the form {{"t2starw": {{entity: value}}}}; mend it')
    if unknown := sorted(set(found) - set(QUERIES)):
        raise InputError(
            f"{path}: {', '.join(unknown)}: gmseg asks for {' and '.join(QUERIES)} alone; "
            f"remove what is not of them"
        )
    for query, entities in found.items():
        for entity, value in entities.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(_is_plain(one) for one in values):
                raise InputError(
                    f"{path}: {query}: {entity}: give a text, a number, null, or a list of them"
                )
    return found


def read_description(root: Path) -> dict:
    """Return the description of a raw BIDS dataset, or refuse what is none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a BIDS dataset's")
    description = description_of(root)
    if description is None:
        raise InputError(
            f"{root}: has no dataset_description.json that can be read; give a BIDS dataset"
        )
    if description.get("DatasetType") == "derivative":
        raise InputError(f"{root}: holds derivatives; give the dataset of the scans themselves")
    return description


def description_of(root: Path) -> dict | None:
    """Return what stands in a dataset's description, None where there is none."""
    try:
        content = json.loads((root / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _label(text: str, key: str) -> str:
    label = text.removeprefix(f"{key}-")
    if not re.fullmatch(r"[A-Za-z0-9+]+", label):
        raise InputError(f"{text}: is no label of BIDS ({key}-LABEL); give letters and digits")
    return label


def _is_plain(value) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _index(root: Path, participants: list[str]):
    """Return pybids' index of the anat folders of these participants, or of all."""
    try:
        from bids.layout import BIDSLayout, BIDSLayoutIndexer
    except ImportError:
        raise InputError("gmseg bids needs pybids; pip install 'gmseg[cohort]'") from None
    who = "|".join(map(re.escape, participants)) or "[^/]+"
    ignored = [
        re.compile(rf"^/(?!sub-(?:{who})(?:/|$))[^/]"),
        re.compile(r"^/sub-[^/]+(?:/ses-[^/]+)?/(?!ses-|anat(?:/|$))[^/]"),
    ]
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignored)
    try:
        return BIDSLayout(root.absolute(), validate=False, indexer=indexer)
    except (ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{root}: pybids cannot read it ({why[:200]}); mend the dataset") from None


def _query(layout, suffix: str, asked: dict, chosen: dict, query: str) -> list[Path]:
    """Return the files of a suffix that fit what was asked for and the filter file."""
    from bids.layout import Query

    special = {None: Query.NONE, "*": Query.ANY}
    known = set(layout.get_entities())
    entities = {"suffix": suffix, "datatype": "anat", "extension": list(EXTENSIONS)}
    entities |= {name: labels for name, labels in asked.items() if labels}
    for name, value in chosen.items():
        if name not in known:
            raise InputError(
                f"--bids-filter-file: {query}: pybids knows no entity {name}; "
                f"there are {', '.join(sorted(known))}"
            )
        values = [
            str(one) if isinstance(one, int) else one
            for one in (value if isinstance(value, list) else [value])
        ]
        if name in ("suffix", "datatype") and values != [entities[name]]:
            raise InputError(
                f"--bids-filter-file: {query}: {name} is {entities[name]} here; leave it out"
            )
        if asked.get(name):
            raise InputError(
                f"--{name} and the {name} of --bids-filter-file exclude each other; give one"
            )
        entities[name] = [special.get(one, one) for one in values]
    return [Path(file.relpath) for file in layout.get(**entities)]


def _parse(file: Path, root: Path) -> tuple[dict[str, str], str, str] | None:
    """Return the entities of a scan's name, its suffix and extension; None if it is no BIDS."""
    match = _NAME.fullmatch(file.name)
    if match is None:
        return None
    pairs = [part.split("-") for part in match[1].removesuffix("_").split("_")]
    keys = [key for key, _ in pairs]
    if keys != [key for key in _ENTITIES if key in keys] or keys[0] != "sub":
        return None
    if not dict(pairs).get("echo", "1").isdecimal():
        return None
    found = Scan(root, (file,), dict(pairs), match[2])
    if file.parent != root / found.folder:
        return None
    return found.entities, match[2], match[3]


def _scan(root: Path, others: tuple, suffix: str, files: list[Path]) -> Scan:
    """Return a scan of one file, or of several echoes."""
    if len(files) == 1:
        entities, *_ = _parse(files[0], root)
        return Scan(root, tuple(files), entities, suffix)
    by_echo = sorted(files, key=lambda file: int(_parse(file, root)[0]["echo"]))
    return Scan(root, tuple(by_echo), dict(others), suffix)
