"""Labelled scans on disk, and splits by person."""

import pytest

from gmseg import InputError
from gmseg.datasets import LabelledScan, bids_scans, person_of, split_by_person


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("sub-9709Ses2_run-1_T2starw", "9709"),
        ("sub-9709Ses1_run-1_T2starw", "9709"),
        ("sub-9584_run-1_T2starw", "9584"),
        ("sub-amu01_ses-02_T2starw", "amu01"),
        ("sub-Sess_T2starw", "Sess"),
    ],
)
def test_sessions_of_one_person_belong_together(name, person):
    assert person_of(name) == person


def test_other_names_are_refused():
    with pytest.raises(InputError, match="is not a BIDS name"):
        person_of("t2s")


def test_nobody_is_on_both_sides_of_a_split():
    scans = [LabelledScan(n, person_of(n), None, None) for n in ("sub-aSes1", "sub-aSes2", "sub-b")]
    training, held_out = split_by_person(scans, "a")
    assert [s.name for s in training] == ["sub-b"]
    assert [s.name for s in held_out] == ["sub-aSes1", "sub-aSes2"]
    assert split_by_person(scans, "all") == (scans, [])
    with pytest.raises(InputError, match="nobody is called c; there are a, b, or all"):
        split_by_person(scans, "c")
    with pytest.raises(InputError, match="nobody is left to train on"):
        split_by_person(scans, "a, b")


def test_real_folder(shared):
    scans = bids_scans(shared / "data/t2starw-multicentre")
    assert len(scans) == 6
    assert {s.person for s in scans} == {"9584", "9604", "9709", "10062"}
    assert all(s.scan.is_file() and s.reference.is_file() for s in scans)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="has no derivatives/labels"):
        bids_scans(tmp_path)
    labels = tmp_path / "derivatives/labels/sub-1/anat"
    labels.mkdir(parents=True)
    with pytest.raises(InputError, match="holds no"):
        bids_scans(tmp_path)
    (labels / "sub-1_T2starw_gmseg-manual.nii.gz").touch()
    with pytest.raises(InputError, match="masks without their scan: sub-1_T2starw"):
        bids_scans(tmp_path)
