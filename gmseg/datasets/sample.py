"""An open scan with its reference, downloaded on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gmseg.errors import InputError
from gmseg.io.download import RemoteFile, cache_folder, fetch
from gmseg.io.resources import bundled

SAMPLE_URL = "https://raw.githubusercontent.com/sct-pipeline/gm-challenge-data/"
"""Data of the 2018 GM imaging challenge, CC0. Addresses start with the commit."""
SAMPLE_FILES = {
    "sub-9584_run-1_T2starw.nii.gz": RemoteFile(
        "f943f576a6eb97d7d38d6111905c2d274c64a90d/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz",
        "51222f1801bb01eb3c8a5b3b847bff06d19654d0aa2bc3741cfa3c2941d6fbaf",
        1_471_620,
    ),
    "sub-9584_run-1_T2starw_gmseg-manual.nii.gz": RemoteFile(
        "9db629a8201ee0c2e6e05fd5f2f866b8cb9f22ea/9584/data1_gmseg_manual.nii.gz",
        "d23f7788adc584159805fdfe4e3d88bd9f9c985b2b39696d3d2ce10c52d06a2c",
        50_667,
    ),
}


class Sample(NamedTuple):
    """Files of `fetch_sample`.

    Attributes
    ----------
    scan, reference : pathlib.Path
        Scan, and its GM mask, which is probably a corrected automatic segmentation.
    """

    scan: Path
    reference: Path


class Example(NamedTuple):
    """A scan to try gmseg on.

    Attributes
    ----------
    scan : pathlib.Path
        The scan.
    reference : pathlib.Path or None
        Its GM mask, if there is one.
    what : str
        What it is, in a few words.
    """

    scan: Path
    reference: Path | None
    what: str


def fetch_sample(
    folder=None, *, base_url: str = SAMPLE_URL, progress: Callable[[int, int], None] | None = None
) -> Sample:
    """Download an open scan and its reference, and return their paths.

    The scan is axial and T2*-weighted, of a healthy subject at 3 T, with 17 slices of
    0.42 x 0.42 x 3 mm (2018 GM imaging challenge, CC0, 1.5 MB). Files that were downloaded before
    are used again, without a network. The default model was trained on this scan, so a comparison
    with the reference does not measure its accuracy.

    Parameters
    ----------
    folder : path-like, optional
        Folder of the files, created if missing; in the user's cache by default.
    base_url : str
        Start of the addresses, for a copy of the data on another server.
    progress : callable, optional
        Function of the bytes done and all bytes; a bar on standard error by default.

    Raises
    ------
    gmseg.errors.InputError
        If the server cannot be reached, or a file does not have the pinned checksum.
    """
    folder = cache_folder("sample") if folder is None else Path(folder)
    return Sample(
        *fetch(
            SAMPLE_FILES,
            folder,
            base_url=base_url,
            without_network="use a scan of your own, or the synthetic phantoms of gmseg phantom",
            progress=progress,
        )
    )


def example_scan(which="phantom", *, base_url: str = SAMPLE_URL) -> Example:
    """Return a scan to try gmseg on: the synthetic phantom, the open scan, or a file.

    Only ``"sample"`` uses the network, and only the first time.

    Parameters
    ----------
    which : {"phantom", "sample"} or path-like
        The phantom that comes with gmseg; the scan of `fetch_sample`; or a scan of your own, with
        the mask ``NAME_gm.nii.gz`` beside it as reference, if there is one.
    base_url : str
        See `fetch_sample`.

    Returns
    -------
    Example
        The scan, its reference, and what it is.

    Raises
    ------
    gmseg.errors.InputError
        If the file does not exist, or the open scan cannot be downloaded.

    Examples
    --------
    >>> example_scan().what
    'synthetic phantom that comes with gmseg'
    """
    if which == "sample":
        sample = fetch_sample(base_url=base_url, progress=lambda *_: None)
        return Example(*sample, "real scan of a healthy subject, from the internet (CC0)")
    scan = bundled("data/sample/phantom_t2s.nii.gz") if which == "phantom" else Path(which)
    if not scan.exists():
        raise InputError(f'{which}: does not exist; give a scan, "phantom" or "sample"')
    reference = scan.with_name(scan.name.split(".")[0] + "_gm.nii.gz")
    what = "synthetic phantom that comes with gmseg" if which == "phantom" else "your own scan"
    return Example(scan, reference if reference.exists() else None, what)
