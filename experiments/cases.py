"""The labelled scans of SHARED_DATA that several experiments evaluate."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmseg.core import geometry
from gmseg.datasets.folders import bids_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.errors import InputError
from gmseg.evaluation.evaluate import majority
from gmseg.io.grids import same_place
from gmseg.io.image import read_mask, read_scan

MULTICENTRE, SMALL_FIELD = "t2starw-multicentre", "t2s-small-fov"
SCANNERS = "t2star-13-scanners"


@dataclass(frozen=True)
class Case:
    """A labelled scan: its files, its reference (bool, on the scan's grid) and its affine."""

    name: str
    subject: str
    site: str
    scan: Path
    cord: Path
    rescan: Path | None
    reference: np.ndarray
    affine: np.ndarray

    @property
    def axis(self) -> int:
        """The slice axis."""
        return geometry.slice_axis(self.affine)


def multicentre_cases(data: Path) -> list[Case]:
    """Read the scans whose reference a human drew or corrected, each with its rescan."""
    folder = data / MULTICENTRE
    sites = read_sites(folder / "participants.tsv")
    cases = []
    for item in bids_scans(folder):
        if not item.manual:
            continue
        if item.cord is None:
            raise InputError(
                f"{item.scan}: has no cord mask; add *_seg-manual.nii.gz beside its GM"
            )
        rescan = item.scan.with_name(item.scan.name.replace("_run-1_", "_run-2_"))
        rescan = rescan if rescan.is_file() and rescan != item.scan else None
        scan, references = read_labelled(item)
        if rescan:
            check_same_grid(rescan, scan)
        site = sites.get(item.name.split("_")[0], "unknown")
        files = item.scan, item.cord, rescan
        cases.append(Case(item.name, item.subject, site, *files, majority(references), scan.affine))
    return cases


def check_same_grid(rescan: Path, scan) -> None:
    """Refuse a rescan on another grid than the scan's."""
    other = read_scan(rescan)
    if other.shape != scan.shape or not same_place(other.affine, scan.affine, scan.shape):
        raise InputError(f"{rescan}: lies on another grid than run-1; remove this rescan")


def read_sites(file: Path) -> dict[str, str]:
    """Return the site of each participant, as ``participants.tsv`` has it."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            row["participant_id"]: row.get("Site") or "unknown"
            for row in csv.DictReader(lines, delimiter="\t")
        }


def small_field_case(data: Path) -> Case:
    """Read the scan of 25 mm from another site, which no model was trained on."""
    folder = data / SMALL_FIELD
    file, gm, cord = (folder / f"t2s{end}.nii.gz" for end in ("", "_gmseg_manual", "_seg"))
    scan = read_scan(file)
    reference = read_mask(gm, scan, what="reference")
    return Case(SMALL_FIELD, SMALL_FIELD, "unknown", file, cord, None, reference, scan.affine)


def scanner_scans(data: Path) -> dict[str, Path]:
    """Return the scans of one subject on several scanners, by site."""
    files = sorted((data / SCANNERS).glob("sub-*_T2star.nii.gz"))
    return {file.name.split("_")[0].removeprefix("sub-"): file for file in files}
