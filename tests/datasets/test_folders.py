"""Labelled scans on disk: which files belong together, and what is refused."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError
from gmseg.datasets.folders import bids_scans, find_scans, subject_of, unlabelled_scans
from gmseg.datasets.labelled import check_scans, read_labelled
from gmseg.datasets.phantom import write_challenge
from gmseg.evaluation.evaluate import majority


@pytest.fixture
def challenge(tmp_path):
    write_challenge(tmp_path, subjects=3, sites=2, raters=3, shape=(40, 40, 2))
    return tmp_path


def rewrite(file, change):
    image = nib.load(file)
    data, affine = change(np.asarray(image.dataobj), image.affine.copy())
    nib.save(nib.Nifti1Image(data, affine), file)


# --------------------------------------------------------------------------------------- BIDS


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
def test_sessions_of_one_subject_share_its_name(name, subject):
    assert subject_of(name) == subject


def test_other_names_are_refused():
    with pytest.raises(InputError, match="is not a BIDS name"):
        subject_of("t2s")


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
    with pytest.raises(InputError, match="contains no"):
        bids_scans(tmp_path)
    (labels / "sub-1_T2starw_gmseg-manual.nii.gz").touch()
    with pytest.raises(InputError, match="masks without their scan: sub-1_T2starw"):
        bids_scans(tmp_path)


def test_bids_masks_are_not_ignored(dataset, tmp_path):
    root = tmp_path / "bids"
    shutil.copytree(dataset, root)
    mask = next(root.rglob("*_gmseg-manual.nii.gz"))
    automatic = mask.with_name(mask.name.replace("manual", "auto"))
    shutil.copy(mask, automatic)
    assert len(bids_scans(root)) == 3  # the manual mask is preferred
    assert all(scan.manual for scan in bids_scans(root))
    with pytest.raises(InputError, match="given twice"):
        check_scans([*bids_scans(root), bids_scans(root)[0]])
    image = nib.load(mask)
    labels = np.asarray(image.dataobj).copy()
    labels[:3] = 2
    nib.save(nib.Nifti1Image(labels, image.affine), mask)
    with pytest.raises(InputError, match="contains 2 besides 0 and 1; give one with GM alone"):
        check_scans(bids_scans(root))
    automatic.rename(mask.with_name("sub-b_T2starw_gmseg_manual.nii.gz"))
    with pytest.raises(InputError, match=r"_gmseg_manual\.nii\.gz: GM masks end in"):
        bids_scans(root)


# ---------------------------------------------------------------------------------- challenge


def test_a_challenge_folder_as_distributed(challenge):
    (challenge / "site1-sc02-mask-r2.nii.gz").unlink()
    (challenge / "site2-sc01-levels.txt").unlink()
    for rater in (1, 2, 3):  # like the challenge's test set
        (challenge / f"site2-sc02-mask-r{rater}.nii.gz").unlink()

    def shift(data, affine):
        affine[:3, 3] += 3.5
        return data, affine

    rewrite(challenge / "site1-sc01-mask-r3.nii.gz", shift)
    scans = find_scans(challenge)
    stems = ["site1-sc01", "site1-sc02", "site1-sc03", "site2-sc01", "site2-sc03"]
    assert [s.name for s in scans] == stems
    assert [len(s.references) for s in scans] == [3, 2, 3, 3, 3]
    lines = check_scans(scans)
    assert lines[0] == "5 scans of 5 subjects at 2 sites, up to 3 raters"
    assert "site1-sc02: 2 of 3 raters" in lines
    assert any(
        "site1-sc01-mask-r3" in n and "by up to 6.06 mm against the image; taken voxel" in n
        for n in lines
    )
    assert len(lines) == 3

    _, masks = read_labelled(scans[0])  # white matter is 2 and left out
    stored = np.asarray(nib.load(scans[0].references[0]).dataobj)
    np.testing.assert_array_equal(masks[0], stored == 1)
    assert (stored == 2).any()


def test_every_misnamed_file_of_a_challenge_is_listed(challenge):
    (challenge / "site1-sc01-image.nii.gz").unlink()
    (challenge / "site1-sc03-mask-r2.nii.gz").rename(challenge / "site1-sc03-mask-rX.nii.gz")
    (challenge / "site2-sc01-image.nii").touch()
    with pytest.raises(InputError) as error:
        find_scans(challenge)
    for fault in ("site1-sc01 has no image", "site1-sc03-mask-rX", "two files for image"):
        assert fault in str(error.value)


def test_every_unusable_file_is_listed(challenge):
    rewrite(challenge / "site1-sc01-mask-r1.nii.gz", lambda d, a: (d * 100, a))
    rewrite(challenge / "site1-sc02-mask-r2.nii.gz", lambda d, a: (d * (d == 2), a))
    rewrite(challenge / "site2-sc01-mask-r1.nii.gz", lambda d, a: (d[:-1], a))
    rewrite(challenge / "site2-sc02-mask-r1.nii.gz", lambda d, a: (d, a @ np.diag([-1, 1, 1, 1])))
    (challenge / "site2-sc03-image.nii.gz").write_bytes(b"junk")
    with pytest.raises(InputError) as error:
        check_scans(find_scans(challenge))
    assert "5 of 6 scans cannot be used" in str(error.value)
    for file in (
        "site1-sc01-mask-r1.nii.gz: contains 100, 200 and no 1; relabel it",
        "site1-sc02-mask-r2.nii.gz: contains 2 and no 1; relabel it",
        "site2-sc01-mask-r1.nii.gz: the reference",
        "site2-sc02-mask-r1.nii.gz: the reference is displaced",
        "site2-sc03-image.nii.gz: is not an image that can be read",
    ):
        assert file in str(error.value), file


def test_folders_without_scans_or_masks_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_scans(tmp_path / "nowhere")
    (tmp_path / "site1-sc11-image.nii.gz").touch()
    with pytest.raises(InputError, match="no image has a mask"):
        find_scans(tmp_path)


def test_files_that_look_like_data_are_not_ignored(challenge):
    for rater in (1, 2, 3):
        (challenge / f"site2-sc02-mask-r{rater}.nii.gz").unlink()
    (challenge / "site1-sc01-image_gmseg.nii.gz").touch()  # an output of gmseg
    assert [scan.name for scan in unlabelled_scans(challenge)] == ["site2-sc02"]
    assert len(find_scans(challenge)) == 5
    (challenge / "Site1-sc04-image.nii.gz").touch()
    with pytest.raises(InputError, match=r"Site1-sc04-image.nii.gz is not named like"):
        find_scans(challenge)
    (challenge / "derivatives/labels").mkdir(parents=True)
    with pytest.raises(InputError, match="GM Challenge files and derivatives/labels"):
        find_scans(challenge)


def test_majority_is_more_than_half_of_the_raters():
    masks = [np.array(mask, bool) for mask in ([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])]
    assert majority(masks).tolist() == [True, True, False, False]
    assert majority(masks[1:]).tolist() == [True, False, False, False]  # both of two
