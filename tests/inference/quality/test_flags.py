"""Flags: by hand, and on made-up cords that deserve them."""

import re

import nibabel as nib
import numpy as np
import pytest

from gmseg import segment
from gmseg.datasets import degradations
from gmseg.datasets.degradations import DEGRADATIONS
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality import flags
from gmseg.inference.quality.features import Features, Symmetry

NONE = np.zeros(6, bool)


def texts(found):
    return [flag.text for flag in found]


def names(found):
    return [flag.name for flag in found]


def test_areas():
    assert flags.area_flags(np.full(6, 15.0), at_border=NONE) == []
    [flag] = flags.area_flags(np.zeros(6), at_border=NONE)
    assert flag.text.startswith("no gray matter found:")
    assert flag.slices == (0, 1, 2, 3, 4, 5)
    edge = np.array([0, 0, 0, 0, 0, 1], bool)
    found = flags.area_flags(np.array([0, 0, 15, 1.0, 0, 90]), at_border=edge)
    assert texts(found) == [
        "no gray matter found in slice 0-1, 4",
        "area below 2 mm^2 in slice 3",
        "area above 45 mm^2 in slice 5",
        "gray matter at the border of the window in slice 5",
    ]
    assert [flag.slices for flag in found] == [(0, 1, 4), (3,), (5,), (5,)]


def test_a_leap_is_one_from_both_neighbours():
    steady = np.array([20, 15, 14, 13, 12, 8.0])
    assert flags.area_flags(steady, at_border=NONE) == []
    for leap in (23.0, 9.0):
        [flag] = flags.area_flags(np.array([14, 14, leap, 14, 13, 13.0]), at_border=NONE)
        assert (flag.name, flag.slices) == ("area-jump", (2,))
    # a step that stays is anatomy, and crumbs are told as such
    assert flags.area_flags(np.array([20, 20, 20, 13, 13, 13.0]), at_border=NONE) == []
    found = flags.area_flags(np.array([14, 14, 14, 9, 1, 14.0]), at_border=NONE)
    assert names(found) == ["small-area"]


def signs_of(**changed):
    steady = {"second_mm2": [0.0] * 6, "margin_mm": [30.0] * 6, "clipped": [0.0001] * 6}
    return Features(**{**steady, **changed})


UPRIGHT = Symmetry(5.0, 0.03, (1.2, 1.0))


def test_signs():
    assert flags.sign_flags(signs_of(), UPRIGHT) == []
    assert flags.sign_flags(signs_of(), None) == []
    cases = {
        "pieces": (signs_of(second_mm2=[0, 0, 2.0, 0, 0, 0]), UPRIGHT),
        "edge": (signs_of(margin_mm=[30, 5, 4, 30, 30, 30]), UPRIGHT),
        "clipped": (signs_of(clipped=[0.01] * 4 + [0, 0]), UPRIGHT),
        "asymmetry": (signs_of(), Symmetry(0, 0.2, (1.2, 1.0))),
        "uneven": (signs_of(), Symmetry(0, 0.03, (1.5, 0.5))),
        "contrast": (signs_of(), Symmetry(0, 0.03, (0.2, 0.3))),
        "turned": (signs_of(), Symmetry(-20.0, 0.03, (1.2, 1.0))),
    }
    for name, (signs, sides) in cases.items():
        assert names(flags.sign_flags(signs, sides)) == [name]
        assert name in flags.LIMITS


def header(affine, qform=1):
    image = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, 1)
    return image


def test_headers():
    assert flags.header_flags(header(np.diag([-0.5, 0.5, 5, 1])), (90, 90, 6)) == []
    sagittal = header(np.diag([3, 0.5, 0.5, 1]))
    assert names(flags.header_flags(sagittal, (20, 90, 90))) == ["not-axial", "coarse"]
    assert names(flags.header_flags(header(np.diag([1, 1, 1, 1])), (90, 90, 90))) == []
    assert names(flags.header_flags(header(np.diag([1.1, 1, 4, 1])), (90, 90, 9))) == ["coarse"]
    moved = header(np.diag([-0.5, 0.5, 5, 1]))
    moved.set_sform(np.diag([-0.5, 0.5, 5, 1]) + np.array([[0, 0, 0, 2]] + [[0] * 4] * 3), 1)
    assert names(flags.header_flags(moved, (90, 90, 6))) == ["geometry"]


def test_every_flag_has_a_reason_and_none_is_raised_that_is_not_in_the_table():
    from pathlib import Path

    for name, limit in flags.LIMITS.items():
        assert limit.reason, name
    folder = Path(flags.__file__).parent
    text = "".join((folder / f"{room}.py").read_text() for room in ("flags", "judge"))
    raised = set(re.findall(r'Flag\(\s*"([a-z-]+)"', text))
    raised |= set(re.findall(r'_in_slices\("([a-z-]+)"', text))
    raised |= set(re.findall(r'\("([a-z-]+)", (?:empty|small|large|leaps|at_border)', text))
    assert raised == set(flags.LIMITS)


@pytest.fixture(scope="module")
def cord():
    made = make_phantom(seed=10_007, spacing_mm=(0.5, 0.5, 5.0), shape=(160, 160, 4))
    labels = np.asarray(made.mask.dataobj)
    return degradations.labelled_volume(made.image, labels == 1, labels > 0)


def raised(case):
    return {flag.name for flag in segment(case.image).summary.flags}


def test_a_good_cord_raises_none(cord):
    assert raised(cord) == set()


@pytest.mark.parametrize(
    "way",
    [
        "turned by quarters",
        "mirrored",
        "turned",
        "cut",
        "interpolated",
        "sagittal",
        "swollen",
        "slices lost",
        "flattened",
        "one-sided",
        "inverted",
        "clipped",
    ],
)
def test_a_spoiled_cord_raises_the_flag_that_it_deserves(cord, way):
    spoil = DEGRADATIONS[way]
    spoiled = spoil.change(cord, spoil.values[len(spoil.values) // 2], np.random.default_rng(0))
    assert spoil.flag in raised(spoiled)
