"""A U-Net of the paper's size, for comparison."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers


@dataclass(frozen=True)
class UNetSizes:
    """Sizes in which U-Nets may differ.

    Parameters
    ----------
    widths : tuple of int
        Channels at each scale, from full resolution down. The default has 776,321 parameters
        in its convolutions, as many as the paper counts for its U-Net (transcribed, verify
        against the paper); the paper does not describe the layout.
    dropout, batchnorm_momentum, outputs
        As in `gmseg.core.network.NetworkSizes`.
    """

    widths: tuple[int, ...] = (26, 48, 98, 192)
    dropout: float = 0.4
    batchnorm_momentum: float = 0.1
    outputs: int = 1


def build_unet(sizes: UNetSizes = UNetSizes()) -> keras.Model:
    """Build a U-Net, with random weights.

    Parameters
    ----------
    sizes : UNetSizes
        Sizes of the U-Net.

    Returns
    -------
    keras.Model
        From standardised windows, float32 (n, height, width, 1), to soft segmentations, as
        `gmseg.core.network.build_network`. Height and width are multiples of 2 ** (scales - 1).

    Notes
    -----
    Two 3x3 convolutions at each scale, one at the bottom, 2x2 max pooling down, transposed 2x2
    convolutions up, concatenated with the features of the same scale. Every 3x3 convolution is
    followed by ReLU, batch normalisation and dropout, as in the paper's own network, so that the
    two are trained in the same way.

    References
    ----------
    Ronneberger, O., Fischer, P. & Brox, T. (2015). U-Net: convolutional networks for biomedical
    image segmentation. MICCAI, LNCS 9351, 234-241.
    """

    def conv(x, name, filters):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.BatchNormalization(momentum=sizes.batchnorm_momentum, name=f"{name}_norm")(x)
        return layers.Dropout(sizes.dropout, name=f"{name}_dropout")(x)

    x = window = keras.Input((None, None, 1), name="window")
    *upper, bottom = sizes.widths
    left = []
    for scale, width in enumerate(upper, 1):
        x = conv(conv(x, f"down{scale}_1", width), f"down{scale}_2", width)
        left.append(x)
        x = layers.MaxPooling2D(name=f"pool{scale}")(x)
    x = conv(x, "bottom", bottom)
    for scale in range(len(upper), 0, -1):
        width = upper[scale - 1]
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"rise{scale}")(x)
        x = layers.Concatenate(name=f"join{scale}")([x, left[scale - 1]])
        x = conv(conv(x, f"up{scale}_1", width), f"up{scale}_2", width)
    logits = layers.Conv2D(sizes.outputs, 1, name="logits", dtype="float32")(x)
    soft = layers.Activation("sigmoid", name="soft")(logits)
    return keras.Model(window, soft, name="unet")
