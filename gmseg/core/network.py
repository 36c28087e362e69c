"""The dilated-convolution network of Perone, Calabrese & Cohen-Adad (2018)."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes in which networks of the paper's shape may differ.

    Parameters
    ----------
    filters : int
        Channels of every convolution but the last two: 32 in the paper and in the 2017
        release, 64 in a later release by the same laboratory.
    dilation_rates : tuple of int
        Rates of the dilated branches, in pixels.
    dropout : float
        Share of elements that each dropout sets to 0 in training.
    batchnorm_momentum : float
        In Keras' sense: ``moving = momentum * moving + (1 - momentum) * batch``. PyTorch counts
        the other way round (Keras 0.1 is PyTorch 0.9).
    outputs : int
        1: GM, as in the paper; 2: GM and cord.
    """

    filters: int = 32
    dilation_rates: tuple[int, ...] = (6, 12, 18, 24)
    dropout: float = 0.4
    batchnorm_momentum: float = 0.1
    outputs: int = 1


@keras.saving.register_keras_serializable(package="gmseg")
class RepeatOverImage(layers.Layer):
    """Repeat one value per channel, (n, 1, 1, c), over an image, (n, h, w, c)."""

    def call(self, inputs):
        value, image = inputs
        return keras.ops.broadcast_to(value, keras.ops.shape(image))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1])


def build_network(sizes: NetworkSizes = NetworkSizes()) -> keras.Model:
    """Build the network, with random weights.

    Parameters
    ----------
    sizes : NetworkSizes
        The paper's by default.

    Returns
    -------
    keras.Model
        From standardised windows, float32 (n, height, width, 1), to soft segmentations,
        float32 (n, height, width, outputs) in 0-1. Height and width are free: 200 in the paper.
        The layer ``logits`` contains the output before the sigmoid.

    Notes
    -----
    Paper, "Methods" (network architecture), and the authors' released notebook. The global
    branch averages the output of the stem, not of the rate-2 convolutions. Every convolution
    but the last is followed by ReLU, batch normalisation and element-wise dropout, in this
    order.

    Examples
    --------
    >>> network = build_network()
    >>> sum(layer.count_params() for layer in network.layers if "Conv" in type(layer).__name__)
    124769
    """

    def norm_and_dropout(x, name):
        x = layers.BatchNormalization(momentum=sizes.batchnorm_momentum, name=f"{name}_norm")(x)
        return layers.Dropout(sizes.dropout, name=f"{name}_dropout")(x)

    def conv(x, name, kernel=3, rate=1, filters=sizes.filters):
        x = layers.Conv2D(
            filters, kernel, dilation_rate=rate, padding="same", activation="relu", name=name
        )(x)
        return norm_and_dropout(x, name)

    windows = keras.Input((None, None, 1), name="window")
    stem = conv(conv(windows, "stem_1"), "stem_2")
    trunk = conv(conv(stem, "rate2_1", rate=2), "rate2_2", rate=2)

    branches = [conv(conv(trunk, "branch1x1_1"), "branch1x1_2", kernel=1)]
    branches += [
        conv(conv(trunk, f"rate{rate}_1", rate=rate), f"rate{rate}_2", rate=rate)
        for rate in sizes.dilation_rates
    ]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="global_mean")(stem)
    # the released weights expect the global branch before the last dilated one
    branches.insert(-1, RepeatOverImage(name="global_branch")([mean, stem]))

    x = norm_and_dropout(layers.Concatenate(name="branches")(branches), "branches")
    x = conv(x, "amort", kernel=1, filters=64)
    # in single precision, also where the other layers train in a lower one
    logits = layers.Conv2D(sizes.outputs, 1, name="logits", dtype="float32")(x)
    soft = layers.Activation("sigmoid", name="soft")(logits)
    return keras.Model(windows, soft, name="gmseg")


def logits_of(network: keras.Model) -> keras.Model:
    """Return the same network, sharing its weights, up to the output before the sigmoid."""
    return keras.Model(network.inputs, network.get_layer("logits").output, name="gmseg_logits")
