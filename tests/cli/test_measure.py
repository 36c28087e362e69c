"""``gmseg measure``: what it prints and writes, and what it refuses."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from command import run
from synthetic_cords import disc, drawn

AFFINE = np.diag([-0.5, 0.5, 4.0, 1.0])


@pytest.fixture
def files(tmp_path):
    soft = np.repeat(drawn(0.5)[..., None], 4, axis=2)
    cord = np.repeat(disc(0.5, 6.0)[..., None] > 0.5, 4, axis=2)
    levels = cord * np.array([6, 6, 5, 5])
    images = {"mask": soft > 0.5, "soft": soft, "cord": cord, "levels": levels}
    for name, array in images.items():
        kind = np.float32 if name == "soft" else np.uint8
        nib.save(nib.Nifti1Image(array.astype(kind), AFFINE), tmp_path / f"{name}.nii.gz")
    return {name: tmp_path / f"{name}.nii.gz" for name in images}


def test_it_prints_and_writes_the_same_numbers(files, tmp_path, capsys):
    code, out, err = run(
        capsys,
        "measure",
        files["mask"],
        "--soft",
        files["soft"],
        "--cord",
        files["cord"],
        "--levels",
        files["levels"],
        "--tsv",
        tmp_path / "t.tsv",
    )
    assert (code, err) == (0, "")
    with (tmp_path / "t.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["region"] for row in rows] == ["slice"] * 4 + ["level"] * 2 + ["all"]
    assert [row["level"] for row in rows] == ["6", "6", "5", "5", "5", "6", "n/a"]
    assert set(json.loads((tmp_path / "t.json").read_text())) == set(rows[0])
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["mm^2", "GM", "left"]
    assert lines[1].split()[2] == f"{float(rows[0]['gm_area_mm2']):.2f}"
    assert lines[5].startswith("level 5")
    assert f"volume of GM {float(rows[-1]['gm_volume_mm3']):.1f} mm^3" in lines[-1]


def test_what_it_refuses(files, tmp_path, capsys):
    table = tmp_path / "t.tsv"
    table.write_text("mine")
    for arguments, fault in (
        ([files["mask"], "--tsv", tmp_path / "t.csv"], "end it in .tsv"),
        ([files["mask"], "--tsv", table], "exists; "),
        ([files["soft"]], "as a soft segmentation does; give a mask of 0 and 1"),
        ([files["levels"]], "besides 0 and 1; say which value is GM with"),
        ([tmp_path / "none.nii"], "no such file"),
        ([files["mask"], "--cord", tmp_path / "none.nii"], "no such file"),
        ([files["mask"], "--levels", files["soft"]], "whole numbers"),
    ):
        code, out, err = run(capsys, "measure", *arguments)
        assert (code, out) == (2, ""), arguments
        [line] = err.splitlines()
        assert fault in line
    assert table.read_text() == "mine"
    (tmp_path / "t.json").write_text("mine, too")
    table.unlink()
    assert run(capsys, "measure", files["mask"], "--tsv", table)[0] == 2
    assert not table.exists()


def described(file, target, description):
    """Copy an image, with a description in its header."""
    image = nib.load(file)
    image.header["descrip"] = description
    nib.save(image, target)
    return target


def test_cord_mask_of_the_same_run_is_used_and_named(files, tmp_path, capsys):
    made_from = b"gmseg 1.0 0123456789abcdef"
    mask = described(files["mask"], tmp_path / "t2s_gmseg.nii.gz", made_from)
    code, without, err = run(capsys, "measure", mask)
    assert (code, err) == (0, "")
    cord = described(files["cord"], tmp_path / "t2s_seg.nii.gz", made_from)
    code, out, err = run(capsys, "measure", mask)
    [line] = err.splitlines()
    assert f"{cord}: is used as the cord mask" in line
    assert "GM/cord" in out.splitlines()[0]
    assert run(capsys, "measure", mask, "--cord", files["cord"]) == (0, out, "")
    assert run(capsys, "-q", "measure", mask) == (0, out, "")
    described(files["cord"], cord, b"gmseg 1.0 fedcba9876543210")  # of another run
    assert run(capsys, "measure", mask) == (0, without, "")
    described(files["cord"], cord, b"Spinal Cord Toolbox")
    assert run(capsys, "measure", mask) == (0, without, "")
    cord.write_bytes(b"damaged")
    assert run(capsys, "measure", mask) == (0, without, "")


@pytest.mark.parametrize("description", [b"", b"another program"])
def test_cord_mask_of_another_program_is_not_used(files, tmp_path, capsys, description):
    mask = described(files["mask"], tmp_path / "t2s_gmseg.nii.gz", description)
    described(files["cord"], tmp_path / "t2s_seg.nii.gz", description)
    code, out, err = run(capsys, "measure", mask)
    assert (code, err) == (0, "")
    assert "GM/cord" not in out


def test_cord_mask_beside_a_mask_named_by_the_user_is_used(files, tmp_path, capsys):
    made_from = b"gmseg 1.0 0123456789abcdef"
    mask = described(files["mask"], tmp_path / "gm.nii", made_from)
    described(files["cord"], tmp_path / "gm_seg.nii.gz", made_from)
    assert "gm_seg.nii.gz: is used" in run(capsys, "measure", mask)[2]


def test_a_scans_own_sidecar_is_never_replaced(files, tmp_path, capsys):
    (tmp_path / "t2s.json").write_text('{"EchoTime": 0.02}')
    code, _, err = run(
        capsys, "measure", files["mask"], "--tsv", tmp_path / "t2s.tsv", "--overwrite"
    )
    assert code == 2
    assert "exists and does not describe a table; choose another name" in err
    assert not (tmp_path / "t2s.tsv").exists()
    assert run(capsys, "measure", files["mask"], "--tsv", tmp_path / "m.tsv")[0] == 0
    assert run(capsys, "measure", files["mask"], "--tsv", tmp_path / "m.tsv", "--overwrite")[0] == 0


def test_what_does_not_fit_is_a_warning(files, tmp_path, capsys):
    shifted = np.roll(np.asarray(nib.load(files["cord"]).dataobj), 12, axis=0)
    nib.save(nib.Nifti1Image(shifted, AFFINE), tmp_path / "shifted.nii.gz")
    code, out, err = run(capsys, "measure", files["mask"], "--cord", tmp_path / "shifted.nii.gz")
    assert code == 0
    assert out
    assert " % of the GM lies outside the cord mask" in err
    larger = nib.Nifti1Image(np.asarray(nib.load(files["mask"]).dataobj), AFFINE * [2, 2, 1, 1])
    nib.save(larger, tmp_path / "larger.nii.gz")
    code, _, err = run(capsys, "measure", tmp_path / "larger.nii.gz")
    assert code == 0
    assert "is implausible for an adult cervical cord" in err
