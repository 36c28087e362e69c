"""The BIDS App, on a small dataset of made-up cords, with a network that sees a disc."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from gmseg.batch import bids_app, bids_derivatives
from gmseg.batch import jobs as cohort
from gmseg.batch.bids_derivatives import check_out_dir
from gmseg.batch.bids_query import query_scans, read_filters
from gmseg.cli import main
from gmseg.datasets.phantom import make_phantom
from gmseg.errors import InputError
from gmseg.inference import segment
from gmseg.io.resources import bundled
from gmseg.io.tables import cell
from gmseg.morphometry.areas import measure_mask

pytest.importorskip("bids", reason="needs pybids: pip install 'gmseg[cohort]'")

MEDIC = "sub-01/ses-a/anat/sub-01_ses-a_acq-MEDIC"
MERGE = "sub-01/ses-a/anat/sub-01_ses-a_acq-MERGE_run-0"
MEGRE = "sub-01/ses-b/anat/sub-01_ses-b"
OTHER = "sub-02/anat/sub-02"
GOOD = (MEDIC, f"{MERGE}1", f"{MERGE}2", MEGRE, OTHER)
BAD = f"{OTHER}_acq-bad"


def end_of(scan):
    return "desc-MEGRE_" if scan == MEGRE else ""


def mask_of(out, scan):
    return out / f"{scan}_space-orig_label-GM_{end_of(scan)}mask.nii.gz"


# ---------------------------------------------------------------------------- the made-up dataset


def save(image, path, **sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    if sidecar:
        json_of = path.with_name(path.name.split(".")[0] + ".json")
        json_of.write_text(json.dumps(sidecar))


def scaled(image, factor):
    data = np.asarray(image.dataobj) * factor
    return nib.Nifti1Image(data.astype(np.int16), image.affine, image.header)


def write_dataset(root):
    """Two participants, one with sessions; echoes, a phase, a damaged file, masks by others."""
    made = [make_phantom(seed=k, shape=(64, 64, 3)).image for k in range(3)]
    save(made[0], root / f"{MEDIC}_T2starw.nii.gz", EchoTime=0.02)
    save(made[0], root / f"{MERGE}1_T2starw.nii.gz", EchoTime=0.02)
    save(made[1], root / f"{MERGE}2_T2starw.nii.gz", EchoTime=0.02)
    save(made[1], root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz")
    for echo, factor in ((1, 1.0), (2, 0.7), (10, 0.5)):
        name = f"{MEGRE}_echo-{echo}_MEGRE.nii.gz"
        save(scaled(made[1], factor), root / name, EchoTime=0.004 * echo)
        phase = f"{MEGRE}_echo-{echo}_part-phase_MEGRE.nii.gz"
        save(scaled(made[1], factor), root / phase, EchoTime=0.004 * echo, Units="arbitrary")
    save(made[2], root / f"{OTHER}_T2starw.nii", EchoTime=0.02)
    save(made[2], root / f"{BAD}_T2starw.nii.gz", EchoTime=0.02)
    damaged = root / f"{BAD}_T2starw.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    save(made[2], root / f"derivatives/labels/{OTHER}_desc-x_T2starw.nii.gz", SkullStripped=False)
    labels = {
        "Name": "labels",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "somebody"}],
    }
    (root / "derivatives/labels/dataset_description.json").write_text(json.dumps(labels))
    description = {
        "Name": "made up",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["A", "B"],
        "DatasetDOI": "doi:10.0000/none",
    }
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("A made-up dataset for tests. " * 10)
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    return root


def files_in(root):
    return {
        path.relative_to(root): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def fast():
    """The command, with a network that sees a disc in the middle of every window."""

    def predict(windows):
        size = windows.shape[1]
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        sure = np.linspace(0.95, 0.75, len(windows), dtype=np.float32)  # so that slices differ
        return (np.hypot(rows, columns) < 6) * sure.reshape(-1, 1, 1) + 0 * windows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "load_predictor", lambda *_: predict)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The card and weights of a model with small windows."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(bundled("models/default.weights.h5"), folder / "fast.weights.h5")
    card = json.loads(bundled("models/default.json").read_text())
    small = {"name": "fast", "voxel_size_mm": 0.5, "window": 80}
    (folder / "fast.json").write_text(json.dumps(card | small))
    return folder / "fast.json"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bids") / "raw data")


@pytest.fixture(scope="module")
def done(raw, model, tmp_path_factory):
    """What the participant level makes of the dataset, in the usual place."""
    out = raw / "derivatives" / "gmseg"
    before = files_in(raw)
    printed = tmp_path_factory.mktemp("printed")
    with (printed / "out").open("w") as stdout, (printed / "err").open("w") as stderr:
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = stdout, stderr
        try:
            code = run(raw, out, "participant", "--model", model)
        finally:
            sys.stdout, sys.stderr = old
    return SimpleNamespace(
        out=out,
        code=code,
        before=before,
        after=files_in(raw),
        stdout=(printed / "out").read_text(),
        stderr=(printed / "err").read_text(),
    )


@pytest.fixture
def copy(done, raw, tmp_path):
    """The dataset and its derivatives, to be spoiled."""
    shutil.copytree(raw, tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "copy" / "derivatives" / "gmseg"


def run(*arguments):
    return main._run(["bids", *map(str, arguments)])


# ------------------------------------------------------------------------------------- the query


def names(*args, **kwargs):
    scans, left_out = query_scans(*args, **kwargs)
    assert not left_out
    return [scan.name for scan in scans]


ALL = [
    "sub-01_ses-a_acq-MEDIC_T2starw",
    "sub-01_ses-a_acq-MERGE_run-01_T2starw",
    "sub-01_ses-a_acq-MERGE_run-02_T2starw",
    "sub-01_ses-b_MEGRE",
    "sub-02_T2starw",
    "sub-02_acq-bad_T2starw",
]


def test_finds_scans_and_echoes_but_no_phases_and_no_derivatives(raw):
    scans, _ = query_scans(raw)
    assert sorted(scan.name for scan in scans) == ALL
    megre = next(scan for scan in scans if scan.suffix == "MEGRE")
    assert [file.name.split("_")[2] for file in megre.files] == ["echo-1", "echo-2", "echo-10"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"participants": ["02"]}, ["sub-02_T2starw", "sub-02_acq-bad_T2starw"]),
        ({"participants": ["sub-01", "02"], "sessions": ["ses-b"]}, ["sub-01_ses-b_MEGRE"]),
        ({"acquisitions": ["MEDIC"]}, ["sub-01_ses-a_acq-MEDIC_T2starw"]),
        (
            {"filters": {"t2starw": {"acquisition": None, "run": None}, "megre": {"session": "x"}}},
            ["sub-02_T2starw"],
        ),
        (
            {"filters": {"t2starw": {"run": "*"}, "megre": {"echo": [1, 2]}}},
            [
                "sub-01_ses-a_acq-MERGE_run-01_T2starw",
                "sub-01_ses-a_acq-MERGE_run-02_T2starw",
                "sub-01_ses-b_MEGRE",
            ],
        ),
        (
            {
                "filters": {
                    "t2starw": {
                        "acquisition": ["MEDIC", None],
                        "suffix": "T2starw",
                        "datatype": "anat",
                        "session": "a",
                    },
                    "megre": {"echo": 2},
                }
            },
            ["sub-01_ses-a_acq-MEDIC_T2starw", "sub-01_ses-b_echo-2_MEGRE"],
        ),
        (
            {"filters": {"t2starw": {"run": 2}, "megre": {"part": "*", "session": "b"}}},
            ["sub-01_ses-a_acq-MERGE_run-02_T2starw"],
        ),
    ],
)
def test_filters(raw, asked, expected):
    assert sorted(names(raw, **asked)) == expected


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"participants": ["03"]}, "has no participant 03; choose from: 01, 02"),
        ({"participants": ["0/1"]}, "is not a BIDS label"),
        ({"sessions": ["c"]}, "matches the selection"),
        ({"filters": {"t2starw": {"acq": "MEDIC"}}}, "no entity acq; choose from acquisition"),
        ({"filters": {"megre": {"suffix": "MESE"}}}, "suffix is always MEGRE"),
        ({"sessions": ["a"], "filters": {"t2starw": {"session": "b"}}}, "also selected by label"),
    ],
)
def test_what_cannot_be_found_is_told(raw, asked, told):
    with pytest.raises(InputError, match=told):
        query_scans(raw, **asked)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is not of the form"),
        ('{"t2starw": "MEDIC"}', "is not of the form"),
        ('{"bold": {}}', "bold: unknown query; use only t2starw and megre"),
        ('{"t2starw": {"run": {}}}', "t2starw: run: give a text"),
        ('{"t2starw": {"run": []}}', "t2starw: run: give a text"),
        ('{"t2starw": {"run": true}}', "t2starw: run: give a text"),
    ],
)
def test_filter_files_that_are_none(tmp_path, text, told):
    (tmp_path / "filters.json").write_text(text)
    with pytest.raises(InputError, match=told):
        read_filters(tmp_path / "filters.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_filters(tmp_path / "none.json")


def test_what_is_no_raw_dataset_is_refused(raw, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        query_scans(tmp_path / "none")
    with pytest.raises(InputError, match="has no readable dataset_description"):
        query_scans(tmp_path)
    with pytest.raises(InputError, match="holds derivatives"):
        query_scans(raw / "derivatives" / "labels")


def test_odd_names_are_left_out_and_told(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    odd = [
        "sub-02_T2starw.nii",
        "sub-01_dir-x_T2starw.nii",
        "sub-01_run-1_acq-x_T2starw.nii",
        "sub-01_echo-x_MEGRE.nii",
        "T2starw.nii",
    ]
    for name in [*odd, "sub-01_T2starw.nii", "sub-01_T2starw.json", "sub-01_T2starw_seg.nii"]:
        (folder / name).touch()
    scans, left_out = query_scans(tmp_path)
    assert [scan.name for scan in scans] == ["sub-01_T2starw"]
    assert len(left_out) == len(odd)
    assert all(any(name in line for line in left_out) for name in odd)


def test_without_pybids_the_remedy_is_told(raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "bids.layout", None)
    with pytest.raises(InputError, match=r"pip install 'gmseg\[cohort\]'"):
        query_scans(raw)


# ------------------------------------------------------------------------- the participant level


def test_names_by_the_book(done):
    expected = {
        ".bidsignore",
        "README",
        "dataset_description.json",
        "logs/sub-02_acq-bad_T2starw.txt",
        f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz",
        f"{MEGRE}_desc-rmsMEGRE_T2starw.json",
    }
    for scan in GOOD:
        for ending in (
            "mask.nii.gz",
            "mask.json",
            "probseg.nii.gz",
            "probseg.json",
            "morph.tsv",
            "morph.json",
        ):
            expected.add(f"{scan}_space-orig_label-GM_{end_of(scan)}{ending}")
    found = {
        path.relative_to(done.out).as_posix() for path in done.out.rglob("*") if path.is_file()
    }
    assert {name for name in found if not name.startswith("qc/")} == expected
    assert (done.out / "qc" / "index.html").is_file()


def test_the_dataset_is_left_as_it_was(done):
    kept = {path: time for path, time in done.after.items() if "gmseg" not in path.parts}
    assert kept == done.before


def test_a_bad_scan_stops_nothing_and_is_told(done):
    assert done.code == 2
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert f"{BAD}_T2starw.nii.gz: " in line
    assert "Traceback" not in done.stderr
    noted = (done.out / "logs" / "sub-02_acq-bad_T2starw.txt").read_text()
    assert noted.startswith(f"{BAD}_T2starw.nii.gz: ")  # no folder of this machine
    assert "5 segmented, 1 failed" in done.stdout
    [row] = [line for line in done.stdout.splitlines() if line.startswith("sub-02_acq-bad")]
    assert row.split() == ["sub-02_acq-bad_T2starw", "failed"]


def test_masks_are_what_segment_gives(done, raw, model):
    result = segment.segment(raw / f"{OTHER}_T2starw.nii", model)
    mask = nib.load(mask_of(done.out, OTHER))
    soft = nib.load(done.out / f"{OTHER}_space-orig_label-GM_probseg.nii.gz")
    assert np.array_equal(mask.dataobj, result.mask.dataobj)
    assert np.asarray(mask.dataobj).any()
    assert np.array_equal(soft.get_fdata(), result.soft.get_fdata())
    assert np.array_equal(mask.affine, nib.load(raw / f"{OTHER}_T2starw.nii").affine)


def test_sidecars(done, raw, model):
    card = json.loads(model.read_text())
    for scan in GOOD:
        mask = json.loads(
            Path(str(mask_of(done.out, scan)).replace(".nii.gz", ".json")).read_text()
        )
        soft = done.out / f"{scan}_space-orig_label-GM_{end_of(scan)}probseg.json"
        for facts in (mask, json.loads(soft.read_text())):
            assert facts["SpatialReference"] == "orig"
            assert facts["Model"] == "fast"
            assert facts["ModelWeightsSHA256"] == card["weights_sha256"]
            assert facts["Manual"] is False
            assert "RawSources" not in facts
            [source] = facts["Sources"]
            if scan == MEGRE:
                assert source == f"bids::{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz"
                assert (done.out / source.removeprefix("bids::")).is_file()
            else:
                ending = "_T2starw.nii" if scan == OTHER else "_T2starw.nii.gz"
                assert source == f"bids:raw:{scan}{ending}"
        assert mask["Type"] == "ROI"
        assert mask["Threshold"] == 0.5
        assert len(mask["ExpectedDice"]) == 3
        assert "small-area" not in {flag["Name"] for flag in mask["Flags"]}
        assert {tuple(flag) for flag in mask["Flags"]} <= {("Name", "Text", "Slices")}


def test_the_dataset_describes_itself(done, raw):
    told = json.loads((done.out / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    [made_by] = told["GeneratedBy"]
    assert set(made_by) >= {"Name", "Version", "CodeURL"}
    assert told["SourceDatasets"][0]["DOI"] == "doi:10.0000/none"
    assert (done.out / told["DatasetLinks"]["raw"]).resolve() == raw.resolve()


def test_echoes_are_combined_by_their_root_mean_square(done, raw):
    echoes = [nib.load(raw / f"{MEGRE}_echo-{k}_MEGRE.nii.gz") for k in (1, 2, 10)]
    combined = nib.load(done.out / f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz")
    expected = np.sqrt(np.mean([echo.get_fdata() ** 2 for echo in echoes], axis=0))
    np.testing.assert_allclose(combined.get_fdata(), expected, rtol=1e-6)
    assert np.array_equal(combined.affine, echoes[0].affine)
    assert combined.get_data_dtype() == np.float32
    facts = json.loads((done.out / f"{MEGRE}_desc-rmsMEGRE_T2starw.json").read_text())
    assert facts["Sources"] == [f"bids:raw:{MEGRE}_echo-{k}_MEGRE.nii.gz" for k in (1, 2, 10)]
    assert facts["SkullStripped"] is False


def test_what_is_done_is_left_and_what_is_missing_is_made(copy, model, capsys):
    raw, out = copy
    assert mask_of(out, MEDIC).is_file()
    before = files_in(out)
    lost = [
        mask_of(out, OTHER),
        out / f"{MERGE}1_space-orig_label-GM_morph.tsv",
        Path(str(mask_of(out, MERGE + "2")).replace(".nii.gz", ".json")),
    ]
    for file in lost:
        file.unlink()
    facts = Path(str(mask_of(out, MEGRE)).replace(".nii.gz", ".json"))
    stale = json.loads(facts.read_text())  # as if the run had ended between mask and sidecar
    facts.write_text(json.dumps(stale | {"MadeFrom": "gmseg 0 0123456789abcdef"}))
    assert run(raw, out, "participant", "--model", model) == 2  # the damaged one
    printed = capsys.readouterr().out
    assert "4 segmented, 1 done before, 1 failed" in printed
    assert f"{mask_of(out, MEDIC)}  is done" in printed
    after = files_in(out)
    # the page knows a scan by where it lies, and this is a copy
    assert {path for path in after if path.parts[0] != "qc"} == {
        path for path in before if path.parts[0] != "qc"
    }
    same = Path(f"{MEDIC}_space-orig_label-GM_mask.nii.gz")
    assert after[same] == before[same]
    assert json.loads(facts.read_text()) == stale


def test_what_was_made_otherwise_is_refused_and_replaced_when_asked(copy, model, capsys):
    raw, out = copy
    some = ["participant", "--model", model, "--participant-label", "02", "--acquisition", "bad"]
    shutil.copy(raw / f"{MEDIC}_T2starw.nii.gz", raw / f"{BAD}_T2starw.nii.gz")
    assert run(raw, out, *some) == 0
    assert not (out / "logs" / "sub-02_acq-bad_T2starw.txt").exists()  # it is mended
    mask = mask_of(out, BAD)
    first = mask.read_bytes()
    shutil.copy(raw / f"{MERGE}2_T2starw.nii.gz", raw / f"{BAD}_T2starw.nii.gz")
    capsys.readouterr()
    assert run(raw, out, *some) == 2
    assert "use --overwrite to replace it" in capsys.readouterr().err
    assert mask.read_bytes() == first
    assert run(raw, out, *some, "--tta", 2) == 2
    assert run(raw, out, *some, "--tta", 2, "--overwrite") == 0
    facts = json.loads(Path(str(mask).replace(".nii.gz", ".json")).read_text())
    assert facts["TestTimeAugmentation"] == {"Copies": 2, "Seed": 0}
    assert mask.read_bytes() != first


def test_other_echoes_are_refused(copy, model, tmp_path, capsys):
    raw, out = copy
    (tmp_path / "filters.json").write_text('{"t2starw": {"run": 99}, "megre": {"echo": [1, 2]}}')
    asked = ["participant", "--model", model, "--bids-filter-file", tmp_path / "filters.json"]
    assert run(raw, out, *asked) == 2
    assert "was made from other echoes" in capsys.readouterr().err
    assert run(raw, out, *asked, "--overwrite") == 0
    facts = json.loads((out / f"{MEGRE}_desc-rmsMEGRE_T2starw.json").read_text())
    assert [source.split("_")[2] for source in facts["Sources"]] == ["echo-1", "echo-2"]


def test_one_echo_keeps_its_name(raw, model, tmp_path):
    (tmp_path / "filters.json").write_text('{"t2starw": {"run": 99}, "megre": {"echo": 2}}')
    asked = ["--model", model, "--bids-filter-file", tmp_path / "filters.json"]
    assert run(raw, tmp_path / "out", "participant", *asked) == 0
    [mask] = (tmp_path / "out" / "sub-01" / "ses-b" / "anat").glob("*_mask.nii.gz")
    assert mask.name == "sub-01_ses-b_echo-2_space-orig_label-GM_desc-MEGRE_mask.nii.gz"
    facts = json.loads(Path(str(mask).replace(".nii.gz", ".json")).read_text())
    assert facts["Sources"] == [f"bids:raw:{MEGRE}_echo-2_MEGRE.nii.gz"]
    told = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert " " not in told["DatasetLinks"]["raw"]  # it is a URI
    check_valid(tmp_path / "out", but=["TOO_FEW_AUTHORS"])


def test_volumes_grids_and_names_that_clash(raw, model, tmp_path, capsys):
    root = tmp_path / "raw"
    shutil.copytree(raw / "sub-02", root / "sub-03")
    shutil.copy(raw / "dataset_description.json", root)
    for file in (root / "sub-03").rglob("*.*"):
        file.unlink()
    scan = nib.load(raw / f"{OTHER}_T2starw.nii")
    data = np.stack([np.asarray(scan.dataobj)] * 2, axis=-1)
    data[..., 1] //= 2
    many = nib.Nifti1Image(data, scan.affine)
    anat = root / "sub-03" / "anat"
    save(many, anat / "sub-03_T2starw.nii.gz")
    save(scan, anat / "sub-03_run-1_T2starw.nii.gz")
    save(scan, anat / "sub-03_run-1_T2starw.nii")
    for echo in (1, 2):
        save(many, anat / f"sub-03_acq-4d_echo-{echo}_MEGRE.nii.gz")
        moved = nib.Nifti1Image(np.asarray(scan.dataobj), scan.affine + 0.1 * echo)
        save(moved, anat / f"sub-03_acq-moved_echo-{echo}_T2starw.nii.gz")
    assert run(root, tmp_path / "out", "participant", "--model", model) == 2
    faults = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(faults) == 4
    assert sum("choose one with --volume K or average them" in line for line in faults) == 2
    assert sum("rename or remove one" in line for line in faults) == 1
    assert sum("is not on the grid of" in line for line in faults) == 1
    out = tmp_path / "out2"
    assert run(root, out, "participant", "--model", model, "--mean", "--acquisition", "4d") == 0
    combined = nib.load(out / "sub-03/anat/sub-03_acq-4d_desc-rmsMEGRE_T2starw.nii.gz")
    np.testing.assert_allclose(combined.get_fdata(), data.mean(axis=-1), rtol=1e-5)
    sidecar = out / "sub-03/anat/sub-03_acq-4d_desc-rmsMEGRE_T2starw.json"
    assert json.loads(sidecar.read_text())["Volume"] == "mean"


def test_places_where_derivatives_may_not_lie(copy, model, tmp_path, capsys):
    raw, out = copy
    other = tmp_path / "other"
    shutil.copytree(raw, other, ignore=shutil.ignore_patterns("gmseg"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "dataset_description.json").write_text("{")
    (tmp_path / "file").touch()
    for folder in ("full", "datalad"):
        (tmp_path / folder / "code").mkdir(parents=True)
        (tmp_path / folder / "README.md").touch()
    (tmp_path / "full" / "x").touch()
    before = files_in(tmp_path)
    for place, told in (
        (raw, "contains another dataset"),
        (raw / "gmseg", "lies within the dataset"),
        (raw / "derivatives", "lies within the dataset"),
        (raw / "derivatives" / "labels", "contains another dataset"),
        (raw / "derivatives" / "labels" / "gmseg", "lies within the dataset"),
        (elsewhere, "contains another dataset"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "full", "contains other files, such as x"),
    ):
        with pytest.raises(InputError, match=told):
            check_out_dir(raw, place)
    assert run(raw, raw, "participant", "--model", model) == 2
    assert "contains another dataset" in capsys.readouterr().err
    with pytest.raises(InputError, match="contains derivatives of"):
        check_out_dir(other, out)
    check_out_dir(raw, out)
    check_out_dir(raw, tmp_path / "new")
    check_out_dir(raw, tmp_path / "datalad")
    other.rename(tmp_path / "gone")
    check_out_dir(tmp_path / "gone", tmp_path / "gone" / "derivatives" / "gmseg")
    (tmp_path / "gone").rename(other)
    assert files_in(tmp_path) == before


def test_what_users_wrote_into_the_description_is_kept(copy, model):
    raw, out = copy
    place = out / "dataset_description.json"
    told = json.loads(place.read_text())
    told["GeneratedBy"][0]["Version"] = "0.0.1"
    told["GeneratedBy"].append({"Name": "by hand"})
    place.write_text(json.dumps(told | {"License": "CC0", "Name": "mine"}))
    (out / "README").write_text("mine")
    assert run(raw, out, "participant", "--model", model, "--participant-label", "01") == 0
    new = json.loads(place.read_text())
    assert (new["Name"], new["License"]) == ("mine", "CC0")
    assert [entry["Name"] for entry in new["GeneratedBy"]] == ["gmseg", "by hand"]
    assert new["GeneratedBy"][0]["Version"] != "0.0.1"
    assert (out / "README").read_text() == "mine"


def test_strict_and_a_fault_of_ours(raw, model, tmp_path, monkeypatch, capsys):
    one = [raw, tmp_path / "out", "participant", "--model", model, "--acquisition", "MEDIC"]
    assert run(*one) == 0
    flagged = "gmseg: warning: sub-01_ses-a_acq-MEDIC_T2starw: " in capsys.readouterr().err
    assert run(*one, "--strict") == (3 if flagged else 0)
    assert flagged  # a disc is no butterfly

    def break_down(*args, **kwargs):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(segment, "segment_files", break_down)
    assert run(*one, "--overwrite") == 1
    assert "fault of gmseg's own" in capsys.readouterr().err


def test_labels_and_workers_reach_the_cohort(raw, model, tmp_path, monkeypatch, capsys):
    asked = {}

    def pretend(jobs, model, *, workers, scheduler, tell):
        asked.update(jobs=jobs, workers=workers, scheduler=scheduler)
        return iter([cohort.Outcome(job, fault=f"{job.scan}: pretended") for job in jobs])

    monkeypatch.setattr(bids_app, "run", pretend)
    both = [
        raw,
        tmp_path / "out",
        "participant",
        "--model",
        model,
        "--workers",
        3,
        "--participant-label",
        "sub-01",
        "02",
        "--session",
        "a",
        "--session",
        "b",
    ]
    assert run(*both) == 2
    assert "4 failed" in capsys.readouterr().out
    assert asked["workers"] == 3
    assert len(asked["jobs"]) == 4
    assert all(job.report == tmp_path / "out" / "qc" for job in asked["jobs"])
    assert run(*both, "--scheduler", "tcp://x:1") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run(*both, "--workers", 2, "rest") == 2  # no label follows a number of workers
    assert "unexpected extra argument" in capsys.readouterr().err


# -------------------------------------------------------------------------------- the group level


def rows_of(file):
    with file.open(newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def test_the_group_table_says_what_measuring_says(copy, capsys):
    raw, out = copy
    mask_of(out, MERGE + "1").unlink()
    (out / "qc" / "index.html").unlink()
    assert run(raw, out, "group") == 0
    printed = capsys.readouterr()
    assert "4 of 6 scans have masks" in printed.out
    assert (out / "qc" / "index.html").is_file()
    rows = {
        row["source"].split("_T2starw")[0].split("_echo")[0]: row
        for row in rows_of(out / bids_derivatives.GROUP_TABLE)
    }
    assert set(rows) == {*GOOD, BAD}
    for scan in set(GOOD) - {MERGE + "1"}:
        mask = mask_of(out, scan)
        soft = mask.with_name(mask.name.replace("_mask", "_probseg"))
        *_, measured = measure_mask(mask, soft=soft)
        for name in bids_derivatives.MEASURE_COLUMNS:
            assert rows[scan][name] == cell(measured[name]), (scan, name)
        facts = json.loads(Path(str(mask).replace(".nii.gz", ".json")).read_text())
        assert float(rows[scan]["expected_dice"]) == pytest.approx(
            np.median(facts["ExpectedDice"]), abs=1e-4
        )
        named = ",".join(flag["Name"] for flag in facts["Flags"]) or "none"
        assert rows[scan]["flags"] == named
        assert (rows[scan]["model"], rows[scan]["problem"]) == ("fast", "n/a")
    assert float(rows[MEDIC]["gm_area_mm2"]) > 10
    assert rows[MEDIC]["participant_id"] == "sub-01"
    assert rows[MEDIC]["session_id"] == "ses-a"
    assert rows[f"{MERGE}2"]["run"] == "02"
    assert rows[f"{MERGE}2"]["acquisition"] == "MERGE"
    assert rows[OTHER]["session_id"] == "n/a"
    for scan, why in ((MERGE + "1", "not segmented yet"), (BAD, "is damaged or cut short")):
        assert rows[scan]["problem"].startswith(why)
        assert rows[scan]["gm_area_mm2"] == rows[scan]["flags"] == "n/a"
        assert f"{rows[scan]['source']}: {why}" in printed.err
    columns = json.loads((out / "group_label-GM_morph.json").read_text())
    assert list(columns) == list(rows[MEDIC])
    assert all(column["Description"] for column in columns.values())


def test_the_group_of_some_and_of_none(copy, tmp_path, capsys):
    raw, out = copy
    assert run(raw, out, "group", "--session", "b") == 0
    [row] = rows_of(out / bids_derivatives.GROUP_TABLE)
    assert row["source"] == f"{MEGRE}_echo-1_MEGRE.nii.gz"
    assert run(raw, out, "group", "--strict") == 3
    assert run(raw, tmp_path / "nothing", "group") == 2
    assert "run the participant level first" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
    (out / f"{OTHER}_space-orig_label-GM_morph.tsv").write_text("region\nslice\n")
    assert run(raw, out, "group") == 2
    assert "was not written by gmseg" in capsys.readouterr().err


def test_masks_of_several_models_are_told(copy, capsys):
    raw, out = copy
    facts = Path(str(mask_of(out, MEDIC)).replace(".nii.gz", ".json"))
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"Model": "other"}))
    assert run(raw, out, "group") == 0
    assert "by several models or versions: fast (gmseg" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- the validator


def check_valid(dataset, *, but=()):
    """Fail if the BIDS validator finds an error; what it may warn of is named."""
    name = "bids-validator-deno"
    validator = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if validator is None:
        if os.environ.get("GMSEG_REQUIRE_BIDS_VALIDATOR") == "1":
            pytest.fail("GMSEG_REQUIRE_BIDS_VALIDATOR=1, but bids-validator-deno is missing")
        pytest.skip("needs bids-validator-deno")
    # it comes with its schema; a proxy that is none keeps it from asking for another
    shut = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    ran = subprocess.run(
        [validator, "--format", "json", str(dataset)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | shut,
        timeout=120,
    )
    found = json.loads(ran.stdout)
    issues = found["issues"]["issues"]
    assert found["summary"]["totalFiles"] > 0
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert {issue["code"] for issue in issues} <= {*but}
    assert ran.returncode == 0


def test_the_dataset_of_the_tests_is_valid(done, raw):
    check_valid(raw, but=["JSON_KEY_RECOMMENDED", "SIDECAR_KEY_RECOMMENDED"])


def test_the_derivatives_are_valid(copy):
    raw, out = copy
    assert run(raw, out, "group") == 0
    check_valid(out, but=["TOO_FEW_AUTHORS"])  # who they are, gmseg cannot know


def test_the_validator_would_tell(copy):
    _, out = copy
    shutil.copy(mask_of(out, OTHER), out / f"{OTHER}_label-GM_space-orig_mask.nii.gz")
    with pytest.raises(AssertionError):
        check_valid(out, but=["TOO_FEW_AUTHORS"])


def test_compressed_files_tell_no_time_and_no_name(done):
    for file in done.out.rglob("*.nii.gz"):
        head = file.read_bytes()[:10]
        assert head[3] & 0b1000 == 0  # no file name
        assert head[4:8] == b"\0\0\0\0"
        gzip.decompress(file.read_bytes())
