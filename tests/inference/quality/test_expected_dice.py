"""The Dice foretold."""

import numpy as np

from gmseg import load_model, segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality import expected_dice
from gmseg.models import card


def test_a_parabola_is_learnt_and_rises():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.2, 0.9, 500)
    dice = np.clip(1.2 * expected**2 + rng.normal(0, 0.02, 500), 0, 1)
    knots = expected_dice.fit(np.append(expected, np.nan), np.append(dice, 0.5))
    assert card.are_knots(knots)
    assert (np.diff([value for _, value in knots]) >= 0).all()
    np.testing.assert_allclose(expected_dice.predict([0.5, 0.8], knots), [0.3, 0.77], atol=0.02)


def test_nothing_is_foretold_of_nothing():
    assert np.isnan(expected_dice.predict([np.nan, 0.5], None)).all()
    assert np.isnan(expected_dice.predict([np.nan], [[0, 0], [1, 1]])[0])


def test_what_are_no_knots():
    for wrong in ("a", [[0, 0, 0]], [[0, 0], [0, 1]], [[0, 2]], [0, 1], {"a": 1}, [[0, "x"]], []):
        assert not card.are_knots(wrong)


def test_the_summary_foretells_less_of_a_noisy_cord():
    assert load_model().confidence is not None
    made = make_phantom(seed=10_009, spacing_mm=(0.5, 0.5, 5.0), shape=(120, 120, 2))
    good = segment(made.image).summary.expected_dice
    data = np.asarray(made.image.dataobj)
    noise = np.random.default_rng(0).normal(0, 0.3 * data.mean(), data.shape)
    bad = segment(type(made.image)((data + noise).astype(np.float32), made.image.affine)).summary
    assert np.mean(good) > np.mean([value or 0 for value in bad.expected_dice]) + 0.05
