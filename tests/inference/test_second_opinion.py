"""Agreement with a second model, and the expected Dice and flags that follow from it."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from gmseg import load_model, segment
from gmseg.core import geometry
from gmseg.inference import second_opinion
from gmseg.inference import segment as segmentation
from gmseg.models import card

CURVE = [[0.0, 0.0], [0.5, 0.4], [1.0, 0.9]]
HALF = 8  # slices


def discs(radii):
    """Return a predictor of a disc in every window, whose radius in pixels depends on the slice."""

    def predict(windows):
        size = windows.shape[1]
        rows, columns = np.mgrid[:size, :size] - size // 2
        level = np.median(windows, axis=(1, 2))  # the slices of the scan differ in brightness
        number = np.where(level < 0, 0, 1)
        return np.array([(np.hypot(rows, columns) <= radii[n]) for n in number], np.float32)[
            :, None
        ]

    return predict


@pytest.fixture
def scan():
    """Return a scan whose second half is brighter."""
    voxels = np.random.default_rng(0).uniform(50, 60, (80, 80, 2 * HALF)).astype(np.float32)
    voxels[..., HALF:] += 20
    return nib.Nifti1Image(voxels, np.diag([-0.5, 0.5, 5, 1]))


@pytest.fixture
def model(monkeypatch):
    """Return a model with a second opinion, which differs in the second half of the slices."""
    first, second = discs((12, 12)), discs((12, 6))
    monkeypatch.setattr(segmentation, "load_predictor", lambda _: first)
    monkeypatch.setattr(second_opinion, "load_predictor", lambda _: second)
    plain = dataclasses.replace(load_model(), window=128)
    smaller = dataclasses.replace(plain, name="second", window=96)
    monkeypatch.setattr(segmentation, "load_model", lambda name: {"second": smaller}[name])
    return dataclasses.replace(plain, second_opinion={"model": "second", "curve": CURVE})


def dice_of_discs(radii):
    grids = np.hypot(*(np.mgrid[-64:64, -64:64]))
    first, second = (grids <= radius for radius in radii)
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_agreement_sets_the_expected_dice_and_flags_slices(scan, model):
    summary = segment(scan, model).summary
    differ = dice_of_discs((12, 6))
    assert differ == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(summary.agreement, [1.0] * HALF + [differ] * HALF, atol=1e-3)
    expected = np.interp(summary.agreement, *np.array(CURVE).T)
    np.testing.assert_allclose(summary.expected_dice, expected, atol=1e-3)
    of_scan, flag = [flag for flag in summary.flags if flag.name == "low-confidence"]
    assert of_scan.slices == ()
    assert flag.slices == tuple(range(HALF, 2 * HALF))
    assert f"lowest {min(expected):.2f}" in flag.text


def test_slices_keep_their_numbers_in_a_scan_stored_downwards(scan, model):
    down = nib.Nifti1Image(np.asarray(scan.dataobj)[..., ::-1], np.diag([-0.5, 0.5, -5, 1]))
    assert geometry.runs_downwards(down.affine)
    expected = segment(scan, model).summary.agreement
    assert segment(down, model).summary.agreement == expected[::-1]


def test_without_a_second_opinion_the_mask_is_the_same(scan, model):
    alone = segment(scan, model, second_opinion=False)
    assert alone.summary.agreement is None
    np.testing.assert_array_equal(alone.mask.dataobj, segment(scan, model).mask.dataobj)


@pytest.mark.parametrize(
    "entry", [{"model": "second"}, {"model": "../x", "curve": CURVE}, {"model": "s", "curve": [1]}]
)
def test_a_card_with_a_damaged_second_opinion_is_refused(model, entry, tmp_path):
    with pytest.raises(ValueError, match="second_opinion"):
        card.check_card(tmp_path / "x.json", dataclasses.replace(model, second_opinion=entry))
