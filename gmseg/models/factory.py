"""Build the network that a model's card or a protocol describes in ``network``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from gmseg.models.backend import import_keras

_CHANNELS = 512
_UNET_SCALES = 4  # a window of 200 pixels can be halved three times
_BRANCHES = 16  # the paper's network has five, of four rates
_WINDOW_VALUES = 2**28  # of one window in the widest layer: 1 GB
_SHARES = ("dropout", "batchnorm_momentum")
_MOST_OUTPUTS = 2  # GM and cord


def sizes_fit(entry) -> bool:
    """Return whether a ``network`` entry describes a network that can be built.

    Parameters
    ----------
    entry : dict
        The fields of `gmseg.core.network.NetworkSizes`; or ``kind = "unet"`` and the fields of
        `gmseg.models.unet.UNetSizes`. Missing fields have their default values.
    """
    if not isinstance(entry, dict):
        return False
    if not all(is_number(entry.get(key, 0)) and 0 <= entry.get(key, 0) < 1 for key in _SHARES):
        return False
    if (
        type(entry.get("outputs", 1)) is not int
        or not 1 <= entry.get("outputs", 1) <= _MOST_OUTPUTS
    ):
        return False
    if "kind" in entry:
        widths = entry.get("widths", [26])
        return (
            entry["kind"] == "unet"
            and set(entry) <= {"kind", "widths", "outputs", *_SHARES}
            and isinstance(widths, list | tuple)
            and 1 <= len(widths) <= _UNET_SCALES
            and all(type(width) is int and 1 <= width <= _CHANNELS for width in widths)
        )
    filters, rates = entry.get("filters", 32), entry.get("dilation_rates", [6])
    return (
        set(entry) <= {"filters", "dilation_rates", "outputs", *_SHARES}
        and type(filters) is int
        and 1 <= filters <= _CHANNELS
        and isinstance(rates, list | tuple)
        and _BRANCHES >= len(rates) == len(set(map(str, rates))) > 0
        # the network has a branch at rate 1 and layers at rate 2 anyway
        and all(type(rate) is int and 3 <= rate <= 200 for rate in rates)
    )


def window_fits(entry: dict, window: int) -> bool:
    """Return whether a network runs on windows of this size in reasonable memory."""
    if "kind" in entry:
        channels = 2 * entry.get("widths", [26])[0]
    else:
        channels = entry.get("filters", 32) * (len(entry.get("dilation_rates", range(4))) + 2)
    return channels * window**2 <= _WINDOW_VALUES


def window_step(entry: dict) -> int:
    """Return the number of pixels that rows and columns of a window must be a multiple of."""
    scales = len(entry.get("widths", range(_UNET_SCALES))) if "kind" in entry else 1
    return 2 ** (scales - 1)


def is_number(value) -> bool:
    """Return whether a value from a file is a finite number.

    Examples
    --------
    >>> is_number(0.5), is_number(True), is_number("1")
    (True, False, False)
    """
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def network_sizes(entry: dict):
    """Return the sizes in a ``network`` entry, of the paper's network or of a U-Net."""
    import_keras()
    from gmseg.core.network import NetworkSizes
    from gmseg.models.unet import UNetSizes

    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
        if key != "kind"
    }
    return UNetSizes(**values) if "kind" in entry else NetworkSizes(**values)


def network_entry(sizes) -> dict:
    """Return the ``network`` entry of sizes, the inverse of `network_sizes`."""
    from gmseg.models.unet import UNetSizes

    return ({"kind": "unet"} if isinstance(sizes, UNetSizes) else {}) | asdict(sizes)


def build(sizes):
    """Build the network of some sizes, with random weights.

    Returns
    -------
    keras.Model
        See `gmseg.core.network.build_network`, `gmseg.models.unet.build_unet`.
    """
    import_keras()
    from gmseg.core.network import build_network
    from gmseg.models.unet import UNetSizes, build_unet

    return build_unet(sizes) if isinstance(sizes, UNetSizes) else build_network(sizes)


def multiply_adds(network, rows: int, columns: int) -> int:
    """Count the multiply-adds of a network's convolutions on one window.

    Parameters
    ----------
    network : keras.Model
        The network.
    rows, columns : int
        Size of the window, in pixels.

    Returns
    -------
    int
        Padding counts as pixels: engines multiply by its zeros.
    """
    import keras

    kinds = keras.layers.Conv2D, keras.layers.Conv2DTranspose
    convolutions = [layer for layer in network.layers if isinstance(layer, kinds)]
    shapes = keras.Model(network.input, [layer.output for layer in convolutions])
    shapes = shapes.compute_output_spec(keras.KerasTensor((1, rows, columns, 1)))
    count = 0
    for layer, spec in zip(convolutions, shapes, strict=True):
        pixels = spec.shape[1] * spec.shape[2]
        if isinstance(layer, keras.layers.Conv2DTranspose):
            pixels //= math.prod(layer.strides)  # each output pixel uses few of the weights
        count += pixels * math.prod(layer.kernel.shape)
    return count
