"""The dilated-convolution network of Perone, Calabrese & Cohen-Adad (2018)."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers


@dataclass(frozen=True)
class NetworkSizes:
    """What may differ between two networks of the paper's shape.

    Parameters
    ----------
    filters : int
        Channels of every convolution but the last two: 32 in the paper and in the 2017
        release, 64 in a later release by the same laboratory.
    dilation_rates : tuple of int
        Rates of the dilated branches, in pixels.
    dropout : float
        Share of elements that each dropout silences in training.
    batchnorm_momentum : float
        In Keras' sense: ``moving = momentum * moving + (1 - momentum) * batch``.
        PyTorch counts the other way round (Keras 0.1 is PyTorch 0.9).
    """

    filters: int = 32
    dilation_rates: tuple[int, ...] = (6, 12, 18, 24)
    dropout: float = 0.4
    batchnorm_momentum: float = 0.1


@keras.saving.register_keras_serializable(package="gmseg")
class RepeatOverImage(layers.Layer):
    """Repeat one value per channel, (n, 1, 1, c), over an image, (n, h, w, c)."""

    def call(self, inputs):
        value, image = inputs
        return keras.ops.broadcast_to(value, keras.ops.shape(image))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1])


@keras.saving.register_keras_serializable(package="gmseg")
class CutOut(layers.Layer):
    """Cut a square out of images, (n, h, w, c), with zeros beyond their borders.

    Parameters
    ----------
    side, around : int
        Of the square, and how many pixels more on each side of it are taken.

    Returns
    -------
    tuple of two tensors
        What is cut at ``corner``, int32 (2,): (n, side + 2 around, side + 2 around, c); and
        (1, side + 2 around, side + 2 around, 1), 1 inside the images and 0 beyond.
    """

    def __init__(self, side: int, around: int, **kwargs):
        super().__init__(**kwargs)
        self.side, self.around = side, around

    def call(self, inputs):
        images, corner = inputs
        inside = keras.ops.ones_like(images[:1, ..., :1])
        start = keras.ops.pad(corner, (1, 1))
        length = self.side + 2 * self.around
        beyond = [(0, 0), (self.around,) * 2, (self.around,) * 2, (0, 0)]
        return tuple(
            keras.ops.slice(
                keras.ops.pad(one, beyond), start, (one.shape[0], length, length, one.shape[3])
            )
            for one in (images, inside)
        )

    def compute_output_spec(self, inputs):
        images, _ = inputs
        length = self.side + 2 * self.around
        return tuple(
            keras.KerasTensor((count, length, length, channels), images.dtype)
            for count, channels in ((images.shape[0], images.shape[3]), (1, 1))
        )

    def get_config(self):
        return super().get_config() | {"side": self.side, "around": self.around}


def build_network(
    sizes: NetworkSizes = NetworkSizes(), *, region: tuple[int, int] | None = None
) -> keras.Model:
    """Build the network, with random weights.

    Parameters
    ----------
    sizes : NetworkSizes
    region : (int, int), optional
        Of windows with so many rows and columns, only a square of so many is wanted: the stem
        is computed on the whole window, since the global branch averages it, and what follows
        no farther from the square than later layers look. The numbers are the same.

    Returns
    -------
    keras.Model
        From standardised windows, float32 (n, height, width, 1), to soft segmentations,
        float32 (n, height, width, 1) in 0-1. Height and width are free: 200 in the paper.
        The layer ``logits`` holds the output before the sigmoid.

        With a region: from one window, (1, size, size, 1), and the region's ``corner`` in it,
        int32 (2,): row and column. The region lies within the window.

    Notes
    -----
    Paper, "Methods" (network architecture) and the authors' released notebook. The global
    branch averages the output of ``stem``, not of the rate-2 convolutions, and every
    convolution but the last is followed by ReLU, batch normalisation and element-wise
    dropout, in this order.
    """

    def norm_and_dropout(x, name):
        x = layers.BatchNormalization(momentum=sizes.batchnorm_momentum, name=f"{name}_norm")(x)
        return layers.Dropout(sizes.dropout, name=f"{name}_dropout")(x)

    def conv(x, name, kernel=3, rate=1, filters=sizes.filters, padding="same"):
        x = layers.Conv2D(
            filters, kernel, dilation_rate=rate, padding=padding, activation="relu", name=name
        )(x)
        return norm_and_dropout(x, name)

    size, side = region or (None, None)
    window = keras.Input((size, size, 1), None if region is None else 1, name="window")
    stem = conv(conv(window, "stem_1"), "stem_2")
    if region is None:
        inputs, part, step = window, stem, conv

        def near(x, pixels):  # noqa: ARG001
            return x
    else:
        corner = keras.Input(batch_shape=(2,), dtype="int32", name="corner")
        inputs = [window, corner]
        part, inside = CutOut(side, reach(sizes), name="region")([stem, corner])

        def near(x, pixels):
            """Leave away what is farther from the region."""
            rest = (x.shape[1] - side) // 2 - pixels
            return layers.Cropping2D(rest)(x) if rest else x

        def step(x, name, kernel=3, rate=1):
            x = conv(x, name, kernel, rate, padding="valid")
            pixels = (x.shape[1] - side) // 2
            if not pixels:
                return x
            # beyond the window, the next layer shall see zeros, as it does without a region
            return layers.Multiply(name=f"{name}_inside")([x, near(inside, pixels)])

    trunk = step(step(part, "rate2_1", rate=2), "rate2_2", rate=2)
    branches = [step(step(near(trunk, 1), "branch1x1_1"), "branch1x1_2", kernel=1)]
    for rate in sizes.dilation_rates:
        first = step(near(trunk, 2 * rate), f"rate{rate}_1", rate=rate)
        branches.append(step(first, f"rate{rate}_2", rate=rate))
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="global_mean")(stem)
    # the released weights expect the global branch before the last dilated one
    like = stem if region is None else branches[0]
    branches.insert(-1, RepeatOverImage(name="global_branch")([mean, like]))

    x = norm_and_dropout(layers.Concatenate(name="branches")(branches), "branches")
    x = conv(x, "amort", kernel=1, filters=64)
    logits = layers.Conv2D(1, 1, name="logits")(x)
    soft = layers.Activation("sigmoid", name="soft")(logits)
    return keras.Model(inputs, soft, name="gmseg")


def reach(sizes: NetworkSizes) -> int:
    """Return how far the layers after the stem look, in pixels: two at rate 2, two of a branch."""
    return 2 * (2 + max(sizes.dilation_rates))


def on_region(network: keras.Model, sizes: NetworkSizes, region: tuple[int, int]) -> keras.Model:
    """Return a network for a region of its windows, with the same weights.

    Parameters
    ----------
    network : keras.Model
        From `build_network`, without a region.
    sizes : NetworkSizes
        Its sizes.
    region : (int, int)
        See `build_network`.
    """
    part = build_network(sizes, region=region)
    for layer in part.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return part


def logits_of(network: keras.Model) -> keras.Model:
    """Return the same network, sharing its weights, up to the output before the sigmoid."""
    return keras.Model(network.inputs, network.get_layer("logits").output, name="gmseg_logits")
