"""TODO."""

from __future__ import annotations

from collections.abc import Callable

from gmseg.training.protocol import Optimiser


def make_loss(cross_entropy: float) -> Callable:
    """Return the loss of logits: Dice with a share of cross-entropy.

    Notes
    -----
    It takes the output before the sigmoid: of probabilities, TensorFlow's graphs look for the
    logits behind them, other engines cut them off at 1e-7, and the losses differ where a network
    is sure and wrong.

    The Dice part is the paper's, smooth 1 over the flattened batch, as 1 - Dice. Alone, it
    is best served by calling GM whatever is GM with a probability over about 0.4, so that
    areas come out too large where the border is uncertain. Cross-entropy wants the
    probability itself. It is counted per pixel of GM, so that both parts pull about equally
    at the border, however much background there is.
    """
    from keras import losses, ops

    def loss(reference, logits):
        soft = ops.sigmoid(logits)
        area = ops.sum(reference) + 1
        dice = (2 * ops.sum(reference * soft) + 1) / (area + ops.sum(soft))
        entropy = losses.binary_crossentropy(reference, logits, from_logits=True)
        entropy = ops.sum(entropy) / area
        return (1 - cross_entropy) * (1 - dice) + cross_entropy * entropy

    return loss


def poly_rate(step: int, optimiser: Optimiser) -> float:
    """Return the learning rate of a step: rate * (1 - n/N)^power (paper, "Training").

    n is the step's epoch of N, each of ``optimiser.epoch`` steps.
    """
    epochs = -(-optimiser.steps // optimiser.epoch)
    return optimiser.rate * (1 - (step // optimiser.epoch) / epochs) ** optimiser.power
