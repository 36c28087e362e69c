"""Loss and learning rate."""

from __future__ import annotations

from collections.abc import Callable

from gmseg.training.protocol import Optimiser


def make_loss(cross_entropy: float) -> Callable:
    """Return the loss: 1 - Dice, mixed with a share of cross-entropy.

    Parameters
    ----------
    cross_entropy : float
        Weight of the cross-entropy, 0 to 1.

    Returns
    -------
    callable
        Function of reference and logits, tensors (n, rows, columns, 1). It takes logits, since
        engines differ in how they clip probabilities.

    Notes
    -----
    Dice is the paper's, smooth 1 over the flattened batch. Alone, it is best where GM is every
    pixel with a probability over about 0.4, so that areas come out too large. Cross-entropy is
    best at the probability. It is divided by the pixels of GM, so that both parts weigh about
    the same at the border, however much background there is.
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

    n is the step's epoch of N epochs, each of ``optimiser.epoch`` steps.

    Examples
    --------
    >>> poly_rate(50, Optimiser(rate=0.001, power=1.0, steps=100))
    0.0005
    """
    epochs = -(-optimiser.steps // optimiser.epoch)
    return optimiser.rate * (1 - (step // optimiser.epoch) / epochs) ** optimiser.power
