"""Diagrams of a network, with every box and number read from the network itself."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from gmseg.core import windows
from gmseg.core.resampling import to_working_grid
from gmseg.io.image import read_scan
from gmseg.io.resources import bundled
from gmseg.paper.style import PAGE_IN, SMALL_PT, TEXT_PT
from gmseg.report.panels import INK, axes_at

_BLUE = "#0072b2"
_WORDS: dict = {"size": TEXT_PT, "color": INK}
_HIGH, _FOOT = 0.46, 0.58  # of a box and of the text below them, in inches
_LEVELS = ("#f0e442", "#7fd6a8", "#56b4e9", "#e69f00", "#ff7ab8", "#d55e00", "#cc79a7")


def draw_architecture(network) -> Figure:
    """Draw the layers of a network and their connections.

    Parameters
    ----------
    network : keras.Model
        Network from `gmseg.core.network.build_network`.

    Returns
    -------
    matplotlib.figure.Figure
        One box per layer; a text below counts batch normalisations and dropouts.
    """
    graph = _graph(network)
    layers = {name: network.get_layer(name) for name in graph}
    cells, columns = _layout(graph)
    levels = [[n for n in graph if cells[n][0] == k] for k in range(1 + cells[[*graph][-1]][0])]
    forks = [any(sum(n in used for used in graph.values()) > 1 for n in k) for k in levels]
    heights = [_HIGH if any(_is_conv(layers[n]) for n in k) else 0.75 * _HIGH for k in levels]
    gaps = [0.24 if fork else 0.14 for fork in forks]
    depths = np.cumsum([0, *(np.array(heights) + gaps)])
    pitch = min((PAGE_IN - 0.1) / columns, 1.4)
    left, wide = (PAGE_IN - columns * pitch) / 2, pitch - 0.12
    figure, ax = _canvas(PAGE_IN, _FOOT + depths[-1])
    rates = [layer.dilation_rate[0] for layer in layers.values() if _is_conv(layer)]
    middles = {name: left + (column + 0.5) * pitch for name, (_, column) in cells.items()}
    tops = {name: _FOOT - 0.05 + depths[-1] - depths[level] for name, (level, _) in cells.items()}
    ends: dict[str, list] = {name: [] for name in graph}
    for name, inputs in graph.items():
        high, top, middle = heights[cells[name][0]], tops[name], middles[name]
        joins = len(inputs) > 1
        for source in inputs:
            ends[source].append((middles[source] if joins else middle, top))
        broad = (columns - 1) * pitch + wide if joins else wide
        colour, words = _describe(layers[name], max(rates))
        box = FancyBboxPatch((middle - broad / 2, top - high), broad, high, fc=colour, ec=INK)
        box.set(zorder=3, linewidth=0.8)
        box.set_boxstyle("round", pad=0, rounding_size=0.04)
        ax.add_patch(box)
        centred = {"color": INK, "ha": "center", "va": "center", "zorder": 4, "size": SMALL_PT}
        ax.text(middle, top - 0.095, name, style="italic", **centred)
        ax.text(middle, (top - 0.17 + top - high) / 2, words, linespacing=1.05, **centred)
    for order, (name, places) in enumerate(ends.items()):
        bottom = tops[name] - heights[cells[name][0]]
        _connect(ax, (middles[name], bottom), places, 1 + order / 100)
    ax.text(0.05, 0.06, _summary(network), size=TEXT_PT, color=INK, linespacing=1.4)
    return figure


def draw_receptive_field(network, *, rates=(1, 2, 6), window=None) -> Figure:
    """Draw dilated convolutions, and the receptive fields of the network's branches.

    Parameters
    ----------
    network : keras.Model
        Network from `gmseg.core.network.build_network`.
    rates : sequence of int
        Dilation rates of the 3 x 3 convolutions that are drawn.
    window : numpy.ndarray, optional
        (rows, columns) of the working grid; by default a window of the sample scan.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the taps of the convolutions; right, squares on the window.
    """
    window = _sample_window() if window is None else window
    figure, ax = _canvas(PAGE_IN, 3.3)
    _draw_rates(figure, ax, rates)
    ax.text(0.1, 1.52, "Nine weights each, at every rate.", **_WORDS)
    ax.text(0.1, 1.3, "Receptive field of the branches of the network:", **_WORDS)

    rows, columns = window.shape
    shown = axes_at(figure, "window", 4.1, 0.08, 2.94, 2.94)
    shown.imshow(window.T, cmap="gray", origin="lower", vmax=np.percentile(window, 99.5))
    ax.text(4.1, 3.1, f"a window of {rows} x {columns} pixels", **_WORDS)
    reach = reach_px(network)
    joined = next(inputs for inputs in _graph(network).values() if len(inputs) > 1)
    joined = sorted(joined, key=lambda name: np.inf if (far := reach[name]) is None else far)
    for i, name in enumerate(joined):
        y, far = 1.1 - i * 1.1 / len(joined), reach[name]
        colour = "white" if far is None else _LEVELS[i % len(_LEVELS)]
        ax.add_patch(Rectangle((0.13, y - 0.05), 0.22, 0.1, fc=colour, ec=INK, lw=0.6))
        ax.text(0.48, y, name, va="center", **_WORDS)
        text = "the whole window" if far is None else f"±{far} pixels"
        ax.text(1.6, y, text, va="center", **_WORDS)
        if far is not None:
            corner = (rows // 2 - far - 0.5, columns // 2 - far - 0.5)
            side = 2 * far + 1
            shown.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=1.3))
    return figure


def _draw_rates(figure, ax, rates) -> None:
    """Draw the taps of a 3 x 3 convolution at every dilation rate."""
    cells = 2 * max(rates) + 1
    for i, rate in enumerate(rates):
        taps = max(rates) + rate * np.array([-1, 0, 1])
        weights = np.zeros((cells, cells))
        weights[np.ix_(taps, taps)] = 1
        left, side = 0.1 + i * 3.95 / len(rates), 3.95 / len(rates) - 0.12
        grid = axes_at(figure, f"rate {rate}", left, 3.02 - side, side, side)
        colours = ListedColormap(["#e8edf2", _BLUE])
        grid.pcolormesh(weights, cmap=colours, edgecolors="white", linewidth=0.5)
        grid.spines[:].set_visible(False)
        text = f"rate {rate}: {2 * rate + 1} x {2 * rate + 1} pixels"
        ax.text(left, 3.1, text, **_WORDS | {"size": SMALL_PT})


def reach_px(network) -> dict[str, int | None]:
    """Return the receptive field of each layer, in pixels to each side of a pixel.

    Parameters
    ----------
    network : keras.Model
        Network from `gmseg.core.network.build_network`.

    Returns
    -------
    dict
        Layer name to pixels, through convolutions; None where only a spatial mean leads to the
        layer, which then depends on the whole window.
    """
    reach: dict[str, int | None] = {}
    for name, inputs in _graph(network).items():
        layer = network.get_layer(name)
        found = [far for source in inputs if (far := reach[source]) is not None]
        if type(layer).__name__ == "GlobalAveragePooling2D" or (inputs and not found):
            reach[name] = None
            continue
        own = layer.dilation_rate[0] * (layer.kernel_size[0] - 1) // 2 if _is_conv(layer) else 0
        reach[name] = max(found, default=0) + own
    return reach


def as_markdown(network) -> str:
    """Return a short Markdown table of the parts of a network, from input to output.

    Examples
    --------
    >>> from gmseg.models.backend import import_keras
    >>> _ = import_keras()
    >>> from gmseg.core.network import build_network
    >>> for line in as_markdown(build_network()).splitlines()[:4]:
    ...     print(line)
    | part | layers | sees, pixels | parameters |
    |---|---|--:|--:|
    | stem | 2 convolutions 3x3 | ±2 | 9,824 |
    | rate2 | 2 convolutions 3x3, rate 2 | ±6 | 18,752 |
    """
    reach = reach_px(network)
    parts: dict[str, list[str]] = {}
    for name in list(reach)[1:]:  # the first is the window
        parts.setdefault(re.sub(r"_(\d+|mean|branch)$", "", name), []).append(name)
    norms = {layer.name.removesuffix("_norm"): layer for layer in network.layers}
    rows = ["| part | layers | sees, pixels | parameters |", "|---|---|--:|--:|"]
    for part, names in parts.items():
        layers = [network.get_layer(name) for name in names]
        far = reach[names[-1]]
        sees = "the whole window" if far is None else f"±{far}"
        both = {id(layer): layer for name in names for layer in (norms[name], *layers)}
        count = sum(layer.count_params() for layer in both.values())
        rows.append(f"| {part} | {_in_words(layers)} | {sees} | {count:,} |")
    total = network.count_params()
    return "\n".join([*rows, f"| **all** | | | **{total:,}** |"])


def _in_words(layers) -> str:
    """Return the layers of a part in words."""
    kernels = []
    for layer in layers:
        if _is_conv(layer):
            rate = layer.dilation_rate[0]
            size = "x".join(str(n) for n in layer.kernel_size)
            kernels.append(size + (f", rate {rate}" if rate > 1 else ""))
    if kernels:
        words = " and ".join(dict.fromkeys(kernels))
        return f"{len(kernels)} convolution{'s' * (len(kernels) > 1)} {words}"
    kinds = {
        "GlobalAveragePooling2D": "spatial mean",
        "RepeatOverImage": "repeated over the image",
        "Concatenate": "the branches joined",
        "Activation": "sigmoid",
    }
    return ", ".join(kinds.get(type(layer).__name__, type(layer).__name__) for layer in layers)


def _graph(network) -> dict[str, list[str]]:
    """Return the names of all layers, first to last, each with the names of its inputs.

    Batch normalisations and dropouts are skipped. Only a concatenation has several inputs; any
    other layer takes nothing but the shape from a second one.
    """
    graph: dict[str, list[str]] = {}
    source_of: dict[str, str] = {}
    for layer in network.layers:
        kind = type(layer).__name__
        tensors = [] if kind == "InputLayer" else layer.input
        tensors = tensors if isinstance(tensors, list) else [tensors]
        names = [source_of[tensor._keras_history.operation.name] for tensor in tensors]
        if kind in {"BatchNormalization", "Dropout"}:
            source_of[layer.name] = names[0]
        else:
            source_of[layer.name] = layer.name
            graph[layer.name] = names if kind == "Concatenate" else names[:1]
    return graph


def _layout(graph) -> tuple[dict[str, tuple[int, float]], int]:
    """Return the level and column of every layer, and the number of columns."""
    users = {name: [n for n, inputs in graph.items() if name in inputs] for name in graph}
    to_end: dict[str, int] = {}
    for name in reversed(graph):
        to_end[name] = 1 + max((to_end[user] for user in users[name]), default=-1)
    joined = next(inputs for inputs in graph.values() if len(inputs) > 1)
    column_of = {}
    for column, name in enumerate(joined):
        while len(users[name]) == 1 and graph[name]:
            column_of[name] = column
            (name,) = graph[name]
    last = max(to_end.values())
    middle = (len(joined) - 1) / 2
    return {name: (last - to_end[name], column_of.get(name, middle)) for name in graph}, len(joined)


def _describe(layer, largest_rate: int) -> tuple[str | tuple[float, ...], str]:
    """Return the colour of a layer's box and the text in it."""
    kind = type(layer).__name__
    if _is_conv(layer):
        rate = layer.dilation_rate[0]
        share = np.sqrt(rate / largest_rate)
        shares = np.subtract((0.9, 0.95, 0.98), np.multiply((0.36, 0.16, 0.05), share))
        colour = "#f4f6f8" if layer.kernel_size[0] == 1 else tuple(shares)
        kernel = "x".join(str(n) for n in layer.kernel_size) + (
            f", rate {rate}" if rate > 1 else ""
        )
        return colour, f"{kernel}\n{layer.filters} filter" + "s" * (layer.filters > 1)
    channels = layer.output.shape[-1]
    words = {
        "GlobalAveragePooling2D": "spatial\nmean",
        "RepeatOverImage": "repeated\nover image",
        "Concatenate": f"joined, {channels} channels",
        "Activation": getattr(getattr(layer, "activation", None), "__name__", ""),
    }.get(kind, f"{channels} channel" + "s" * (channels > 1))
    return "#fbe3b0" if kind in {"GlobalAveragePooling2D", "RepeatOverImage"} else "#ffffff", words


def _summary(network) -> str:
    """Return the numbers of layers and parameters and the receptive field, in three lines."""
    layers = network.layers
    convs = [layer for layer in layers if _is_conv(layer)]
    norms = [layer for layer in layers if type(layer).__name__ == "BatchNormalization"]
    dropouts = [layer for layer in layers if type(layer).__name__ == "Dropout"]
    relus = sum(layer.activation.__name__ == "relu" for layer in convs)
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    far = reach_px(network)[convs[-1].name]
    momentum = " or ".join(sorted({f"{layer.momentum:g}" for layer in norms}))
    dropout = " or ".join(sorted({f"{layer.rate:g}" for layer in dropouts}))
    return (
        f"{len(convs)} convolutions, {relus} of them with ReLU; {len(norms)} batch normalisations "
        f"(momentum {momentum}), each followed by dropout ({dropout})\n"
        f"{sum(layer.count_params() for layer in convs):,} parameters in the convolutions, "
        f"{trained:,} trained, {network.count_params():,} stored\n"
        f"every output pixel sees ±{far} pixels through the convolutions, "
        f"and the whole window through the global branch"
    )


def _connect(ax, start, places, order: float) -> None:
    """Draw arrows down to several places, with right angles; crossings show a gap."""
    for width, colour, above in ((3.5, "white", 0), (0.8, INK, 0.005)):
        for x, y in places:
            bend = y if x == start[0] else start[1] - 0.1
            xs, ys = [start[0], start[0], x, x], [start[1], bend, bend, y]
            ax.plot(xs, ys, color=colour, linewidth=width, zorder=order + above)
    for x, y in places:
        ax.plot(x, y + 0.025, "v", color=INK, markersize=3.5, zorder=3)


def _is_conv(layer) -> bool:
    return type(layer).__name__ == "Conv2D"


def _sample_window() -> np.ndarray:
    """Return the middle window of the sample scan."""
    scan = read_scan(bundled("data/sample/phantom_t2s.nii.gz"))
    grid = to_working_grid(scan.get_fdata(dtype=np.float32), scan.affine)
    cut = windows.cut(grid.data, windows.window_centres(grid), 200)
    return cut[len(cut) // 2]


def _canvas(width: float, height: float):
    """Return a white figure and axes in inches from its lower left corner."""
    figure = Figure(figsize=(width, height), facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return figure, ax
