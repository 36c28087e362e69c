"""Loss and learning rate."""

from __future__ import annotations

from collections.abc import Callable

from gmseg.training.protocol import Optimiser

OUTPUT_WEIGHTS = (0.7, 0.3)
"""Weights of GM and cord in the loss of a network with both outputs."""


def make_loss(cross_entropy: float) -> Callable:
    """Return the loss: 1 - Dice, mixed with a share of cross-entropy.

    Parameters
    ----------
    cross_entropy : float
        Weight of the cross-entropy, 0 to 1.

    Returns
    -------
    callable
        Function of reference and logits, tensors (n, rows, columns, outputs). It takes logits,
        since engines differ in how they clip probabilities. The reference is NaN where it is
        unknown; these pixels do not count.

    Notes
    -----
    Dice is the paper's, smooth 1 over the flattened batch. Alone, it is best where GM is every
    pixel with a probability over about 0.4, so that areas come out too large. Cross-entropy is
    best at the probability. It is divided by the pixels of GM, so that both parts weigh about
    the same at the border, however much background there is.
    """
    from keras import losses, ops

    def loss_of_output(reference, logits):
        known = ops.isfinite(reference)
        reference = ops.where(known, reference, 0)
        soft = ops.where(known, ops.sigmoid(logits), 0)
        area = ops.sum(reference) + 1
        dice = (2 * ops.sum(reference * soft) + 1) / (area + ops.sum(soft))
        entropy = losses.binary_crossentropy(reference, logits, from_logits=True)
        entropy = ops.sum(ops.where(known[..., 0], entropy, 0)) / area
        return (1 - cross_entropy) * (1 - dice) + cross_entropy * entropy

    def loss(reference, logits):
        outputs = logits.shape[-1]
        weights = OUTPUT_WEIGHTS if outputs == len(OUTPUT_WEIGHTS) else (1.0,)
        return sum(
            weight * loss_of_output(reference[..., k : k + 1], logits[..., k : k + 1])
            for k, weight in enumerate(weights)
        )

    return loss


def poly_rate(step: int, optimiser: Optimiser) -> float:
    """Return the learning rate of a step: rate * (1 - n/N)^power (paper, "Training").

    n is the step's epoch of N epochs, each of ``optimiser.epoch`` steps.

    Examples
    --------
    >>> poly_rate(50, Optimiser(rate=0.001, power=1.0, steps=100))
    0.0005
    """
    epochs = -(-optimiser.steps // optimiser.epoch)
    return optimiser.rate * (1 - (step // optimiser.epoch) / epochs) ** optimiser.power
