"""``gmseg segment``: bad input, bad choices, outputs and QC flags."""

import gzip
import importlib
import io
import json
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from command import run
from tqdm import tqdm

from gmseg.batch import jobs
from gmseg.cli import segment
from gmseg.datasets.phantom import make_phantom
from gmseg.io.resources import bundled
from gmseg.models import registry

AFFINE = np.diag([-0.5, 0.5, 5, 1])


def save(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def noise(shape=(40, 40, 3), dtype=np.float32):
    return np.random.default_rng(0).uniform(1, 200, shape).astype(dtype)


@pytest.fixture
def scan(tmp_path):
    phantom = make_phantom(seed=1, spacing_mm=(0.5, 0.5, 5), shape=(110, 110, 1))
    nib.save(phantom.image, tmp_path / "t2s.nii.gz")
    return tmp_path / "t2s.nii.gz"


# --------------------------------------------------------------------------------- bad input


def header_fault(path, **fields):
    """Write a scan, then change its header's bytes, which nibabel would not write so."""
    save(path, noise())
    image = nib.load(path)
    header = image.header.copy()
    for field, value in fields.items():
        header[field] = value
    content = bytearray(path.read_bytes())
    content[:348] = header.binaryblock
    path.write_bytes(content)


def rgb(path):
    voxel = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 3), voxel), AFFINE), path)


def dicom(path):
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 400)


def truncated(path):
    save(path, noise())
    path.write_bytes(path.read_bytes()[:-3000])


def cut_nii(path):
    save(path, noise())
    path.write_bytes(path.read_bytes()[:5000])


def flipped_bit(path):
    save(path, noise())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut_checksum(path):
    save(path, noise())
    path.write_bytes(path.read_bytes()[:-4])


def declares_terabytes(path):
    header_fault(path, dim=[3, 32000, 32000, 900, 1, 1, 1, 1])


def not_finite(path):
    data = noise((110, 110, 1))
    data[50, 50, 0] = np.nan
    save(path, data)


def sform(**change):
    def write(path):
        header_fault(path, **change)

    return write


SINGULAR = {"sform_code": 1, "srow_x": [0.5, 0.5, 0, 0], "srow_y": [0.5, 0.5, 0, 0]}
BAD_SCANS = {
    "missing": ("x.nii.gz", lambda path: None, "no such file"),
    "directory": ("x", lambda path: path.mkdir(), "contains no image"),
    "empty": ("x.nii.gz", lambda path: path.touch(), "is empty"),
    "empty gzip": ("x.nii.gz", lambda path: path.write_bytes(gzip.compress(b"")), "not an image"),
    "truncated gzip": ("x.nii.gz", truncated, "damaged or truncated"),
    "truncated": ("x.nii", cut_nii, "damaged or truncated"),
    "flipped bit": ("x.nii.gz", flipped_bit, "damaged"),
    "cut checksum": ("x.nii.gz", cut_checksum, "damaged or truncated"),
    "terabytes": ("x.nii", declares_terabytes, "its header declares 3686400000000 bytes"),
    "unknown data type": ("x.nii", sform(datatype=9999), "not an image that can be read"),
    "unknown sform code": ("x.nii", sform(sform_code=9), "sform_code 9 is unknown"),
    "infinite slope": ("x.nii", sform(scl_slope=np.inf), "scl_slope or scl_inter is infinite"),
    "text as PAR": ("x.PAR", lambda path: path.write_text("hello"), "not an image"),
    "gifti": ("x.gii", lambda path: path.write_text("hello"), "not an image"),
    "text": ("x.nii", lambda path: path.write_text("hello " * 200), "not an image"),
    "text gzip": ("x.nii.gz", lambda path: path.write_text("hello"), "not an image"),
    "dicom": ("x.dcm", dicom, "is a DICOM file; convert"),
    "dicom in disguise": ("x.nii", dicom, "is a DICOM file; convert"),
    "2-D": ("x.nii.gz", lambda path: save(path, noise((40, 40))), "is 2-D"),
    "4-D": ("x.nii.gz", lambda path: save(path, noise((9, 9, 3, 4))), "--volume K"),
    "zeros": ("x.nii.gz", lambda path: save(path, np.zeros((9, 9, 3))), "every voxel is zero"),
    "constant": ("x.nii.gz", lambda path: save(path, np.full((9, 9, 3), 7.0)), "every voxel is 7"),
    "NaN": ("x.nii.gz", lambda path: save(path, np.full((9, 9, 3), np.nan)), "no finite voxel"),
    "one NaN in the window": ("x.nii.gz", not_finite, "1 voxels are NaN or infinite"),
    "complex": (
        "x.nii.gz",
        lambda path: save(path, noise().astype(np.complex64)),
        "complex voxels",
    ),
    "RGB": ("x.nii.gz", rgb, "colour (RGB) voxels"),
    "huge voxels": (
        "x.nii.gz",
        lambda path: save(path, noise(), np.diag([-80, 80, 5, 1])),
        "implausible",
    ),
    "tiny voxels": (
        "x.nii.gz",
        lambda path: save(path, noise(), np.diag([-1e-4, 1e-4, 5, 1])),
        "implausible",
    ),
    "zero voxel size": ("x.nii", sform(sform_code=1, srow_x=[0, 0, 0, 0]), "a voxel size is zero"),
    "zero pixdim": (
        "x.nii",
        sform(sform_code=0, qform_code=0, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]),
        "voxel size",
    ),
    "singular affine": ("x.nii", sform(**SINGULAR), "affine is singular"),
    "NaN in the affine": (
        "x.nii",
        sform(sform_code=1, srow_x=[np.nan, 0, 0, 0]),
        "affine contains NaN",
    ),
}


@pytest.mark.parametrize("case", BAD_SCANS)
def test_bad_scans(case, tmp_path, capsys):
    name, write, fault = BAD_SCANS[case]
    write(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    code, out, err = run(capsys, "segment", tmp_path / name, "--soft", "--out-dir", tmp_path / "o")
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(f"gmseg: error: {tmp_path / name}: ")
    assert fault in line
    assert "; " in line  # the remedy
    assert sorted(tmp_path.iterdir()) == before


def test_bad_output_places(scan, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "old.nii.gz").write_text("old")
    for arguments, fault in (
        (["-o", scan], "is the input itself"),
        (["-o", tmp_path / "old.nii.gz"], "exists; "),
        (["-o", tmp_path / "none" / "m.nii.gz"], "does not exist; create it, or use --out-dir"),
        (["-o", tmp_path / "file" / "m.nii.gz"], "is a file, not a folder"),
        (["-o", tmp_path / "m.png"], "end it in .nii.gz or .nii"),
        (["-o", tmp_path], "end it in .nii.gz or .nii"),
        (["--out-dir", tmp_path / "file"], "is a file, not a folder"),
        (["--out-dir", tmp_path / "file" / "deeper"], "is a file, not a folder"),
        (["--summary", tmp_path / "none" / "s.json"], "does not exist"),
        (["-o", tmp_path / "m.nii.gz", "--out-dir", tmp_path], "exclude each other"),
        (["-o", tmp_path / "m.nii", "--summary", tmp_path / "m.nii"], "has the same output"),
        (["--summary", scan, "--overwrite"], "is the input itself"),
    ):
        before = {p: p.read_bytes() for p in tmp_path.iterdir()}
        code, out, err = run(capsys, "segment", scan, *arguments)
        assert (code, out) == (2, ""), arguments
        [line] = err.splitlines()
        assert fault in line
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_bad_choices(scan, tmp_path, capsys):
    model = shutil.copy(bundled("models/default.weights.h5"), tmp_path / "m.weights.h5")
    shutil.copy(bundled("models/default.json"), tmp_path / "m.json")
    with open(model, "ab") as file:  # noqa: PTH123
        file.write(b"x")
    for arguments, fault in (
        (["--model", "bogus"], "no model of that name; known are default"),
        (["--model", tmp_path / "none.hdf5"], "no such model file"),
        (["--model", model], "its SHA-256 is not the one in m.json"),
        (["--centre", "left"], "--centre left: give auto, image, or X,Y in mm"),
        (["--centre", "900,0"], "lies outside the scan"),
        (["--cord", tmp_path / "none.nii.gz"], "no such file"),
        (["--volume", "3"], "has 1 volumes, counted from 0; --volume 3 is not one of them"),
        (["--volume", "-1"], "--volume -1 is not one of them"),
        (["--centre", "nan,nan"], "give auto, image, or X,Y in mm"),
        (["--centre", "1e30,0"], "give auto, image, or X,Y in mm"),
        (["--cord", scan, "--centre", "image"], "exclude each other"),
        (["--volume", "0", "--mean"], "exclude each other"),
        (["--within-cord"], "--within-cord: needs a cord mask; give one with --cord"),
        (["--clean", "largest,bogus"], "'bogus' is unknown; choose from largest, small, holes"),
    ):
        code, out, err = run(capsys, "segment", scan, *arguments)
        assert (code, out) == (2, ""), arguments
        [line] = err.splitlines()
        assert fault in line
        assert not list(tmp_path.glob("*_gmseg*"))


# ---------------------------------------------------------------------------------- good use


def test_mask_beside_the_scan(scan, tmp_path, capsys):
    words = ["segment", scan, "--soft", "--summary", tmp_path / "s.json"]
    code, out, err = run(capsys, "-q", *words)
    assert (code, err) == (0, "")
    assert out.startswith(str(tmp_path / "t2s_gmseg.nii.gz"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "s.json",
        "t2s.nii.gz",
        "t2s_gmseg.nii.gz",
        "t2s_gmsoft.nii.gz",
    ]
    mask = nib.load(tmp_path / "t2s_gmseg.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    [entry] = json.loads((tmp_path / "s.json").read_text())["scans"]
    assert entry["model"] == "default"
    assert entry["model_sha256"] == registry.load_model().weights_sha256
    assert len(entry["area_mm2"]) == mask.shape[2]
    assert entry["volume_mm3"] == pytest.approx(mask.get_fdata().sum() * 0.5 * 0.5 * 5, rel=1e-3)

    code, _, err = run(capsys, "segment", scan)
    assert code == 2
    assert "exists; " in err
    assert run(capsys, "segment", scan, "--overwrite")[0] == 0


def test_named_output_and_folder(scan, tmp_path, capsys):
    assert run(capsys, "segment", scan, "-o", tmp_path / "gm.nii", "--soft")[0] == 0
    assert run(capsys, "segment", scan, "--out-dir", tmp_path / "a" / "b")[0] == 0
    one = nib.load(tmp_path / "gm.nii").get_fdata()
    two = nib.load(tmp_path / "a/b/t2s_gmseg.nii.gz").get_fdata()
    np.testing.assert_array_equal(one, two)
    assert (tmp_path / "gm_gmsoft.nii.gz").exists()


def test_of_several_scans_the_good_ones_are_written(scan, tmp_path, capsys):
    other = shutil.copy(scan, tmp_path / "other.nii")  # gzip in disguise: unreadable
    (tmp_path / "again").mkdir()
    same = shutil.copy(scan, tmp_path / "again" / "t2s.nii.gz")
    code, out, err = run(capsys, "segment", scan, other, same, "--out-dir", tmp_path / "o")
    assert code == 2
    assert len(out.splitlines()) == 1
    *each, viewer, total, one, two = err.splitlines()
    assert viewer.startswith("gmseg: view a mask: ")
    assert len(each) == 2
    assert any(str(other) in line for line in each)
    assert any("has the same output" in line for line in each)
    assert total == "gmseg: 1 of 3 scans segmented, 2 failed:"
    assert [line.split("  ")[1].strip() for line in (one, two)] == [str(other), str(same)]
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["t2s_gmseg.nii.gz"]


def test_flags_are_warnings_and_strict_makes_them_an_exit(tmp_path, capsys):
    save(tmp_path / "noise.nii.gz", noise((110, 110, 2)))
    code, out, err = run(capsys, "segment", tmp_path / "noise.nii.gz", "--strict")
    assert code == 3
    assert out
    assert err.startswith(f"gmseg: warning: {tmp_path / 'noise.nii.gz'}: no gray matter found")
    assert run(capsys, "segment", tmp_path / "noise.nii.gz", "--overwrite")[0] == 0


def test_one_scan_named_twice_is_segmented_once(scan, tmp_path, capsys):
    (tmp_path / "d").mkdir()
    code, out, err = run(capsys, "segment", scan, tmp_path / "d" / ".." / scan.name, "--overwrite")
    assert (code, len(out.splitlines())) == (2, 1)
    assert "has the same output" in err


def test_a_bad_scan_does_not_block_a_good_one_of_its_name(scan, tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    bad = tmp_path / "bad" / scan.name
    bad.write_text("junk")
    code, out, err = run(
        capsys,
        "segment",
        bad,
        scan,
        "--out-dir",
        tmp_path / "o",
        "--summary",
        tmp_path / "o" / "s.json",
    )
    assert (code, len(err.splitlines())) == (2, 4)
    assert out
    assert len(json.loads((tmp_path / "o" / "s.json").read_text())["scans"]) == 1


def test_a_file_name_in_no_known_encoding(scan, tmp_path):
    odd = tmp_path / os.fsdecode(b"t\xff.nii.gz")
    shutil.copy(scan, odd)
    command = [sys.executable, "-m", "gmseg", "segment", odd, odd.with_name("none.nii.gz")]
    env = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_ambiguous_headers_are_flagged(tmp_path, capsys):
    image = nib.Nifti1Image(noise((110, 110, 2)), AFFINE)
    image.set_sform(AFFINE, code=0)
    image.set_qform(AFFINE, code=0)
    nib.save(image, tmp_path / "ambiguous.nii.gz")
    _, _, err = run(capsys, "segment", tmp_path / "ambiguous.nii.gz")
    assert "left and right are unknown" in err
    moved = AFFINE.copy()
    moved[0, 3] = 4
    image.set_sform(AFFINE, code=1)
    image.set_qform(moved, code=1)
    nib.save(image, tmp_path / "two.nii.gz")
    _, _, err = run(capsys, "segment", tmp_path / "two.nii.gz")
    assert "qform and sform differ by more than 1 mm" in err
    save(tmp_path / "sagittal.nii.gz", noise((8, 90, 90)), np.diag([-3, 0.6, 0.6, 1]))
    _, _, err = run(capsys, "segment", tmp_path / "sagittal.nii.gz")
    assert "does not look axial" in err


def test_a_place_in_world_space_and_a_cord_mask(scan, tmp_path, capsys):
    image = nib.load(scan)
    x, y, _ = nib.affines.apply_affine(image.affine, [55, 55, 0])
    assert run(capsys, "segment", scan, "--centre", f"{x},{y}", "-o", tmp_path / "a.nii.gz")[0] == 0
    cord = np.zeros(image.shape, np.uint8)
    cord[52:59, 52:59] = 1
    save(tmp_path / "cord.nii.gz", cord, image.affine)
    code, _, err = run(
        capsys,
        "-q",
        "segment",
        scan,
        "--cord",
        tmp_path / "cord.nii.gz",
        "-o",
        tmp_path / "b.nii.gz",
    )
    assert code == 0
    assert "of the GM lies outside the cord mask" in err  # it is 4 x 4 mm
    one, two = (nib.load(tmp_path / n).get_fdata() for n in ("a.nii.gz", "b.nii.gz"))
    assert 2 * (one * two).sum() / (one.sum() + two.sum()) > 0.97


def test_bounds_cleaning_and_copies(scan, tmp_path, capsys):
    image = nib.load(scan)
    cord = np.zeros(image.shape, np.uint8)
    cord[40:55] = 1  # half of it
    save(tmp_path / "cord.nii.gz", cord, image.affine)
    code, _, _ = run(
        capsys,
        "segment",
        scan,
        "--cord",
        tmp_path / "cord.nii.gz",
        "--within-cord",
        "--clean",
        "largest,holes",
        "--tta",
        "2",
        "--seed",
        "3",
        "--soft",
        "--out-dir",
        tmp_path / "out",
        "--summary",
        tmp_path / "s.json",
    )
    assert code == 0
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert files == [f"t2s_gm{kind}.nii.gz" for kind in ("seg", "soft", "spread")]
    for file in files:
        values = nib.load(tmp_path / "out" / file).get_fdata()
        assert values.any()
        assert not values[cord == 0].any()
    [entry] = json.loads((tmp_path / "s.json").read_text())["scans"]
    chosen = {"tta": 2, "seed": 3, "within_cord": True, "clean": ["largest", "holes"]}
    assert {key: entry[key] for key in chosen} == chosen
    assert all(detail["name"] for detail in entry["flag_details"])


# --------------------------------------------------------------------------------- folders


def test_the_scans_of_a_folder_are_segmented_and_nothing_else(scan, tmp_path, capsys):
    voxels = noise((110, 110, 1))
    for name in ("z_gmsoft", "old_gmseg", "x_wmseg", "x_seg", "y_softseg", "r_gmseg-manual"):
        save(tmp_path / f"{name}.nii.gz", voxels)  # recognised by their names
    save(tmp_path / "sub-01_T1w.nii.gz", voxels)
    save(tmp_path / "drawn.nii.gz", (voxels > 100).astype(np.float32))  # by its voxels
    shutil.copy(scan, tmp_path / "other.NII.GZ")
    (tmp_path / "._t2s.nii.gz").write_text("of a Macintosh")
    (tmp_path / "t2s.json").write_text("{}")
    code, out, err = run(capsys, "segment", tmp_path, "--soft")
    assert code == 0
    assert [line.split("_gmseg")[0] for line in out.splitlines()] == [
        str(tmp_path / "other"),
        str(tmp_path / "t2s"),
    ]
    assert f"gmseg: {tmp_path}: 8 masks or other images are skipped\n" in err
    code, again, _ = run(capsys, "segment", tmp_path, "--soft", "--resume")
    assert code == 0
    assert len(again.splitlines()) == 2


def test_a_bad_file_in_a_folder_is_reported(scan, tmp_path, capsys):
    (tmp_path / "bad.nii.gz").write_text("junk")
    code, out, err = run(capsys, "segment", tmp_path)
    assert (code, len(out.splitlines())) == (2, 1)
    assert f"gmseg: error: {tmp_path / 'bad.nii.gz'}: " in err


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ([], "contains no image such as t2s.nii.gz; check the path"),
        (["a_seg.nii.gz"], "contains only masks and other contrasts; give the folder of the scans"),
        (["a/t2s.nii.gz"], "contains images in sub-folders only; give those, as {0}/*"),
        (
            ["a/IM1.dcm", "README"],
            "contains DICOM files; convert them first: dcm2niix -z y -o . {0}",
        ),
        (
            ["dataset_description.json", "sub-01/anat/x.nii"],
            "is a BIDS dataset; use gmseg bids {0} {0}/derivatives/gmseg participant",
        ),
    ],
)
def test_a_folder_without_scans_is_refused_with_the_remedy(files, fault, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")
    expected = f"gmseg: error: {folder}: {fault.format(folder)}\n"
    assert run(capsys, "segment", folder) == (2, "", expected)


def test_a_folder_of_dicom_is_recognised_by_all_commands(tmp_path, capsys):
    folder = tmp_path / "my series"
    folder.mkdir()
    dicom(folder / "IM0001")
    for command in ("measure {0}", "report {0} {0} --out qc", "movie {0} {0} -o a.mp4"):
        words = [word.format(folder) for word in command.split()]
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert err.endswith(f"convert them first: dcm2niix -z y -o . '{folder}'\n")
    _, _, err = run(capsys, "segment", folder / "IM0001")
    assert f"is a DICOM file; convert its folder first: dcm2niix -z y -o . '{folder}'" in err


# ----------------------------------------------------------------------- what is shown


def test_the_command_of_the_viewer_is_shown_once(scan, tmp_path, capsys):
    other = shutil.copy(scan, tmp_path / "my scan.nii.gz")
    _, _, err = run(capsys, "segment", scan)
    mask = tmp_path / "t2s_gmseg.nii.gz"
    assert err == f"gmseg: view the mask: fsleyes {scan} {mask} -cm red\n"
    _, _, err = run(capsys, "segment", other, scan, "--overwrite")
    assert err.count("fsleyes") == 1
    assert f"view a mask: fsleyes '{other}' '{tmp_path / 'my scan_gmseg.nii.gz'}' -cm red" in err
    assert "fsleyes" not in run(capsys, "-q", "segment", scan, "--overwrite")[2]
    assert "fsleyes" not in run(capsys, "segment", tmp_path / "none.nii")[2]


def test_one_bar_moves_forwards_to_its_end(scan, tmp_path, capsys, monkeypatch):
    other = shutil.copy(scan, tmp_path / "other.nii.gz")
    bars = []

    def bar(**options):
        bars.append((tqdm(**options | {"disable": False, "file": io.StringIO()}), []))
        shown, seen = bars[-1]
        move = shown.update
        monkeypatch.setattr(shown, "update", lambda step: (move(step), seen.append(shown.n)))
        return shown

    monkeypatch.setattr(segment, "progress_bar", bar)
    assert run(capsys, "segment", scan, other, "--tta", "3")[0] == 0
    [(shown, seen)] = bars
    assert seen == sorted(seen)
    assert (seen[-1], shown.total) == (2, 2)
    assert len(set(seen)) == 6  # every copy of every scan


def test_verbose_shows_log_messages(scan, capsys):
    _, _, err = run(capsys, "segment", scan, "-v")
    assert f"gmseg.batch.jobs: {scan}: model default, standardised by volume, window" in err
    assert "gmseg.batch.jobs" not in run(capsys, "segment", scan, "--overwrite")[2]


# -------------------------------------------------------------------- exit codes and imports


def test_a_bug_exits_with_1_and_asks_for_a_report(monkeypatch, scan, capsys):
    def broken(*args, **kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(jobs, "work", broken)
    code, _, err = run(capsys, "segment", scan)
    assert code == 1
    fault, traceback, *_ = err.splitlines()
    assert fault == f"gmseg.batch.jobs: {scan}: RuntimeError: boom"
    assert traceback.startswith("Traceback")
    assert "please report it" in err


def test_an_interrupt_leaves_nothing_behind(monkeypatch, scan, tmp_path, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "work", interrupted)
    assert run(capsys, "segment", scan)[0] == 130
    assert list(tmp_path.iterdir()) == [scan]


def test_the_engine_prints_nothing(scan, tmp_path):
    command = [sys.executable, "-m", "gmseg", "-q", "segment", str(scan)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_segment_imports_no_training_framework(scan, tmp_path):
    """Nor anything else that is slow to import and not needed; and it works without."""
    heavy = [
        "tensorflow",
        "keras",
        "torch",
        "jax",
        "onnx",
        "skimage",
        "pooch",
        "matplotlib",
        "distributed",
        "PIL",
        "scipy.optimize",
    ]
    code = (
        "import sys\n"
        "from gmseg.cli import main as cli\n"
        f"sys.modules.update(dict.fromkeys({heavy}))\n"  # to import one of these is an error
        f"code = cli.run(['segment', {str(scan)!r}, '--out-dir', {str(tmp_path)!r}])\n"
        "print(code, *(name for name in sys.modules if name.split('.')[0] in ('keras', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split()[0] == "0", done.stderr
    mask = np.asarray(nib.load(tmp_path / "t2s_gmseg.nii.gz").dataobj)
    assert mask.any()


def test_a_model_that_needs_keras_names_what_to_install(scan, tmp_path, capsys, monkeypatch):
    for file in registry.load_model().weights.parent.glob("default.*"):
        shutil.copy(file, tmp_path)  # graphs from elsewhere are not run
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    real = importlib.import_module

    def import_module(name, package=None):
        if name == "keras":
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    code, _, err = run(capsys, "segment", scan, "--model", tmp_path / "default.json")
    assert code == 2
    assert "tensorflow is not installed" in err
    assert "pip install 'gmseg[train]'" in err


# --------------------------------------------------------------------------- results as scans


@pytest.mark.parametrize("choices", [["--overwrite"], ["--resume"]])
def test_results_are_skipped_as_scans(scan, tmp_path, capsys, choices):
    assert run(capsys, "segment", scan, "--soft")[0] == 0
    mask = tmp_path / "t2s_gmseg.nii.gz"
    shutil.copy(mask, tmp_path / "renamed.nii.gz")
    save(tmp_path / "t2s_gmspread.nii.gz", noise((110, 110, 1)))  # recognised by its name
    before = {file.name for file in tmp_path.iterdir()}
    code, out, err = run(capsys, "segment", *sorted(tmp_path.iterdir()), "--soft", *choices)
    assert code == 0
    assert out.count("t2s_gmseg.nii.gz") == 1
    for name in before - {"t2s.nii.gz"}:
        assert f"{name}: is skipped; it is a result of gmseg and no scan" in err
    assert {file.name for file in tmp_path.iterdir()} == before
    code, out, err = run(capsys, "segment", mask)
    assert (code, out) == (2, "")
    assert "t2s_gmseg.nii.gz: is a result of gmseg and no scan; give the scan" in err


def test_a_mask_given_as_a_scan_is_refused(scan, tmp_path, capsys):
    cord = save(tmp_path / "cord.nii.gz", (noise() > 100).astype(np.uint8))
    code, _, err = run(capsys, "segment", scan, cord)
    assert code == 2
    assert "cord.nii.gz: contains only 0, 1, as a mask does; give the scan" in err
    assert (tmp_path / "t2s_gmseg.nii.gz").exists()


def test_the_result_of_an_upper_case_name(scan, tmp_path, capsys):
    scan.rename(tmp_path / "X.NII.GZ")
    assert run(capsys, "segment", tmp_path / "X.NII.GZ")[0] == 0
    assert (tmp_path / "X_gmseg.nii.gz").exists()
