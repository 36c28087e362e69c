"""Splits by subject."""

import pytest

from gmseg import InputError
from gmseg.datasets.folders import LabelledScan, subject_of
from gmseg.datasets.splits import split_by_subject, subjects_named


def bids(name, **fields):
    return LabelledScan(name, subject_of(name), None, (), **fields)


def challenge(*names):
    return [LabelledScan(name, name, None, (), site=name.split("-")[0]) for name in names]


def names(scans):
    return [scan.name for scan in scans]


def test_sessions_of_a_subject_stay_on_one_side():
    scans = [bids("sub-aSes1"), bids("sub-aSes2"), bids("sub-b")]
    training, held_out = split_by_subject(scans, "a")
    assert names(training) == ["sub-b"]
    assert names(held_out) == ["sub-aSes1", "sub-aSes2"]
    assert split_by_subject(scans, "all") == (scans, [])


@pytest.mark.parametrize(
    ("split", "fault"),
    [
        ("c", "`split=c`: there is no subject c; choose from a, b, or all"),
        ("a, b", "no subject is left to train on"),
        (None, "`split` must name subjects to hold out: a, b, or all"),
        ("challenge", "`split=challenge` needs a GM Challenge folder"),
    ],
)
def test_unusable_splits_are_refused(split, fault):
    with pytest.raises(InputError, match=fault):
        split_by_subject([bids("sub-a"), bids("sub-b")], split)


def test_automatic_masks_are_not_used_to_validate():
    scans = [bids("sub-a_run-1"), bids("sub-a_run-2", manual=False), bids("sub-b", manual=False)]
    training, held_out = split_by_subject(scans, "a")
    assert names(training) == ["sub-b"]
    assert names(held_out) == ["sub-a_run-1"]


def test_the_last_two_subjects_of_every_site_are_held_out():
    scans = challenge(*(f"site1-sc{i}" for i in (10, 8, 9)), *(f"site2-sc0{i}" for i in (1, 2, 3)))
    training, held_out = split_by_subject(scans, None)
    assert names(training) == ["site1-sc8", "site2-sc01"]
    assert names(held_out) == ["site1-sc10", "site1-sc9", "site2-sc02", "site2-sc03"]
    with pytest.raises(InputError, match="site2 has only 2 labelled subjects"):
        split_by_subject(scans[:-1], "challenge")


def test_subjects_named_on_a_card():
    text = "2 scans: sub-9709Ses2_run-1_T2starw, site1-sc03; begun with x (1 scans: sub-a_T2s)"
    assert subjects_named(text) == {"9709", "site1-sc03", "a"}
    assert subjects_named("the challenge's 40 scans") == set()
