"""Names and contents of the derivatives, and the folders that are allowed for them."""

import gzip
import json
import shutil
from fnmatch import fnmatch

import pytest
from bids_dataset import (
    DAMAGED,
    GOOD,
    MEGRE,
    OTHER,
    check_valid,
    mask_of,
    modification_times,
    read_sidecar,
    run_bids,
    validate,
)

from gmseg.batch.bids_derivatives import check_out_dir
from gmseg.errors import InputError

pytest.importorskip("bids", reason="needs pybids: pip install 'gmseg[cohort]'")
pytestmark = pytest.mark.usefixtures("disc_network")

AUTHORS = "TOO_FEW_AUTHORS"  # gmseg cannot know who they are


def soft_of(out_dir, scan):
    mask = mask_of(out_dir, scan)
    return mask.with_name(mask.name.replace("_mask", "_probseg"))


def test_names(derivatives):
    expected = {
        ".bidsignore",
        "README",
        "dataset_description.json",
        f"logs/{DAMAGED.split('/')[-1]}_T2starw.txt",
        f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz",
        f"{MEGRE}_desc-rmsMEGRE_T2starw.json",
    }
    for scan in GOOD:
        stem = f"{scan}_space-orig_label-GM_{'desc-MEGRE_' if scan == MEGRE else ''}"
        expected |= {
            f"{stem}{kind}.{end}" for kind in ("mask", "probseg") for end in ("nii.gz", "json")
        }
        expected |= {f"{stem}morph.tsv", f"{stem}morph.json"}
    found = {path.as_posix() for path in modification_times(derivatives.out_dir)}
    assert {name for name in found if not name.startswith("qc/")} == expected
    assert "qc/index.html" in found


def test_sidecars(derivatives, small_model):
    out_dir = derivatives.out_dir
    card = json.loads(small_model.read_text())
    for scan in GOOD:
        mask = read_sidecar(mask_of(out_dir, scan))
        for sidecar in (mask, read_sidecar(soft_of(out_dir, scan))):
            assert sidecar["SpatialReference"] == "orig"
            assert sidecar["Model"] == "fast"
            assert sidecar["ModelWeightsSHA256"] == card["weights_sha256"]
            assert sidecar["Manual"] is False
            assert "RawSources" not in sidecar  # deprecated in BIDS
            [source] = sidecar["Sources"]
            if scan == MEGRE:
                assert source == f"bids::{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz"
                assert (out_dir / source.removeprefix("bids::")).is_file()
            else:
                ending = "_T2starw.nii" if scan == OTHER else "_T2starw.nii.gz"
                assert source == f"bids:raw:{scan}{ending}"
        assert mask["Type"] == "ROI"
        assert mask["Threshold"] == 0.5
        assert len(mask["ExpectedDice"]) == 3
        assert "small-area" not in {flag["Name"] for flag in mask["Flags"]}
        assert {tuple(flag) for flag in mask["Flags"]} <= {("Name", "Text", "Slices")}


def test_sidecar_of_combined_echoes(derivatives):
    sidecar = read_sidecar(derivatives.out_dir / f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz")
    assert sidecar["Sources"] == [f"bids:raw:{MEGRE}_echo-{k}_MEGRE.nii.gz" for k in (1, 2, 10)]
    assert sidecar["SkullStripped"] is False


def test_single_echo_keeps_its_name(raw, small_model, tmp_path):
    (tmp_path / "filters.json").write_text('{"t2starw": {"run": 99}, "megre": {"echo": 2}}')
    selection = ["--model", small_model, "--bids-filter-file", tmp_path / "filters.json"]
    out_dir = tmp_path / "out"
    assert run_bids(raw, out_dir, "participant", *selection) == 0
    [mask] = (out_dir / "sub-01" / "ses-b" / "anat").glob("*_mask.nii.gz")
    assert mask.name == "sub-01_ses-b_echo-2_space-orig_label-GM_desc-MEGRE_mask.nii.gz"
    assert read_sidecar(mask)["Sources"] == [f"bids:raw:{MEGRE}_echo-2_MEGRE.nii.gz"]
    description = json.loads((out_dir / "dataset_description.json").read_text())
    assert " " not in description["DatasetLinks"]["raw"]  # it is a URI
    check_valid(out_dir, allowed=[AUTHORS])


def test_description_of_the_dataset(derivatives, raw):
    description = json.loads((derivatives.out_dir / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    [generator] = description["GeneratedBy"]
    assert set(generator) >= {"Name", "Version", "CodeURL"}
    assert description["SourceDatasets"][0]["DOI"] == "doi:10.0000/none"
    link = derivatives.out_dir / description["DatasetLinks"]["raw"]
    assert link.resolve() == raw.resolve()


def test_changes_by_users_are_kept(dataset_copy, small_model):
    raw, out_dir = dataset_copy
    file = out_dir / "dataset_description.json"
    description = json.loads(file.read_text())
    description["GeneratedBy"][0]["Version"] = "0.0.1"
    description["GeneratedBy"].append({"Name": "by hand"})
    file.write_text(json.dumps(description | {"License": "CC0", "Name": "mine"}))
    (out_dir / "README").write_text("mine")
    only_01 = ["--model", small_model, "--participant-label", "01"]
    assert run_bids(raw, out_dir, "participant", *only_01) == 0
    new = json.loads(file.read_text())
    assert (new["Name"], new["License"]) == ("mine", "CC0")
    assert [generator["Name"] for generator in new["GeneratedBy"]] == ["gmseg", "by hand"]
    assert new["GeneratedBy"][0]["Version"] != "0.0.1"
    assert (out_dir / "README").read_text() == "mine"


def test_folders_not_allowed_for_derivatives(dataset_copy, tmp_path):
    raw, out_dir = dataset_copy
    other = tmp_path / "other"
    shutil.copytree(raw, other, ignore=shutil.ignore_patterns("gmseg"))
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    (unreadable / "dataset_description.json").write_text("{")
    (tmp_path / "file").touch()
    for folder in ("full", "datalad"):
        (tmp_path / folder / "code").mkdir(parents=True)
        (tmp_path / folder / "README.md").touch()
    (tmp_path / "full" / "x").touch()
    before = modification_times(tmp_path)
    for folder, message in (
        (raw, "contains another dataset"),
        (raw / "gmseg", "lies within the dataset"),
        (raw / "derivatives", "lies within the dataset"),
        (raw / "derivatives" / "labels", "contains another dataset"),
        (raw / "derivatives" / "labels" / "gmseg", "lies within the dataset"),
        (unreadable, "contains another dataset"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "full", "contains other files, such as x"),
    ):
        with pytest.raises(InputError, match=message):
            check_out_dir(raw, folder)
    with pytest.raises(InputError, match="contains derivatives of"):
        check_out_dir(other, out_dir)
    check_out_dir(raw, out_dir)
    check_out_dir(raw, tmp_path / "new")
    check_out_dir(raw, tmp_path / "datalad")
    other.rename(tmp_path / "renamed")
    check_out_dir(tmp_path / "renamed", tmp_path / "renamed" / "derivatives" / "gmseg")
    (tmp_path / "renamed").rename(other)
    assert modification_times(tmp_path) == before


def test_derivatives_are_valid(dataset_copy):
    raw, out_dir = dataset_copy
    assert run_bids(raw, out_dir, "group") == 0
    check_valid(out_dir, allowed=[AUTHORS])
    # the check itself works: it finds a name whose entities are in the wrong order
    shutil.copy(mask_of(out_dir, OTHER), out_dir / f"{OTHER}_label-GM_space-orig_mask.nii.gz")
    with pytest.raises(AssertionError):
        check_valid(out_dir, allowed=[AUTHORS])


def test_recursive_validation_reports_only_what_bidsignore_lists(dataset_copy):
    raw, out_dir = dataset_copy
    assert run_bids(raw, out_dir, "group") == 0
    report = validate(raw, "--recursive")["derivativesSummary"]["/derivatives/gmseg/"]
    assert report["summary"]["totalFiles"] > 0
    errors = [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]
    # bids-validator-deno 3.0.2 drops the .bidsignore of derivatives before it reads it
    patterns = (out_dir / ".bidsignore").read_text().split()
    others = [
        issue
        for issue in errors
        if not any(
            fnmatch(part, pattern) for part in issue["location"].split("/") for pattern in patterns
        )
    ]
    assert others == []


def test_compressed_files_do_not_depend_on_time_and_name(derivatives):
    for file in derivatives.out_dir.rglob("*.nii.gz"):
        header = file.read_bytes()[:10]
        assert header[3] & 0b1000 == 0  # no file name
        assert header[4:8] == b"\0\0\0\0"  # no time
        gzip.decompress(file.read_bytes())
