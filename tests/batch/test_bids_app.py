"""The two levels of the BIDS App, run as the command ``gmseg bids``."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from bids_dataset import (
    DAMAGED,
    GOOD,
    MEDIC,
    MEGRE,
    MERGE_1,
    MERGE_2,
    OTHER,
    check_valid,
    mask_of,
    modification_times,
    predict_discs,
    read_sidecar,
    run_bids,
    save,
    sidecar_file,
    write_description,
)

from gmseg.batch import bids_app
from gmseg.batch.bids_derivatives import GROUP_TABLE, read_mask_sidecar
from gmseg.batch.bids_group import MEASURE_COLUMNS
from gmseg.batch.bids_query import Scan
from gmseg.batch.jobs import Outcome
from gmseg.inference import segment
from gmseg.io.tables import cell
from gmseg.morphometry.areas import measure_mask

pytest.importorskip("bids", reason="needs pybids: pip install 'gmseg[cohort]'")
pytestmark = pytest.mark.usefixtures("disc_network")

DAMAGED_LOG = "logs/sub-02_acq-bad_T2starw.txt"


# ------------------------------------------------------------------------- the participant level


def test_raw_dataset_is_not_changed(derivatives):
    kept = {path: time for path, time in derivatives.after.items() if "gmseg" not in path.parts}
    assert kept == derivatives.before


def test_bad_scan_is_reported_and_does_not_stop_the_others(derivatives):
    assert derivatives.status == 2
    [line] = [line for line in derivatives.stderr.splitlines() if "error" in line]
    assert f"{DAMAGED}_T2starw.nii.gz: " in line
    assert "Traceback" not in derivatives.stderr
    log = (derivatives.out_dir / DAMAGED_LOG).read_text()
    assert log.startswith(f"{DAMAGED}_T2starw.nii.gz: ")  # relative to the dataset
    assert "5 segmented, 1 failed" in derivatives.stdout
    [row] = [line for line in derivatives.stdout.splitlines() if line.startswith("sub-02_acq-bad")]
    assert row.split() == ["sub-02_acq-bad_T2starw", "failed"]


def test_masks_are_those_of_segment(derivatives, raw, small_model):
    result = segment.segment(raw / f"{OTHER}_T2starw.nii", small_model)
    mask = nib.load(mask_of(derivatives.out_dir, OTHER))
    soft = nib.load(derivatives.out_dir / f"{OTHER}_space-orig_label-GM_probseg.nii.gz")
    assert np.array_equal(mask.dataobj, result.mask.dataobj)
    assert np.asarray(mask.dataobj).any()
    assert np.array_equal(soft.get_fdata(), result.soft.get_fdata())
    assert np.array_equal(mask.affine, nib.load(raw / f"{OTHER}_T2starw.nii").affine)


def test_only_missing_and_outdated_files_are_written_again(dataset_copy, small_model, capsys):
    raw, out_dir = dataset_copy
    before = modification_times(out_dir)
    mask_of(out_dir, OTHER).unlink()
    (out_dir / f"{MERGE_1}_space-orig_label-GM_morph.tsv").unlink()
    sidecar_file(mask_of(out_dir, MERGE_2)).unlink()
    file = sidecar_file(mask_of(out_dir, MEGRE))
    content = json.loads(file.read_text())  # as if the run had stopped between mask and sidecar
    file.write_text(json.dumps(content | {"MadeFrom": "gmseg 0 0123456789abcdef"}))
    assert run_bids(raw, out_dir, "participant", "--model", small_model) == 2  # the damaged scan
    printed = capsys.readouterr().out
    assert "4 segmented, 1 done before, 1 failed" in printed
    assert f"{mask_of(out_dir, MEDIC)}  is done" in printed
    after = modification_times(out_dir)
    # the page names scans after their location, and this is a copy
    assert {path for path in after if path.parts[0] != "qc"} == {
        path for path in before if path.parts[0] != "qc"
    }
    kept = mask_of(out_dir, MEDIC).relative_to(out_dir)
    assert after[kept] == before[kept]
    assert json.loads(file.read_text()) == content


def test_incomplete_derivatives_are_written_again(dataset_copy, small_model, capsys):
    raw, out_dir = dataset_copy
    call = [raw, out_dir, "participant", "--model", small_model, "--session", "b"]
    combined = out_dir / f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz"
    mask = mask_of(out_dir, MEGRE)
    table = mask.with_name(mask.name.replace("_mask.nii.gz", "_morph.tsv"))
    soft = mask.with_name(mask.name.replace("_mask", "_probseg"))
    images = (combined, mask, soft)
    files = [*images, table, *map(sidecar_file, images), table.with_suffix(".json")]
    run_bids(*call)
    complete = {file: file.read_bytes() for file in files}
    for file in files:
        for size in (0, len(complete[file]) // 2):
            file.write_bytes(complete[file][:size])
            if file in (mask, table) and size:
                assert run_bids(raw, out_dir, "group", "--session", "b") == 2
                assert "no mask of these scans" in capsys.readouterr().err
            assert run_bids(*call) == 0, file.name
            assert file.read_bytes() == complete[file], (file.name, size)
    capsys.readouterr()
    assert run_bids(*call) == 0
    assert f"{mask}  is done" in capsys.readouterr().out
    table.unlink()
    table.symlink_to(raw / "dropped")
    assert run_bids(*call) == 2
    assert "is a link to a file that is missing" in capsys.readouterr().err
    assert table.is_symlink()


def test_changed_scans_and_options_need_overwrite(dataset_copy, small_model, capsys):
    raw, out_dir = dataset_copy
    call = [raw, out_dir, "participant", "--model", small_model]
    call += ["--participant-label", "02", "--acquisition", "bad"]
    shutil.copy(raw / f"{MEDIC}_T2starw.nii.gz", raw / f"{DAMAGED}_T2starw.nii.gz")
    assert run_bids(*call) == 0
    assert not (out_dir / DAMAGED_LOG).exists()
    mask = mask_of(out_dir, DAMAGED)
    first = mask.read_bytes()
    shutil.copy(raw / f"{MERGE_2}_T2starw.nii.gz", raw / f"{DAMAGED}_T2starw.nii.gz")
    capsys.readouterr()
    assert run_bids(*call) == 2
    assert "overwrite" in capsys.readouterr().err
    assert run_bids(*call, "--tta", 2) == 2
    assert mask.read_bytes() == first
    assert run_bids(*call, "--tta", 2, "--overwrite") == 0
    assert read_sidecar(mask)["TestTimeAugmentation"] == {"Copies": 2, "Seed": 0}
    assert mask.read_bytes() != first


def test_changed_echoes_need_overwrite(dataset_copy, small_model, tmp_path, capsys):
    raw, out_dir = dataset_copy
    (tmp_path / "filters.json").write_text('{"t2starw": {"run": 99}, "megre": {"echo": [1, 2]}}')
    call = [raw, out_dir, "participant", "--model", small_model]
    call += ["--bids-filter-file", tmp_path / "filters.json"]
    assert run_bids(*call) == 2
    assert "was made from other echoes" in capsys.readouterr().err
    assert run_bids(*call, "--overwrite") == 0
    sidecar = read_sidecar(out_dir / f"{MEGRE}_desc-rmsMEGRE_T2starw.nii.gz")
    assert [source.split("_")[2] for source in sidecar["Sources"]] == ["echo-1", "echo-2"]


# ---------------------------------------------------------------------- white matter and cord


def of_cord(out_dir, scan):
    """Return the images of white matter and cord, by kind as in `segment.TYPES`."""
    stems = {"wm": "label-WM", "cord": "label-SC"}
    names = {kind: f"{scan}_space-orig_{label}" for kind, label in stems.items()}
    return {kind: out_dir / f"{name}_mask.nii.gz" for kind, name in names.items()} | {
        f"{kind}_soft": out_dir / f"{name}_probseg.nii.gz" for kind, name in names.items()
    }


@pytest.fixture(scope="module")
def cord_run(raw, cord_model, tmp_path_factory):
    """Derivatives of one scan, made by a model with a cord output; not to be changed."""
    out_dir = tmp_path_factory.mktemp("with_cord") / "out"
    call = [raw, out_dir, "participant", "--model", cord_model, "--acquisition", "MEDIC"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "load_predictor", lambda _: predict_discs)
        assert run_bids(*call) == 0
    return out_dir


@pytest.fixture
def cord_copy(cord_run, tmp_path):
    """A copy of the derivatives with cord, which a test may change."""
    return shutil.copytree(cord_run, tmp_path / "out")


def test_white_matter_and_cord_are_written_with_sidecars(cord_run, raw, cord_model):
    result = segment.segment(raw / f"{MEDIC}_T2starw.nii.gz", cord_model)
    common = read_sidecar(mask_of(cord_run, MEDIC))
    assert common["Labels"] == ["GM", "WM", "SC"]
    for kind, file in of_cord(cord_run, MEDIC).items():
        image, sidecar = nib.load(file), read_sidecar(file)
        np.testing.assert_array_equal(image.dataobj, getattr(result, kind).dataobj)
        assert np.asarray(image.dataobj).any()
        for key in ("Sources", "Model", "ModelWeightsSHA256", "MadeFrom", "SpatialReference"):
            assert sidecar[key] == common[key]
        assert ("white matter" in sidecar["Description"]) == kind.startswith("wm")
        assert (sidecar.get("Type") == "ROI") == (not kind.endswith("_soft"))
    assert read_sidecar(of_cord(cord_run, MEDIC)["cord"])["Threshold"] == 0.5
    check_valid(cord_run, allowed=["TOO_FEW_AUTHORS"])
    assert "label-SC_" in (cord_run / "README").read_text()
    [facts] = (cord_run / "qc" / "scans").glob("*/facts.json")
    assert json.loads(facts.read_text())["gm_cord_ratio"] > 0


def test_tables_have_cord_white_matter_and_ratio(cord_copy, raw):
    out_dir = cord_copy
    mask, soft = mask_of(out_dir, MEDIC), f"{MEDIC}_space-orig_label-GM_probseg.nii.gz"
    rows = measure_mask(mask, soft=out_dir / soft, cord=of_cord(out_dir, MEDIC)["cord"])
    with (out_dir / f"{MEDIC}_space-orig_label-GM_morph.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    names = ("cord_area_mm2", "wm_area_mm2", "gm_cord_ratio")
    for row, expected in zip(table, rows, strict=True):
        assert list(row) == list(expected)
        assert [row[name] for name in names] == [cell(expected[name]) for name in names]
    assert run_bids(raw, out_dir, "group", "--acquisition", "MEDIC") == 0
    [row] = group_rows(out_dir)
    assert [row[name] for name in names] == [table[-1][name] for name in names]
    assert 0 < float(row["gm_cord_ratio"]) < 1
    columns = json.loads((out_dir / "group_label-GM_morph.json").read_text())
    assert columns["wm_area_mm2"]["Units"] == "mm^2"


def test_scan_without_one_of_its_cord_files_is_not_done(cord_copy, raw, cord_model, capsys):
    out_dir = cord_copy
    call = [raw, out_dir, "participant", "--model", cord_model, "--acquisition", "MEDIC"]
    assert run_bids(*call) == 0
    assert "1 done before" in capsys.readouterr().out
    files = of_cord(out_dir, MEDIC)
    for file in files.values():
        hidden = file.rename(file.with_name("hidden"))
        assert read_mask_sidecar(out_dir, scan_of(raw)) is None
        hidden.rename(file)
        assert read_mask_sidecar(out_dir, scan_of(raw)) is not None
    content = files["wm"].read_bytes()
    files["wm"].unlink()
    assert run_bids(*call) == 0
    assert "1 segmented" in capsys.readouterr().out
    assert files["wm"].read_bytes() == content


def scan_of(raw):
    file = raw / f"{MEDIC}_T2starw.nii.gz"
    entities = {"sub": "01", "ses": "a", "acq": "MEDIC"}
    return Scan(raw, (file,), entities, "T2starw")


def test_other_models_need_overwrite_and_leave_no_outdated_files(
    cord_copy, raw, small_model, cord_model, capsys
):
    out_dir, cord = cord_copy, of_cord(cord_copy, MEDIC)
    call = [raw, out_dir, "participant", "--acquisition", "MEDIC", "--model"]
    before = modification_times(out_dir / "sub-01")
    assert run_bids(*call, small_model) == 2
    assert "overwrite" in capsys.readouterr().err
    assert modification_times(out_dir / "sub-01") == before
    shutil.copy(raw / f"{MEDIC}_T2starw.nii.gz", cord["wm"])  # of another origin
    assert run_bids(*call, small_model, "--overwrite") == 0
    assert [kind for kind, file in cord.items() if file.exists()] == ["wm"]
    assert not sidecar_file(cord["cord"]).exists()
    assert "Labels" not in read_sidecar(mask_of(out_dir, MEDIC))
    capsys.readouterr()
    assert run_bids(*call, small_model) == 0
    assert "1 done before" in capsys.readouterr().out
    assert run_bids(*call, cord_model) == 2
    assert "overwrite" in capsys.readouterr().err
    assert run_bids(*call, cord_model, "--overwrite") == 0
    assert all(file.exists() for file in cord.values())


def test_cord_file_of_another_origin_is_not_replaced(cord_copy, raw, cord_model, capsys):
    file = of_cord(cord_copy, MEDIC)["cord"]
    shutil.copy(raw / f"{MEDIC}_T2starw.nii.gz", file)
    content = file.read_bytes()
    call = [raw, cord_copy, "participant", "--model", cord_model, "--acquisition", "MEDIC"]
    assert run_bids(*call) == 2
    assert f"{file.name}: exists, and was not made from this scan" in capsys.readouterr().err
    assert file.read_bytes() == content


# -------------------------------------------------------------------------------------- choices


def test_volumes_and_equal_output_names(raw, small_model, tmp_path, capsys):
    write_description(tmp_path / "raw")
    anat = tmp_path / "raw" / "sub-03" / "anat"
    scan = nib.load(raw / f"{OTHER}_T2starw.nii")
    data = np.stack([np.asarray(scan.dataobj)] * 2, axis=-1)
    data[..., 1] //= 2
    volumes = nib.Nifti1Image(data, scan.affine)
    save(volumes, anat / "sub-03_T2starw.nii.gz")
    save(scan, anat / "sub-03_run-1_T2starw.nii.gz")
    save(scan, anat / "sub-03_run-1_T2starw.nii")
    for echo in (1, 2):
        save(volumes, anat / f"sub-03_acq-4d_echo-{echo}_MEGRE.nii.gz")
    call = ["participant", "--model", small_model]
    assert run_bids(tmp_path / "raw", tmp_path / "out", *call) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 3
    assert sum("average them" in line for line in errors) == 2
    assert sum("rename or remove one of the two" in line for line in errors) == 1
    mean = [*call, "--mean", "--acquisition", "4d"]
    assert run_bids(tmp_path / "raw", tmp_path / "out2", *mean) == 0
    combined = tmp_path / "out2/sub-03/anat/sub-03_acq-4d_desc-rmsMEGRE_T2starw.nii.gz"
    np.testing.assert_allclose(nib.load(combined).get_fdata(), data.mean(axis=-1), rtol=1e-5)
    assert read_sidecar(combined)["Volume"] == "mean"


def test_output_folder_is_checked_first(raw, small_model, capsys):
    assert run_bids(raw, raw, "participant", "--model", small_model) == 2
    assert "contains another dataset" in capsys.readouterr().err


def test_exit_status_of_flags_and_internal_errors(raw, small_model, tmp_path, monkeypatch, capsys):
    call = [raw, tmp_path / "out", "participant", "--model", small_model, "--acquisition", "MEDIC"]
    assert run_bids(*call) == 0
    # a disc does not look like gray matter
    assert "gmseg: warning: sub-01_ses-a_acq-MEDIC_T2starw: " in capsys.readouterr().err
    assert run_bids(*call, "--strict") == 3

    def fail(*args, **kwargs):
        raise ZeroDivisionError("internal")

    monkeypatch.setattr(segment, "segment_files", fail)
    assert run_bids(*call, "--overwrite") == 1
    assert "ZeroDivisionError: internal" in capsys.readouterr().err


def test_labels_and_workers_reach_the_jobs(raw, small_model, tmp_path, monkeypatch, capsys):
    received = {}

    def pretend(jobs, model, *, workers, scheduler, tell):
        received.update(jobs=jobs, workers=workers)
        return iter([Outcome(job, fault=f"{job.scan}: pretended") for job in jobs])

    monkeypatch.setattr(bids_app, "run", pretend)
    call = [raw, tmp_path / "out", "participant", "--model", small_model, "--workers", 3]
    call += ["--participant-label", "sub-01", "02", "--session", "a", "--session", "b"]
    assert run_bids(*call) == 2
    assert "4 failed" in capsys.readouterr().out
    assert received["workers"] == 3
    assert len(received["jobs"]) == 4
    assert all(job.report == tmp_path / "out" / "qc" for job in received["jobs"])
    assert run_bids(*call, "--scheduler", "tcp://x:1") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run_bids(*call, "--workers", 2, "rest") == 2  # --workers takes one value
    assert "unexpected extra argument" in capsys.readouterr().err


# ------------------------------------------------------------------------------- the group level


def group_rows(out_dir):
    with (out_dir / GROUP_TABLE).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_group_table_holds_the_measures_of_every_scan(dataset_copy, capsys):
    raw, out_dir = dataset_copy
    mask_of(out_dir, MERGE_1).unlink()
    (out_dir / "qc" / "index.html").unlink()
    assert run_bids(raw, out_dir, "group") == 0
    printed = capsys.readouterr()
    assert "4 of 6 scans have masks" in printed.out
    assert (out_dir / "qc" / "index.html").is_file()
    rows = {
        row["source"].split("_T2starw")[0].split("_echo")[0]: row for row in group_rows(out_dir)
    }
    assert set(rows) == {*GOOD, DAMAGED}
    for scan in set(GOOD) - {MERGE_1}:
        row, mask = rows[scan], mask_of(out_dir, scan)
        *_, measures = measure_mask(
            mask, soft=mask.with_name(mask.name.replace("_mask", "_probseg"))
        )
        for name in MEASURE_COLUMNS:
            assert row[name] == cell(measures.get(name)), (scan, name)
        assert row["cord_area_mm2"] == row["wm_area_mm2"] == row["gm_cord_ratio"] == "n/a"
        sidecar = read_sidecar(mask)
        median, lowest = np.median(sidecar["ExpectedDice"]), min(sidecar["ExpectedDice"])
        assert float(row["expected_dice"]) == pytest.approx(median, abs=1e-4)
        assert float(row["lowest_expected_dice"]) == pytest.approx(lowest, abs=1e-4)
        assert row["flags"] == (",".join(flag["Name"] for flag in sidecar["Flags"]) or "none")
        assert (row["model"], row["problem"]) == ("fast", "n/a")
    assert float(rows[MEDIC]["gm_area_mm2"]) > 10
    assert (rows[MEDIC]["participant_id"], rows[MEDIC]["session_id"]) == ("sub-01", "ses-a")
    assert (rows[MERGE_2]["acquisition"], rows[MERGE_2]["run"]) == ("MERGE", "02")
    assert rows[OTHER]["session_id"] == "n/a"
    for scan, problem in ((MERGE_1, "not segmented yet"), (DAMAGED, "is damaged or truncated")):
        assert rows[scan]["problem"].startswith(problem)
        assert rows[scan]["gm_area_mm2"] == rows[scan]["flags"] == "n/a"
        assert f"{rows[scan]['source']}: {problem}" in printed.err
    columns = json.loads((out_dir / "group_label-GM_morph.json").read_text())
    assert list(columns) == list(rows[MEDIC])
    assert all(column["Description"] for column in columns.values())


def test_group_of_some_scans_and_of_none(dataset_copy, tmp_path, capsys):
    raw, out_dir = dataset_copy
    assert run_bids(raw, out_dir, "group", "--session", "b") == 0
    [row] = group_rows(out_dir)
    assert row["source"] == f"{MEGRE}_echo-1_MEGRE.nii.gz"
    assert run_bids(raw, out_dir, "group", "--strict") == 3
    assert run_bids(raw, tmp_path / "nothing", "group") == 2
    assert "run the participant level first" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_table_of_another_program_is_refused(dataset_copy, capsys):
    raw, out_dir = dataset_copy
    (out_dir / f"{OTHER}_space-orig_label-GM_morph.tsv").write_text("region\nslice\n")
    assert run_bids(raw, out_dir, "group") == 2
    assert "was not written by gmseg" in capsys.readouterr().err


def test_masks_of_several_models_are_reported(dataset_copy, capsys):
    raw, out_dir = dataset_copy
    file = sidecar_file(mask_of(out_dir, MEDIC))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"Model": "other"}))
    assert run_bids(raw, out_dir, "group") == 0
    assert "several models or versions: fast (gmseg" in capsys.readouterr().err
