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
from gmseg.report.panels import INK, axes_at

_BLUE = "#0072b2"
_WORDS: dict = {"size": 10.5, "color": INK}
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
    cells, rows = _layout(graph)
    columns = [[n for n in graph if cells[n][0] == c] for c in range(1 + cells[[*graph][-1]][0])]
    forks = [any(sum(n in used for used in graph.values()) > 1 for n in c) for c in columns]
    widths = [1.0 if any(_is_conv(layers[n]) for n in c) else 0.8 for c in columns]
    gaps = [0.4 if fork else 0.14 for fork in forks]
    lefts = 0.15 + np.cumsum([0, *(np.array(widths) + gaps)])
    pitch, high, foot = 0.86, 0.68, 0.98
    figure, ax = _canvas(lefts[-1] - gaps[-1] + 0.15, foot + rows * pitch)
    rates = [layer.dilation_rate[0] for layer in layers.values() if _is_conv(layer)]
    middles = {name: foot + (rows - row - 0.5) * pitch for name, (_, row) in cells.items()}
    ends: dict[str, list] = {name: [] for name in graph}
    for name, inputs in graph.items():
        left, wide, middle = lefts[cells[name][0]], widths[cells[name][0]], middles[name]
        joins = len(inputs) > 1
        for source in inputs:
            ends[source].append((left, middles[source] if joins else middle))
        tall = (rows - 1) * pitch + high if joins else high
        colour, words = _describe(layers[name], max(rates))
        box = FancyBboxPatch((left, middle - tall / 2), wide, tall, fc=colour, ec=INK, zorder=3)
        box.set_boxstyle("round", pad=0, rounding_size=0.06)
        ax.add_patch(box)
        centred = {"color": INK, "ha": "center", "va": "center", "zorder": 4}
        above = 0.03 + 0.085 * (1 + words.count("\n"))
        ax.text(left + wide / 2, middle + above, name, size=8.5, style="italic", **centred)
        ax.text(left + wide / 2, middle - 0.1, words, size=10, **centred)
    for order, (name, places) in enumerate(ends.items()):
        column = cells[name][0]
        _connect(ax, (lefts[column] + widths[column], middles[name]), places, 1 + order / 100)
    ax.text(0.15, 0.15, _summary(network), size=10.5, color=INK, linespacing=1.6)
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
    figure, ax = _canvas(10.4, 4.9)
    _draw_rates(figure, ax, rates)
    ax.text(0.2, 2.28, "Nine weights each, at every rate.", **_WORDS)
    ax.text(0.2, 1.96, "Receptive field of the branches of the network:", **_WORDS)

    rows, columns = window.shape
    shown = axes_at(figure, "window", 6.1, 0.35, 4.15, 4.15)
    shown.imshow(window.T, cmap="gray", origin="lower", vmax=np.percentile(window, 99.5))
    ax.text(6.1, 4.6, f"a window of {rows} x {columns} pixels", **_WORDS)
    reach = reach_px(network)
    joined = next(inputs for inputs in _graph(network).values() if len(inputs) > 1)
    joined = sorted(joined, key=lambda name: np.inf if (far := reach[name]) is None else far)
    for i, name in enumerate(joined):
        y, far = 1.65 - i * 1.5 / len(joined), reach[name]
        colour = "white" if far is None else _LEVELS[i % len(_LEVELS)]
        ax.add_patch(Rectangle((0.25, y - 0.07), 0.3, 0.14, fc=colour, ec=INK, lw=0.8))
        ax.text(0.7, y, name, va="center", **_WORDS)
        text = "the whole window" if far is None else f"±{far} pixels"
        ax.text(2.2, y, text, va="center", **_WORDS)
        if far is not None:
            corner = (rows // 2 - far - 0.5, columns // 2 - far - 0.5)
            side = 2 * far + 1
            shown.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=1.8))
    return figure


def _draw_rates(figure, ax, rates) -> None:
    """Draw the taps of a 3 x 3 convolution at every dilation rate."""
    cells = 2 * max(rates) + 1
    for i, rate in enumerate(rates):
        taps = max(rates) + rate * np.array([-1, 0, 1])
        weights = np.zeros((cells, cells))
        weights[np.ix_(taps, taps)] = 1
        left, side = 0.2 + i * 5.7 / len(rates), 5.7 / len(rates) - 0.15
        grid = axes_at(figure, f"rate {rate}", left, 4.5 - side, side, side)
        colours = ListedColormap(["#e8edf2", _BLUE])
        grid.pcolormesh(weights, cmap=colours, edgecolors="white", linewidth=0.8)
        grid.spines[:].set_visible(False)
        ax.text(left, 4.6, f"rate {rate}: {2 * rate + 1} x {2 * rate + 1} pixels", **_WORDS)


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
    """Return the column and row of every layer, and the number of rows."""
    users = {name: [n for n, inputs in graph.items() if name in inputs] for name in graph}
    to_end: dict[str, int] = {}
    for name in reversed(graph):
        to_end[name] = 1 + max((to_end[user] for user in users[name]), default=-1)
    joined = next(inputs for inputs in graph.values() if len(inputs) > 1)
    row_of = {}
    for row, name in enumerate(joined):
        while len(users[name]) == 1 and graph[name]:
            row_of[name] = row
            (name,) = graph[name]
    last = max(to_end.values())
    middle = (len(joined) - 1) / 2
    return {name: (last - to_end[name], row_of.get(name, middle)) for name in graph}, len(joined)


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
        "Concatenate": f"joined,\n{channels}\nchannels",
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
    """Draw arrows from a start to several places, with right angles; crossings show a gap."""
    for width, colour, above in ((5, "white", 0), (1.2, INK, 0.005)):
        for x, y in places:
            bend = x if y == start[1] else start[0] + 0.2
            xs, ys = [start[0], bend, bend, x], [start[1], start[1], y, y]
            ax.plot(xs, ys, color=colour, linewidth=width, zorder=order + above)
    for x, y in places:
        ax.plot(x - 0.04, y, ">", color=INK, markersize=5, zorder=3)


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
