"""Labelled scans on disk, and splits by subject."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError
from gmseg.datasets.folders import LabelledScan, bids_scans, find_scans, subject_of, without_masks
from gmseg.datasets.labelled import check_scans, read_labelled
from gmseg.datasets.phantom import write_challenge
from gmseg.datasets.splits import split_by_subject, subjects_named
from gmseg.evaluation.evaluate import majority


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("sub-9709Ses2_run-1_T2starw", "9709"),
        ("sub-9709Ses1_run-1_T2starw", "9709"),
        ("sub-9584_run-1_T2starw", "9584"),
        ("sub-amu01_ses-02_T2starw", "amu01"),
        ("sub-Sess_T2starw", "Sess"),
        ("sub-cases1_T2starw", "cases1"),
        ("sub-cases2_T2starw", "cases2"),
    ],
)
def test_sessions_of_one_subject_belong_together(name, subject):
    assert subject_of(name) == subject


def test_other_names_are_refused():
    with pytest.raises(InputError, match="is not a BIDS name"):
        subject_of("t2s")


def test_nobody_is_on_both_sides_of_a_split():
    scans = [LabelledScan(n, subject_of(n), None, ()) for n in ("sub-aSes1", "sub-aSes2", "sub-b")]
    training, held_out = split_by_subject(scans, "a")
    assert [s.name for s in training] == ["sub-b"]
    assert [s.name for s in held_out] == ["sub-aSes1", "sub-aSes2"]
    assert split_by_subject(scans, "all") == (scans, [])
    with pytest.raises(InputError, match="nobody is called c; there are a, b, or all"):
        split_by_subject(scans, "c")
    with pytest.raises(InputError, match="nobody is left to train on"):
        split_by_subject(scans, "a, b")
    with pytest.raises(InputError, match="whom to hold out\\? a, b, or all"):
        split_by_subject(scans, None)
    with pytest.raises(InputError, match="--split challenge: needs a GM Challenge folder"):
        split_by_subject(scans, "challenge")


def test_nobody_is_scored_against_automatic_masks():
    scans = [
        LabelledScan("sub-a_run-1", "a", None, ()),
        LabelledScan("sub-a_run-2", "a", None, (), manual=False),
        LabelledScan("sub-b_run-2", "b", None, (), manual=False),
    ]
    training, held_out = split_by_subject(scans, "a")
    assert [s.name for s in training] == ["sub-b_run-2"]
    assert [s.name for s in held_out] == ["sub-a_run-1"]


def test_real_folder(shared):
    scans = bids_scans(shared / "data/t2starw-multicentre")
    assert len(scans) == 6
    assert {s.subject for s in scans} == {"9584", "9604", "9709", "10062"}
    assert all(s.scan.is_file() and s.references[0].is_file() for s in scans)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="has neither derivatives/labels nor siteN-scNN"):
        bids_scans(tmp_path)
    labels = tmp_path / "derivatives/labels/sub-1/anat"
    labels.mkdir(parents=True)
    with pytest.raises(InputError, match="holds no"):
        bids_scans(tmp_path)
    (labels / "sub-1_T2starw_gmseg-manual.nii.gz").touch()
    with pytest.raises(InputError, match="masks without their scan: sub-1_T2starw"):
        bids_scans(tmp_path)


# ----------------------------------------------------------------------- the challenge's folders


@pytest.fixture
def challenge(tmp_path):
    write_challenge(tmp_path, subjects=3, sites=2, raters=3, shape=(40, 40, 2))
    return tmp_path


def rewrite(file, change):
    image = nib.load(file)
    data, affine = change(np.asarray(image.dataobj), image.affine.copy())
    nib.save(nib.Nifti1Image(data, affine), file)


def test_a_challenge_folder_as_it_is_distributed(challenge):
    (challenge / "site1-sc02-mask-r2.nii.gz").unlink()
    (challenge / "site2-sc01-levels.txt").unlink()
    for rater in (1, 2, 3):  # as the subjects that the challenge kept for testing
        (challenge / f"site2-sc02-mask-r{rater}.nii.gz").unlink()

    def elsewhere(data, affine):
        affine[:3, 3] += 3.5
        return data, affine

    rewrite(challenge / "site1-sc01-mask-r3.nii.gz", elsewhere)
    scans = find_scans(challenge)
    assert [s.name for s in scans] == [
        "site1-sc01",
        "site1-sc02",
        "site1-sc03",
        "site2-sc01",
        "site2-sc03",
    ]
    assert [len(s.references) for s in scans] == [3, 2, 3, 3, 3]
    lines = check_scans(scans)
    assert lines[0] == "5 scans of 5 subjects at 2 sites, up to 3 raters"
    assert "site1-sc02: 2 of 3 raters" in lines
    assert any("site1-sc01-mask-r3" in n and "by 3.5 mm; taken voxel by voxel" in n for n in lines)
    assert len(lines) == 3

    _, masks = read_labelled(scans[0])  # white matter is 2, and dropped
    stored = np.asarray(nib.load(scans[0].references[0]).dataobj)
    np.testing.assert_array_equal(masks[0], stored == 1)
    assert (stored == 2).any()


def test_two_subjects_of_every_site_are_held_out(challenge):
    training, held_out = split_by_subject(find_scans(challenge), None)
    assert [s.name for s in training] == ["site1-sc01", "site2-sc01"]
    assert [s.subject for s in held_out] == ["site1-sc02", "site1-sc03", "site2-sc02", "site2-sc03"]
    few = [s for s in find_scans(challenge) if s.name != "site2-sc03"]
    with pytest.raises(InputError, match="site2 has only 2 labelled subjects"):
        split_by_subject(few, "challenge")


def test_every_fault_of_a_challenge_folder_is_named(challenge):
    (challenge / "site1-sc01-image.nii.gz").unlink()
    (challenge / "site1-sc03-mask-r2.nii.gz").rename(challenge / "site1-sc03-mask-rX.nii.gz")
    (challenge / "site2-sc01-image.nii").touch()
    with pytest.raises(InputError) as error:
        find_scans(challenge)
    for fault in ("site1-sc01 has no image", "site1-sc03-mask-rX", "two files for image"):
        assert fault in str(error.value)


def test_mislabelled_masks_are_named_all_at_once(challenge):
    rewrite(challenge / "site1-sc01-mask-r1.nii.gz", lambda d, a: (d * 100, a))
    rewrite(challenge / "site1-sc02-mask-r2.nii.gz", lambda d, a: (d * (d == 2), a))
    rewrite(challenge / "site2-sc01-mask-r1.nii.gz", lambda d, a: (d[:-1], a))
    rewrite(challenge / "site2-sc02-mask-r1.nii.gz", lambda d, a: (d, a @ np.diag([-1, 1, 1, 1])))
    (challenge / "site2-sc03-image.nii.gz").write_bytes(b"junk")
    with pytest.raises(InputError) as error:
        check_scans(find_scans(challenge))
    for fault in (
        "5 of 6 scans cannot be used",
        "mask-r1.nii.gz: the reference holds 100, 200 beside 0, 1 (gray matter) and 2",
        "site1-sc02-mask-r2.nii.gz: the reference is empty",
        "site2-sc01-mask-r1.nii.gz: the reference has shape",
        "site2-sc02-mask-r1.nii.gz: the reference's affine differs",
        "site2-sc03-image.nii.gz: is not an image that can be read",
    ):
        assert fault in str(error.value), fault


def test_no_masks_and_no_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_scans(tmp_path / "nowhere")
    (tmp_path / "site1-sc11-image.nii.gz").touch()
    with pytest.raises(InputError, match="no image has a mask"):
        find_scans(tmp_path)


def test_majority_is_more_than_half():
    masks = [
        np.array([1, 1, 1, 0], bool),
        np.array([1, 1, 0, 0], bool),
        np.array([1, 0, 0, 0], bool),
    ]
    assert majority(masks).tolist() == [True, True, False, False]
    assert majority(masks[1:]).tolist() == [True, False, False, False]  # of two, both


def test_subjects_named_on_a_card():
    text = "2 scans: sub-9709Ses2_run-1_T2starw, site1-sc03; begun with x (1 scans: sub-a_T2s)"
    assert subjects_named(text) == {"9709", "site1-sc03", "a"}
    assert subjects_named("the challenge's 40 scans") == set()


def test_what_looks_like_data_is_not_passed_over(challenge, tmp_path):
    for rater in (1, 2, 3):
        (challenge / f"site2-sc02-mask-r{rater}.nii.gz").unlink()
    (challenge / "site1-sc01-image_gmseg.nii.gz").touch()  # gmseg's own result
    assert without_masks(challenge) == ["site2-sc02"]
    assert len(find_scans(challenge)) == 5
    (challenge / "Site1-sc04-image.nii.gz").touch()
    with pytest.raises(InputError, match=r"Site1-sc04-image.nii.gz is not named as"):
        find_scans(challenge)
    (challenge / "derivatives/labels").mkdir(parents=True)
    with pytest.raises(InputError, match="GM Challenge files and derivatives/labels"):
        find_scans(challenge)


def test_bids_masks_that_would_be_passed_over(dataset, tmp_path):
    root = tmp_path / "bids"
    shutil.copytree(dataset, root)
    mask = next(root.rglob("*_gmseg-manual.nii.gz"))
    automatic = mask.with_name(mask.name.replace("manual", "auto"))
    shutil.copy(mask, automatic)
    assert len(bids_scans(root)) == 3  # what a human drew is better
    assert all(scan.manual for scan in bids_scans(root))
    with pytest.raises(InputError, match="given twice"):
        check_scans([*bids_scans(root), bids_scans(root)[0]])
    image = nib.load(mask)
    labels = np.asarray(image.dataobj).copy()
    labels[:3] = 2
    nib.save(nib.Nifti1Image(labels, image.affine), mask)
    with pytest.raises(InputError, match="holds 1, 2, as labels of several tissues"):
        check_scans(bids_scans(root))
    automatic.rename(mask.with_name("sub-b_T2starw_gmseg_manual.nii.gz"))
    with pytest.raises(InputError, match=r"_gmseg_manual\.nii\.gz: GM masks end in"):
        bids_scans(root)


def test_the_last_two_subjects_by_number():
    scans = [
        LabelledScan(f"site1-sc{i}", f"site1-sc{i}", None, (), site="site1") for i in (8, 9, 10)
    ]
    assert [s.name for s in split_by_subject(scans, None)[1]] == ["site1-sc9", "site1-sc10"]
