"""The network: sizes, names, shapes."""

import numpy as np
import pytest

from gmseg.models.backend import import_keras

keras = import_keras()
from gmseg.core.network import NetworkSizes, build_network, logits_of  # noqa: E402


@pytest.fixture(scope="module")
def network():
    return build_network()


def _layers(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


@pytest.mark.parametrize(
    ("filters", "convolutions", "trainable", "stored"),
    [(32, 124_769, 126_177, 127_585), (64, 472_641, 475_329, 478_017)],
)
def test_parameter_counts_are_those_of_the_paper(filters, convolutions, trainable, stored):
    network = build_network(NetworkSizes(filters=filters))
    assert sum(la.count_params() for la in _layers(network, keras.layers.Conv2D)) == convolutions
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == trainable
    assert network.count_params() == stored


def test_layer_names_do_not_depend_on_earlier_networks(network):
    names = [layer.name for layer in network.layers]
    # automatic names end in a running number
    assert names == [layer.name for layer in build_network().layers]
    assert {"stem_1", "rate2_2", "branch1x1_1", "rate24_2", "global_branch", "logits"} <= set(names)


def test_structure_is_that_of_the_paper(network):
    convolutions = {la.name: la for la in _layers(network, keras.layers.Conv2D)}
    assert len(convolutions) == 16
    for rate in (2, 6, 12, 18, 24):
        for i in (1, 2):
            assert convolutions[f"rate{rate}_{i}"].dilation_rate == (rate, rate)
    norms = _layers(network, keras.layers.BatchNormalization)
    assert len(norms) == 16
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.1, 1e-3)}
    dropouts = _layers(network, keras.layers.Dropout)
    assert {(dropout.rate, dropout.noise_shape) for dropout in dropouts} == {(0.4, None)}
    assert network.get_layer("global_mean").input is network.get_layer("stem_2_dropout").output
    branches = network.get_layer("branches").input
    assert [tensor._keras_history.operation.name for tensor in branches] == [
        "branch1x1_2_dropout",
        "rate6_2_dropout",
        "rate12_2_dropout",
        "rate18_2_dropout",
        "global_branch",
        "rate24_2_dropout",
    ]


@pytest.mark.parametrize("shape", [(200, 200), (37, 64)])
def test_any_height_and_width(network, shape):
    windows = np.random.default_rng(0).standard_normal((2, *shape, 1)).astype(np.float32)
    soft = np.asarray(network.predict_on_batch(windows))
    assert soft.shape == windows.shape
    assert ((soft > 0) & (soft < 1)).all()
    logits = np.asarray(logits_of(network).predict_on_batch(windows))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), soft, atol=1e-6)


def test_logits_share_the_weights_in_their_order(network):
    for weight, shared in zip(network.weights, logits_of(network).weights, strict=True):
        assert weight is shared
