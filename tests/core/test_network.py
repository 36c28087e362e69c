"""The network: sizes, names, shapes."""

import numpy as np
import pytest

from gmseg.models.backend import import_keras

keras = import_keras()
from gmseg.core.network import NetworkSizes, build_network, logits_of  # noqa: E402


def _counts(network):
    def total(weights):
        return sum(int(np.prod(w.shape)) for w in weights)

    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    stored = [w for layer in network.layers for w in layer.weights]
    return (
        total(w for layer in convolutions for w in layer.weights),
        total(network.trainable_weights),
        total(stored),
    )


@pytest.mark.parametrize(
    ("filters", "counts"), [(32, (124_769, 126_177, 127_585)), (64, (472_641, 475_329, 478_017))]
)
def test_parameter_counts_are_those_of_the_paper(filters, counts):
    assert _counts(build_network(NetworkSizes(filters=filters))) == counts


def test_every_layer_is_named():
    names = [layer.name for layer in build_network().layers]
    # automatic names end in a running number that depends on what was built before
    assert names == [layer.name for layer in build_network().layers]
    assert {"stem_1", "rate2_2", "branch1x1_1", "rate24_2", "global_branch", "logits"} <= set(names)


def test_structure_is_that_of_the_paper():
    network = build_network()
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 16
    rates = {layer.name: layer.dilation_rate[0] for layer in convolutions}
    assert [rates[f"rate{r}_{i}"] for r in (2, 6, 12, 18, 24) for i in (1, 2)] == [
        2,
        2,
        6,
        6,
        12,
        12,
        18,
        18,
        24,
        24,
    ]
    norms = [la for la in network.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert len(norms) == 16
    assert {n.momentum for n in norms} == {0.1}
    assert {n.epsilon for n in norms} == {1e-3}
    dropouts = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert {(d.rate, d.noise_shape) for d in dropouts} == {(0.4, None)}
    assert network.get_layer("global_mean").input is network.get_layer("stem_2_dropout").output
    branches = [
        tensor._keras_history.operation.name for tensor in network.get_layer("branches").input
    ]
    assert branches == [
        "branch1x1_2_dropout",
        "rate6_2_dropout",
        "rate12_2_dropout",
        "rate18_2_dropout",
        "global_branch",
        "rate24_2_dropout",
    ]


@pytest.mark.parametrize("shape", [(200, 200), (37, 64)])
def test_any_height_and_width(shape):
    windows = np.random.default_rng(0).standard_normal((2, *shape, 1)).astype(np.float32)
    network = build_network()
    soft = np.asarray(network.predict_on_batch(windows))
    assert soft.shape == windows.shape
    assert ((soft > 0) & (soft < 1)).all()
    logits = np.asarray(logits_of(network).predict_on_batch(windows))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), soft, atol=1e-6)


def test_up_to_the_logits_the_weights_keep_their_order():
    network = build_network(NetworkSizes(filters=2, dilation_rates=(3, 6)))
    for one, other in zip(network.weights, logits_of(network).weights, strict=True):
        assert one is other
