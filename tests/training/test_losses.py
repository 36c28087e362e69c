"""Loss and learning rate."""

import numpy as np
import pytest

from gmseg.training import losses
from gmseg.training.protocol import Optimiser, load_protocol


def test_loss_of_known_masks():
    reference = np.zeros((1, 4, 4, 1), np.float32)
    reference[0, :2] = 1
    dice_only = losses.make_loss(0.0)
    assert float(dice_only(reference, 60 * reference - 30)) == pytest.approx(0, abs=1e-6)
    nothing = np.full_like(reference, -30)  # logits
    assert float(dice_only(reference, nothing)) == pytest.approx(1 - 1 / 9, abs=1e-4)
    half = np.zeros_like(reference)
    entropy = 16 * np.log(2) / 9  # over 16 pixels, per pixel of GM (smooth 1)
    assert float(losses.make_loss(1.0)(reference, half)) == pytest.approx(entropy, abs=1e-5)
    mixed = float(losses.make_loss(0.25)(reference, half))
    assert mixed == pytest.approx(0.75 * (1 - 9 / 17) + 0.25 * entropy, abs=1e-5)
    # confident and wrong: not clipped
    wrong = 60 - 120 * reference
    assert float(losses.make_loss(1.0)(reference, wrong)) == pytest.approx(60 * 16 / 9, rel=1e-5)


def test_loss_of_two_outputs_leaves_out_what_is_unknown():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 2, (3, 4, 4, 2)).astype(np.float32)
    logits = rng.normal(size=(3, 4, 4, 2)).astype(np.float32)
    loss = losses.make_loss(0.5)
    gm, cord = (float(loss(reference[..., [k]], logits[..., [k]])) for k in (0, 1))
    assert float(loss(reference, logits)) == pytest.approx(0.7 * gm + 0.3 * cord, rel=1e-5)
    reference[1:, ..., 1] = np.nan  # the cord is known in the first window only
    cord = float(loss(reference[:1, ..., [1]], logits[:1, ..., [1]]))
    assert float(loss(reference, logits)) == pytest.approx(0.7 * gm + 0.3 * cord, rel=1e-5)


def test_poly_schedule():
    optimiser = Optimiser(rate=0.001, power=0.9, steps=1000)
    assert losses.poly_rate(0, optimiser) == 0.001
    assert losses.poly_rate(500, optimiser) == pytest.approx(0.001 * 0.5**0.9)
    assert losses.poly_rate(999, optimiser) < 1e-5
    paper = load_protocol("paper2018").optimiser  # constant within an epoch of 32 batches
    assert losses.poly_rate(31, paper) == 0.001
    assert losses.poly_rate(32, paper) == pytest.approx(0.001 * (1 - 1 / 1000) ** 0.9)
    assert losses.poly_rate(31999, paper) == pytest.approx(0.001 * (1 / 1000) ** 0.9)
