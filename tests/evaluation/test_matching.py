"""Matching of predictions and references by name."""

import nibabel as nib
import pytest
from random_masks import blobs, save

from gmseg import InputError
from gmseg.evaluation.matching import match_files


def tree(folder, *names):
    """Write a mask under each name."""
    for name in names:
        save(folder / f"{name}.nii.gz", blobs(0)[0])
    return folder


def matched_names(ours, *theirs):
    """Return the names of the references of every prediction, the faults and the warnings."""
    matched, faults, warnings = match_files(ours, list(theirs))
    names = {name: sorted(f.name for f in files) for name, (_, files) in matched.items()}
    return names, faults, warnings


def test_usual_names_match(tmp_path):
    ours = tree(
        tmp_path / "ours",
        "site1-sc01-image_gmseg",
        "sub-1_run-1_T2starw_gmseg",
        "sub-1_run-1_T2starw_gmsoft",
        "sub-2_T2starw_gmseg",
        ".hidden/sub-4_gmseg",
    )
    theirs = tree(
        tmp_path / "theirs",
        "site1-sc01-image",
        "site1-sc01-mask-r2",
        "site1-sc01-mask-r1",
        "sub-1/anat/sub-1_run-1_T2starw",
        "sub-1/anat/sub-1_run-1_T2starw_gmseg-manual",
        "sub-1/anat/sub-1_run-1_T2starw_seg-manual",
        "sub-3_T2starw_gmseg-manual",
    )
    names, faults, warnings = matched_names(ours, theirs)
    assert names == {
        "site1-sc01": ["site1-sc01-mask-r1.nii.gz", "site1-sc01-mask-r2.nii.gz"],
        "sub-1_run-1_T2starw": ["sub-1_run-1_T2starw_gmseg-manual.nii.gz"],
    }
    assert len(faults) == len(warnings) == 1
    assert "sub-2_T2starw_gmseg.nii.gz: has no reference" in faults[0]
    assert "sub-3_T2starw_gmseg-manual.nii.gz: has no prediction" in warnings[0]


def test_predictions_are_not_taken_as_raters(tmp_path):
    # written beside the challenge's scans, as `gmseg segment` does
    theirs = tree(
        tmp_path / "data",
        "site1-sc01-image",
        "site1-sc01-image_gmseg",
        "site1-sc01-mask-r1",
        "a_gmseg-auto",
        "a_gmseg-manual",
        "ours/site1-sc01-image_gmseg",
        "ours/a_gmseg",
    )
    names, faults, _ = matched_names(theirs / "ours", theirs)
    assert names == {"site1-sc01": ["site1-sc01-mask-r1.nii.gz"], "a": ["a_gmseg-manual.nii.gz"]}
    assert faults == []
    # .nii and .nii.gz of one mask are one rater
    tree(tmp_path / "one", "a_gmseg")
    nib.save(nib.load(theirs / "a_gmseg-manual.nii.gz"), theirs / "a_gmseg-manual.nii")
    assert len(matched_names(tmp_path / "one", theirs)[0]["a"]) == 1
    # predictions and references in one folder
    beside = tree(tmp_path / "beside", "b_gmseg", "b_gmseg-manual", "c_gmseg", "c")
    names, faults, _ = matched_names(beside, beside)
    assert names == {"b": ["b_gmseg-manual.nii.gz"]}
    assert len(faults) == 1


def test_subjects_with_the_same_file_name(tmp_path):
    ours = tree(tmp_path / "ours", "sub-01/t2s_gmseg", "sub-02/t2s_gmseg")
    theirs = tree(tmp_path / "theirs", "sub-01/t2s_gmseg-manual", "sub-02/t2s_gmseg-manual")
    matched, faults, _ = match_files(ours, [theirs])
    places = {name: [f.parent.name for f in files] for name, (_, files) in matched.items()}
    assert places == {"sub-01/t2s": ["sub-01"], "sub-02/t2s": ["sub-02"]}
    assert faults == []
    # ambiguous: it may be of either subject
    flat = tree(tmp_path / "flat", "t2s_gmseg")
    names, faults, _ = matched_names(flat, theirs)
    assert names == {}
    assert "in several folders" in faults[0]
    names, faults, _ = matched_names(
        tree(tmp_path / "more", "sub-r01_gmseg"),
        tree(tmp_path / "raters", "sub-r01_gmseg-manual", "sub-r02_gmseg-manual"),
    )
    assert names == {"sub-r01": ["sub-r01_gmseg-manual.nii.gz"]}


def test_raters_by_folder_and_by_name(tmp_path):
    ours = tree(tmp_path / "ours", "a_gmseg")
    first, second = tree(tmp_path / "first", "a_gmseg"), tree(tmp_path / "second", "sub/a")
    assert matched_names(ours, first, second)[0] == {"a": ["a.nii.gz", "a_gmseg.nii.gz"]}
    named = tree(tmp_path / "named", "a_rater1", "a_rater-B", "a_label-GM_seg", "a_seg")
    assert matched_names(ours, named)[0] == {"a": ["a_rater-B.nii.gz", "a_rater1.nii.gz"]}
    # _seg is GM if the folder has no clearer name
    assert matched_names(ours, tree(tmp_path / "own", "a_seg"))[0] == {"a": ["a_seg.nii.gz"]}


def test_folders_without_a_match_are_refused(tmp_path):
    mask, _ = blobs(0)
    save(tmp_path / "a" / "one_gmseg.nii.gz", mask)
    save(tmp_path / "b" / "two_gmseg.nii.gz", mask)
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="no name matches"):
        match_files(tmp_path / "a", [tmp_path / "b"])
    with pytest.raises(InputError, match="contains no"):
        match_files(tmp_path / "a", [tmp_path / "c"])
    save(tmp_path / "a" / "one-gm.nii.gz", mask)
    save(tmp_path / "b" / "one_gmseg.nii.gz", mask)
    save(tmp_path / "a" / "two_gmseg.nii.gz", mask)
    _, faults, _ = match_files(tmp_path / "a", [tmp_path / "b"])
    assert "are predictions of one scan; keep one" in faults[0]


def test_bids_derivatives_match_labels_by_entities(tmp_path):
    ours = tree(
        tmp_path / "gmseg",
        "sub-01/anat/sub-01_acq-MEDIC_run-01_space-orig_label-GM_mask",
        "sub-01/anat/sub-01_acq-MEDIC_run-01_space-orig_label-GM_probseg",
        "sub-01/anat/sub-01_acq-MEDIC_run-01_space-orig_label-WM_mask",
        "sub-02/ses-a/anat/sub-02_ses-a_space-orig_label-GM_mask",
        "sub-02/ses-a/anat/sub-02_ses-a_space-orig_label-GM_desc-MEGRE_mask",
        "sub-03/anat/sub-03_space-orig_label-GM_mask",
    )
    theirs = tree(
        tmp_path / "labels",
        "sub-01/anat/sub-01_acq-MEDIC_run-1_T2starw_gmseg-manual",
        "sub-01/anat/sub-01_acq-MEDIC_run-1_T2starw_seg-manual",
        "sub-01/anat/sub-01_acq-MERGE_run-1_T2starw_gmseg-manual",
        "sub-02/ses-a/anat/sub-02_ses-a_T2starw_label-GM_seg",
        "sub-02/ses-a/anat/sub-02_ses-a_MEGRE_label-GM_seg",
        "sub-03/anat/sub-03_label-GM_desc-rater1_mask",
        "sub-03/anat/sub-03_label-GM_desc-rater2_mask",
        "sub-03/anat/sub-03_label-SC_desc-rater1_mask",
    )
    names, faults, warnings = matched_names(ours, theirs)
    assert list(names.values()) == [
        ["sub-01_acq-MEDIC_run-1_T2starw_gmseg-manual.nii.gz"],
        ["sub-02_ses-a_T2starw_label-GM_seg.nii.gz"],
        ["sub-02_ses-a_MEGRE_label-GM_seg.nii.gz"],
        ["sub-03_label-GM_desc-rater1_mask.nii.gz", "sub-03_label-GM_desc-rater2_mask.nii.gz"],
    ]
    assert faults == []
    assert len(warnings) == 1
    assert "acq-MERGE" in warnings[0]
