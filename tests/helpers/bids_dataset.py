"""A small BIDS dataset of synthetic phantoms, and what the tests of the BIDS App do with it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from gmseg.cli import main
from gmseg.datasets.phantom import make_phantom

MEDIC = "sub-01/ses-a/anat/sub-01_ses-a_acq-MEDIC"
MERGE_1 = "sub-01/ses-a/anat/sub-01_ses-a_acq-MERGE_run-01"
MERGE_2 = "sub-01/ses-a/anat/sub-01_ses-a_acq-MERGE_run-02"
MEGRE = "sub-01/ses-b/anat/sub-01_ses-b"
OTHER = "sub-02/anat/sub-02"
GOOD = (MEDIC, MERGE_1, MERGE_2, MEGRE, OTHER)
DAMAGED = f"{OTHER}_acq-bad"


def run_bids(*arguments):
    """Run the command ``gmseg bids``; return its exit status."""
    return main.run(["bids", *map(str, arguments)])


def predict_disc(windows):
    """Return a disc in the middle of every window, with a probability that falls by slice."""
    size = windows.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    probability = np.linspace(0.95, 0.75, len(windows), dtype=np.float32)
    disc = (np.hypot(rows, columns) < 6) * probability.reshape(-1, 1, 1) + 0 * windows
    return disc[:, None]


def predict_discs(windows):
    """Return the disc of `predict_disc`, and a larger disc of cord."""
    size = windows.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    cord = 0.9 * (np.hypot(rows, columns) < 12) + 0 * windows
    return np.concatenate([predict_disc(windows), cord[:, None]], axis=1).astype(np.float32)


def mask_of(out_dir, scan):
    desc = "desc-MEGRE_" if scan == MEGRE else ""
    return out_dir / f"{scan}_space-orig_label-GM_{desc}mask.nii.gz"


def sidecar_file(image):
    return image.with_name(image.name.split(".")[0] + ".json")


def read_sidecar(image):
    return json.loads(sidecar_file(image).read_text())


def modification_times(root):
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root): path.stat().st_mtime_ns for path in files}


def save(image, path, **sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    if sidecar:
        sidecar_file(path).write_text(json.dumps(sidecar))


def scaled(image, factor):
    data = np.asarray(image.dataobj) * factor
    return nib.Nifti1Image(data.astype(np.int16), image.affine, image.header)


def write_description(root, **entries):
    root.mkdir(parents=True, exist_ok=True)
    required = {"Name": "synthetic", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(required | entries))


def write_raw_dataset(root):
    """Write two subjects: runs, echoes, phase images, a damaged scan, derivatives of others."""
    first, second, third = (make_phantom(seed=k, shape=(64, 64, 3)).image for k in range(3))
    save(first, root / f"{MEDIC}_T2starw.nii.gz", EchoTime=0.02)
    save(first, root / f"{MERGE_1}_T2starw.nii.gz", EchoTime=0.02)
    save(second, root / f"{MERGE_2}_T2starw.nii.gz", EchoTime=0.02)
    save(second, root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz")
    for echo, factor in ((1, 1.0), (2, 0.7), (10, 0.5)):
        image, time = scaled(second, factor), {"EchoTime": 0.004 * echo}
        save(image, root / f"{MEGRE}_echo-{echo}_MEGRE.nii.gz", **time)
        phase = root / f"{MEGRE}_echo-{echo}_part-phase_MEGRE.nii.gz"
        save(image, phase, **time, Units="arbitrary")
    save(third, root / f"{OTHER}_T2starw.nii", EchoTime=0.02)
    damaged = root / f"{DAMAGED}_T2starw.nii.gz"
    save(third, damaged, EchoTime=0.02)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    labels = root / "derivatives" / "labels"
    save(third, labels / f"{OTHER}_desc-x_T2starw.nii.gz", SkullStripped=False)
    write_description(labels, DatasetType="derivative", GeneratedBy=[{"Name": "another tool"}])
    write_description(
        root, DatasetType="raw", License="CC0", Authors=["A", "B"], DatasetDOI="doi:10.0000/none"
    )
    (root / "README").write_text("A dataset of synthetic phantoms for tests. " * 10)
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    return root


def validate(dataset, *options):
    """Return the report of the BIDS validator on a dataset, and its exit status."""
    name = "bids-validator-deno"
    validator = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if validator is None:
        if os.environ.get("GMSEG_REQUIRE_BIDS_VALIDATOR") == "1":
            pytest.fail("GMSEG_REQUIRE_BIDS_VALIDATOR=1, but bids-validator-deno is missing")
        pytest.skip("needs bids-validator-deno")
    # the validator comes with a schema; an invalid proxy keeps it from downloading another one
    no_network = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    process = subprocess.run(
        [validator, "--format", "json", *options, str(dataset)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | no_network,
        timeout=120,
    )
    return json.loads(process.stdout) | {"returncode": process.returncode}


def check_valid(dataset, *, allowed=()):
    """Fail if the BIDS validator finds an error, or a warning whose code is not allowed."""
    result = validate(dataset)
    issues = result["issues"]["issues"]
    assert result["summary"]["totalFiles"] > 0
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert {issue["code"] for issue in issues} <= {*allowed}
    assert result["returncode"] == 0
