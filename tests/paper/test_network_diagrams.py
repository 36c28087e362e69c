"""Diagrams show the network as it is built."""

from itertools import combinations

import numpy as np
import pytest
from drawings import texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch, Rectangle

from gmseg.models.backend import import_keras
from gmseg.paper.network_diagrams import (
    as_markdown,
    draw_architecture,
    draw_receptive_field,
    reach_px,
)


@pytest.fixture(scope="module")
def core():
    import_keras()
    from gmseg.core import network

    return network


def test_architecture_of_the_papers_network(core):
    words = " ".join(texts(draw_architecture(core.build_network())))
    for rate in (2, 6, 12, 18, 24):
        assert words.count(f"3x3, rate {rate}\n32 filters") == 2
    assert words.count("1x1\n") == 3
    for fact in ("124,769", "126,177", "127,585", "192 channels", "momentum 0.1", "(0.4)", "±54"):
        assert fact in words


def test_architecture_of_another_network(core):
    sizes = core.NetworkSizes(64, (4, 8), dropout=0.25, batchnorm_momentum=0.9)
    network = core.build_network(sizes)
    words = " ".join(texts(draw_architecture(network)))
    for fact in ("rate 4\n64 filters", "rate 8\n64 filters", "256 channels", "±22", "0.9", "0.25"):
        assert fact in words
    assert f"{network.count_params():,} stored" in words
    assert "rate 24" not in words
    assert "32 filters" not in words


@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (4, 8)])
def test_boxes_contain_their_texts_and_lines_join_connected_layers(core, rates):
    figure = draw_architecture(core.build_network(core.NetworkSizes(dilation_rates=rates)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    (ax,) = figure.axes
    boxes = [p.get_window_extent(renderer) for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    *labels, summary = ax.texts
    box_of = {}
    for name, words, box in zip(labels[::2], labels[1::2], boxes, strict=True):
        extents = [text.get_window_extent(renderer) for text in (name, words)]
        assert not extents[0].overlaps(extents[1])
        for extent in extents:
            assert box.x0 < extent.x0 < extent.x1 < box.x1
            assert box.y0 < extent.y0 < extent.y1 < box.y1
        box_of[name.get_text()] = box
    assert summary.get_window_extent(renderer).x1 < figure.bbox.x1
    joined = set()
    for line in ax.get_lines():
        if len(line.get_xdata()) > 1:
            path = line.get_transform().transform(line.get_xydata())
            ends = [
                next(n for n, b in box_of.items() if b.padded(1).contains(*path[end]))
                for end in (0, -1)
            ]
            joined.add(tuple(ends))
    assert ("stem_2", "global_mean") in joined
    assert ("global_mean", "global_branch") in joined
    for rate in rates:
        assert ("rate2_2", f"rate{rate}_1") in joined
        assert (f"rate{rate}_2", "branches") in joined
    assert len(joined) == 10 + 3 * (len(rates) + 1)


def test_reach_is_the_distance_at_which_a_changed_pixel_matters(core):
    network = core.build_network(core.NetworkSizes(filters=8, dilation_rates=(3, 5)))
    reach = reach_px(network)
    assert reach["global_branch"] is None
    assert reach["logits"] == reach["rate5_2"] == 16
    keras = import_keras()
    for name in ("stem_2", "branch1x1_2", "rate3_2", "rate5_2"):
        part = keras.Model(network.input, network.get_layer(name).output)
        windows = np.random.default_rng(0).normal(0, 1, (1, 41, 41, 1)).astype(np.float32)
        touched = windows.copy()
        touched[0, 20, 20] += 30
        change = np.asarray(part(touched)) - np.asarray(part(windows))
        changed = np.abs(np.argwhere(np.abs(change).max(axis=(0, 3)) > 1e-7) - 20)
        assert changed.max() == reach[name], name


def test_receptive_fields_are_drawn_to_scale(core):
    figure = draw_receptive_field(core.build_network(), rates=(1, 3))
    shown = next(ax for ax in figure.axes if ax.get_label() == "window")
    sides = [p.get_width() for p in shown.patches if isinstance(p, Rectangle)]
    assert sides == [15, 37, 61, 85, 109]
    assert {"±54 pixels", "the whole window", "rate 3: 7 x 7 pixels"} <= set(texts(figure))


@pytest.mark.parametrize("outputs", [1, 2])
def test_table_of_parts_counts_every_parameter_once(core, outputs):
    network = core.build_network(core.NetworkSizes(outputs=outputs))
    rows = [line.strip("| ").split(" | ") for line in as_markdown(network).splitlines()]
    counts = [int(row[-1].replace("*", "").replace(",", "")) for row in rows[2:]]
    assert sum(counts[:-1]) == counts[-1] == network.count_params()
    assert len(rows) < 20  # one screen
    assert ["rate24", "2 convolutions 3x3, rate 24", "±54", "18,752"] in rows
    assert ["global", "spatial mean, repeated over the image", "the whole window", "0"] in rows
