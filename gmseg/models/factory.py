"""From the ``network`` entry of a model's card or a protocol to a network."""

from __future__ import annotations

import math
from dataclasses import asdict

from gmseg.models.backend import import_keras

_CHANNELS = 512
_UNET_SCALES = 4  # a window of 200 pixels can be halved three times
_BRANCHES = 16  # the paper's network has five, of four rates
_WINDOW_VALUES = 2**28  # of one window in the widest layer: 1 GB
_SHARES = ("dropout", "batchnorm_momentum")


def sizes_fit(entry) -> bool:
    """Return whether a ``network`` entry describes a network that can be built.

    Parameters
    ----------
    entry : dict
        The fields of `gmseg.core.network.NetworkSizes`; or ``kind = "unet"`` and the fields of
        `gmseg.models.unet.UNetSizes`. What is missing has its default value.
    """
    if not isinstance(entry, dict):
        return False
    if not all(is_number(entry.get(key, 0)) and 0 <= entry.get(key, 0) < 1 for key in _SHARES):
        return False
    if "kind" in entry:
        widths = entry.get("widths", [26])
        return (
            entry["kind"] == "unet"
            and set(entry) <= {"kind", "widths", *_SHARES}
            and isinstance(widths, list | tuple)
            and 1 <= len(widths) <= _UNET_SCALES
            and all(type(width) is int and 1 <= width <= _CHANNELS for width in widths)
        )
    filters, rates = entry.get("filters", 32), entry.get("dilation_rates", [6])
    return (
        set(entry) <= {"filters", "dilation_rates", *_SHARES}
        and type(filters) is int
        and 1 <= filters <= _CHANNELS
        and isinstance(rates, list | tuple)
        and _BRANCHES >= len(rates) == len(set(map(str, rates))) > 0
        # the branch at rate 1 and the layers at rate 2 are there already
        and all(type(rate) is int and 3 <= rate <= 200 for rate in rates)
    )


def window_fits(entry: dict, window: int) -> bool:
    """Return whether a network can be run on windows of so many pixels without much memory."""
    if "kind" in entry:
        channels = 2 * entry.get("widths", [26])[0]
    else:
        channels = entry.get("filters", 32) * (len(entry.get("dilation_rates", range(4))) + 2)
    return channels * window**2 <= _WINDOW_VALUES


def window_step(entry: dict) -> int:
    """Return what a window's rows and columns must be a multiple of, in pixels."""
    scales = len(entry.get("widths", range(_UNET_SCALES))) if "kind" in entry else 1
    return 2 ** (scales - 1)


def is_number(value) -> bool:
    """Return whether a value from a file is a finite number."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def network_sizes(entry: dict):
    """Return a ``network`` entry as `gmseg.core.network.NetworkSizes` or `gmseg.models.unet.UNetSizes`."""
    import_keras()
    from gmseg.core.network import NetworkSizes
    from gmseg.models.unet import UNetSizes

    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "kind"}
    return UNetSizes(**values) if "kind" in entry else NetworkSizes(**values)


def network_entry(sizes) -> dict:
    """Return sizes as a ``network`` entry: the other way round."""
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


def part_of(network, sizes, window: int, side: int):
    """Build the same network for a region of its windows, with the same weights.

    Parameters
    ----------
    network : keras.Model
    sizes : NetworkSizes or UNetSizes
        Its sizes.
    window, side : int
        Rows and columns of the windows, and of the region.

    Returns
    -------
    keras.Model or None
        See `gmseg.core.network.build_network`. None where it would save nothing: where the layers
        look beyond the windows, and for the U-Net, which looks at all of them.
    """
    from gmseg.core.network import NetworkSizes, on_region, reach

    if not isinstance(sizes, NetworkSizes) or side + 2 * reach(sizes) > window:
        return None
    return on_region(network, sizes, (window, side))


def multiply_adds(network, rows: int, columns: int) -> int:
    """Count the multiply-adds of a network's convolutions on one window.

    Parameters
    ----------
    network : keras.Model
    rows, columns : int
        Of the window, in pixels.

    Returns
    -------
    int
        Padding counts as pixels: an engine multiplies by its zeros, too.
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
            pixels //= math.prod(layer.strides)  # each output pixel is made by few of the weights
        count += pixels * math.prod(layer.kernel.shape)
    return count
