"""``gmseg evaluate``: what it prints and writes, and what it refuses."""

import json

import nibabel as nib
import numpy as np
from command import run

AFFINE = np.diag([-0.5, 0.5, 5, 1])


def save(path, data):
    nib.save(nib.Nifti1Image(data, AFFINE), path)


def masks(folder):
    """Write a prediction and a reference that differ, and return their files."""
    folder.mkdir(exist_ok=True)
    reference = np.zeros((20, 20, 3), np.uint8)
    reference[5:12, 6:15, :2] = 1
    files = folder / "t2s_gmseg.nii.gz", folder / "t2s_gmseg-manual.nii.gz"
    save(files[0], np.roll(reference, 1, axis=0))
    save(files[1], reference)
    return files


def test_scores_are_printed_and_written(tmp_path, capsys):
    files = masks(tmp_path)
    code, out, err = run(
        capsys, "evaluate", *files, "--tsv", tmp_path / "s.tsv", "--json", tmp_path / "s.json"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("DSC ")
    scores = json.loads((tmp_path / "s.json").read_text())
    assert {"volume", "labelled_slices", "slices", "raters"} <= set(scores)
    names = ["DSC", "MSD", "HSD", "SHD", "SMD", "TPR", "TNR", "P", "J", "CC"]
    assert list(scores["volume"])[:10] == names
    assert (tmp_path / "s.tsv").read_text().startswith("scan\trater\tregion\tslice\tDSC\tMSD_mm")
    code, out, err = run(capsys, "evaluate", *files, "--tsv", tmp_path / "s.tsv")
    assert (code, out) == (2, "")
    assert "exists; " in err
    assert run(capsys, "evaluate", *files, "--tsv", tmp_path / "s.tsv", "--overwrite")[0] == 0


def test_an_empty_prediction_is_a_warning(tmp_path, capsys):
    _, reference = masks(tmp_path)
    empty = tmp_path / "empty.nii.gz"
    save(empty, np.zeros(nib.load(reference).shape, np.uint8))
    code, out, err = run(capsys, "evaluate", empty, reference)
    assert code == 0
    assert out.splitlines()[1].split()[-1] == "0.000"
    assert err.startswith(
        "gmseg: warning: against t2s_gmseg-manual.nii.gz: the prediction is empty"
    )
    assert "nan" not in out.lower()


def test_folders_and_faults(tmp_path, capsys):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    prediction, reference = masks(ours)
    theirs.mkdir()
    reference.rename(theirs / reference.name)
    code, out, err = run(capsys, "evaluate", ours, theirs)
    assert (code, err) == (0, "")
    assert "over the labelled slices" in out
    assert out.splitlines()[1].startswith("t2s ")
    save(ours / "more_gmseg.nii.gz", np.ones((3, 3, 3), np.uint8))
    code, out, err = run(capsys, "evaluate", ours, theirs)
    assert code == 2
    assert "more_gmseg.nii.gz: has no reference" in err
    assert "t2s " in out  # the good one is scored all the same
    for wrong in ((prediction, theirs), (ours, theirs / reference.name)):
        code, out, err = run(capsys, "evaluate", *wrong)
        assert (code, out) == (2, "")
        assert "a file with files, or a folder with folders" in err
    code, _, err = run(capsys, "evaluate", prediction, tmp_path / "missing.nii.gz")
    assert code == 2
    assert err.count("\n") == 1
    assert "no such file" in err
