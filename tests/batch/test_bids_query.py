"""The scans that a query of a BIDS dataset returns, and the queries that are refused."""

import shutil
import sys

import pytest
from bids_dataset import check_valid, write_description
from limits import limits

from gmseg.batch.bids_query import query_scans, read_filters
from gmseg.errors import InputError

pytest.importorskip("bids", reason="needs pybids: pip install 'gmseg[cohort]'")


def test_dataset_of_the_tests_is_valid(raw):
    check_valid(raw, allowed=["JSON_KEY_RECOMMENDED", "SIDECAR_KEY_RECOMMENDED"])


def test_scans_and_echoes_without_phases_and_derivatives(raw):
    scans, skipped = query_scans(raw)
    assert [scan.name for scan in scans] == [
        "sub-01_ses-a_acq-MEDIC_T2starw",
        "sub-01_ses-a_acq-MERGE_run-01_T2starw",
        "sub-01_ses-a_acq-MERGE_run-02_T2starw",
        "sub-01_ses-b_MEGRE",
        "sub-02_T2starw",
        "sub-02_acq-bad_T2starw",
    ]
    assert [file.name.split("_")[2] for file in scans[3].files] == ["echo-1", "echo-2", "echo-10"]
    assert not skipped


def test_links_into_trees_without_an_end_are_not_followed(raw, tmp_path):
    root, tree = tmp_path / "raw", tmp_path / "tree"
    shutil.copytree(raw, root)
    for name in ("a/b", "a/c", "d/b", "d/c"):
        (tree / name).mkdir(parents=True)
        for number in range(4):
            (tree / name / f"loop{number}").symlink_to(tree)
    for folder in ("sub-03", "sub-04/ses-a", "sub-05/ses-a"):
        (root / folder).mkdir(parents=True)
    (root / "sub-03" / "anat").symlink_to(tree)
    (root / "sub-04" / "ses-a" / "ses-b").symlink_to(tree)
    (root / "sub-05" / "ses-a" / "anat").symlink_to(root)
    (root / "sub-06").symlink_to(root)
    with limits(seconds=20):
        assert [scan.name for scan in query_scans(root)[0]] == [s.name for s in query_scans(raw)[0]]


@pytest.mark.parametrize(
    ("selection", "expected"),
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
def test_selection_by_labels_and_filters(raw, selection, expected):
    scans, skipped = query_scans(raw, **selection)
    assert [scan.name for scan in scans] == expected
    assert not skipped


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"participants": ["03"]}, "has no participant 03; choose from: 01, 02"),
        ({"participants": ["0/1"]}, "is not a BIDS label"),
        ({"sessions": ["c"]}, "matches the selection"),
        ({"filters": {"t2starw": {"acq": "MEDIC"}}}, "no entity acq; choose from acquisition"),
        ({"filters": {"megre": {"suffix": "MESE"}}}, "suffix is always MEGRE"),
        ({"sessions": ["a"], "filters": {"t2starw": {"session": "b"}}}, "also selected by label"),
    ],
)
def test_impossible_selections_are_refused(raw, selection, message):
    with pytest.raises(InputError, match=message):
        query_scans(raw, **selection)


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_invalid_filter_files_are_refused(tmp_path, text, message):
    (tmp_path / "filters.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_filters(tmp_path / "filters.json")


def test_missing_filter_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_filters(tmp_path / "none.json")


def test_folders_without_a_raw_dataset_are_refused(raw, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        query_scans(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no readable dataset_description\.json"):
        query_scans(tmp_path)
    with pytest.raises(InputError, match="contains derivatives"):
        query_scans(raw / "derivatives" / "labels")


def test_invalid_names_are_skipped_and_reported(tmp_path):
    write_description(tmp_path)
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    invalid = [
        "sub-02_T2starw.nii",
        "sub-01_dir-x_T2starw.nii",
        "sub-01_run-1_acq-x_T2starw.nii",
        "sub-01_echo-x_MEGRE.nii",
        "T2starw.nii",
    ]
    for name in [*invalid, "sub-01_T2starw.nii", "sub-01_T2starw.json", "sub-01_T2starw_seg.nii"]:
        (folder / name).touch()
    scans, skipped = query_scans(tmp_path)
    assert [scan.name for scan in scans] == ["sub-01_T2starw"]
    assert len(skipped) == len(invalid)
    assert all(any(name in line for line in skipped) for name in invalid)


def test_missing_pybids_is_reported_with_the_remedy(raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "bids.layout", None)
    with pytest.raises(InputError, match=r"pip install 'gmseg\[cohort\]'"):
        query_scans(raw)


def test_other_suffixes_are_named_with_the_remedy(tmp_path):
    write_description(tmp_path)
    with pytest.raises(InputError, match=r"expected as sub-LABEL/anat/sub-LABEL_T2starw\.nii\.gz"):
        query_scans(tmp_path)
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for name in ("sub-01_T2star.nii.gz", "sub-01_T1w.nii.gz"):
        (folder / name).touch()
    found = r"found sub-01/anat/sub-01_T1w\.nii\.gz and 1 more; name scans sub-LABEL_T2starw"
    with pytest.raises(InputError, match=found):
        query_scans(tmp_path)
    for name in ("sub-01_acq-a_T2starw.nii.gz", "sub-01_acq-b_t2s.nii", "sub-01_T2starmap.nii.gz"):
        (folder / name).touch()
    scans, skipped = query_scans(tmp_path)
    assert [scan.name for scan in scans] == ["sub-01_acq-a_T2starw"]
    remedy = "is skipped; if it is T2*-weighted, name it _T2starw instead of"
    assert [line.split("/")[-1] for line in skipped] == [
        f"sub-01_T2star.nii.gz: {remedy} _T2star",
        f"sub-01_acq-b_t2s.nii: {remedy} _t2s",
    ]
