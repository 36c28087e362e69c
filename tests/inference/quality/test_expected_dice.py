"""The expected Dice."""

import nibabel as nib
import numpy as np

from gmseg import load_model, segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality import expected_dice
from gmseg.models import card


def test_a_rising_parabola_is_fitted():
    rng = np.random.default_rng(0)
    soft_dice = rng.uniform(0.2, 0.9, 500)
    dice = np.clip(1.2 * soft_dice**2 + rng.normal(0, 0.02, 500), 0, 1)
    knots = expected_dice.fit(np.append(soft_dice, np.nan), np.append(dice, 0.5))
    assert card.are_knots(knots)
    assert (np.diff([value for _, value in knots]) >= 0).all()
    np.testing.assert_allclose(expected_dice.predict([0.5, 0.8], knots), [0.3, 0.77], atol=0.02)


def test_nothing_is_predicted_without_gm_or_a_curve():
    assert np.isnan(expected_dice.predict([np.nan, 0.5], None)).all()
    assert np.isnan(expected_dice.predict([np.nan], [[0, 0], [1, 1]])[0])


def test_invalid_curves_are_recognised():
    for wrong in ("a", [[0, 0, 0]], [[0, 0], [0, 1]], [[0, 2]], [0, 1], {"a": 1}, [[0, "x"]], []):
        assert not card.are_knots(wrong)


def test_a_noisy_cord_has_a_lower_expected_dice():
    assert load_model().confidence is not None
    scan = make_phantom(seed=10_009, spacing_mm=(0.5, 0.5, 5.0), shape=(120, 120, 2)).image
    data = np.asarray(scan.dataobj)
    noise = np.random.default_rng(0).normal(0, 0.3 * data.mean(), data.shape)
    noisy = nib.Nifti1Image((data + noise).astype(np.float32), scan.affine)
    clean_dice, noisy_dice = (segment(image).summary.expected_dice for image in (scan, noisy))
    assert np.mean(clean_dice) > np.mean([value or 0 for value in noisy_dice]) + 0.05
