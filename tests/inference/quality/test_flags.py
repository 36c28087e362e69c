"""QC flags of given features, and of degraded synthetic cords."""

import nibabel as nib
import numpy as np
import pytest

from gmseg import segment
from gmseg.datasets.degradations import DEGRADATIONS, labelled_volume
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality import flags
from gmseg.inference.quality.features import Features, Symmetry

NOWHERE = np.zeros(6, bool)


def texts(found):
    return [flag.text for flag in found]


def names(found):
    return [flag.name for flag in found]


def test_areas():
    assert flags.area_flags(np.full(6, 15.0), at_border=NOWHERE) == []
    [flag] = flags.area_flags(np.zeros(6), at_border=NOWHERE)
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


def test_an_area_jump_differs_from_both_neighbours():
    steady = np.array([20, 15, 14, 13, 12, 8.0])
    assert flags.area_flags(steady, at_border=NOWHERE) == []
    for area in (23.0, 9.0):
        [flag] = flags.area_flags(np.array([14, 14, area, 14, 13, 13.0]), at_border=NOWHERE)
        assert (flag.name, flag.slices) == ("area-jump", (2,))
    # a step that stays is anatomy; a tiny area is flagged as such
    assert flags.area_flags(np.array([20, 20, 20, 13, 13, 13.0]), at_border=NOWHERE) == []
    found = flags.area_flags(np.array([14, 14, 14, 9, 1, 14.0]), at_border=NOWHERE)
    assert names(found) == ["small-area"]


def features_with(**changed):
    steady = {"second_mm2": [0.0] * 6, "margin_mm": [30.0] * 6, "clipped": [0.0001] * 6}
    return Features(**steady | changed)


UPRIGHT = Symmetry(5.0, 0.03, (1.2, 1.0))


def test_feature_flags():
    assert flags.feature_flags(features_with(), UPRIGHT) == []
    assert flags.feature_flags(features_with(), None) == []
    cases = {
        "components": (features_with(second_mm2=[0, 0, 2.0, 0, 0, 0]), UPRIGHT),
        "edge": (features_with(margin_mm=[30, 5, 4, 30, 30, 30]), UPRIGHT),
        "clipped": (features_with(clipped=[0.01] * 4 + [0, 0]), UPRIGHT),
        "asymmetry": (features_with(), Symmetry(0, 0.2, (1.2, 1.0))),
        "uneven": (features_with(), Symmetry(0, 0.03, (1.5, 0.5))),
        "contrast": (features_with(), Symmetry(0, 0.03, (0.2, 0.3))),
        "turned": (features_with(), Symmetry(-20.0, 0.03, (1.2, 1.0))),
    }
    for name, (features, sides) in cases.items():
        assert names(flags.feature_flags(features, sides)) == [name]
        assert name in flags.LIMITS


def header(affine, qform=1):
    image = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, 1)
    return image


def test_header_flags():
    assert flags.header_flags(header(np.diag([-0.5, 0.5, 5, 1])), (90, 90, 6)) == []
    sagittal = header(np.diag([3, 0.5, 0.5, 1]))
    assert names(flags.header_flags(sagittal, (20, 90, 90))) == ["not-axial", "coarse"]
    assert names(flags.header_flags(header(np.diag([1, 1, 1, 1])), (90, 90, 90))) == []
    assert names(flags.header_flags(header(np.diag([1.1, 1, 4, 1])), (90, 90, 9))) == ["coarse"]
    shifted = header(np.diag([-0.5, 0.5, 5, 1]))
    shifted.set_sform(np.diag([-0.5, 0.5, 5, 1]) + np.array([[0, 0, 0, 2]] + [[0] * 4] * 3), 1)
    assert names(flags.header_flags(shifted, (90, 90, 6))) == ["geometry"]


def test_a_header_without_codes_is_flagged():
    unknown = header(np.diag([-0.5, 0.5, 5, 1]), 0)
    unknown.header["sform_code"] = 0
    assert names(flags.header_flags(unknown, (90, 90, 6))) == ["geometry"]


@pytest.fixture(scope="module")
def cord():
    phantom = make_phantom(seed=10_007, spacing_mm=(0.5, 0.5, 5.0), shape=(120, 120, 4))
    labels = np.asarray(phantom.mask.dataobj)
    return labelled_volume(phantom.image, labels == 1, labels > 0)


def raised(volume):
    found = segment(volume.image).summary.flags
    assert {flag.name for flag in found} <= set(flags.LIMITS)
    return {flag.name for flag in found}


def test_a_clean_cord_raises_no_flag(cord):
    assert raised(cord) == set()


@pytest.mark.parametrize(
    "name",
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
def test_a_degraded_cord_raises_its_flag(cord, name):
    degradation = DEGRADATIONS[name]
    severity = degradation.values[len(degradation.values) // 2]
    degraded = degradation.change(cord, severity, np.random.default_rng(0))
    assert degradation.flag in raised(degraded)
