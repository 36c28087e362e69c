"""From the network entry of a card to a network, and back."""

import pytest

from gmseg import InputError
from gmseg.core.network import NetworkSizes
from gmseg.models.factory import build, multiply_adds, network_entry, network_sizes, sizes_fit
from gmseg.models.unet import UNetSizes
from gmseg.training.protocol import protocol_of


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        (NetworkSizes(filters=4, dilation_rates=(6, 12), dropout=0.0), "gmseg"),
        (UNetSizes(widths=(4, 6), dropout=0.0), "unet"),
    ],
)
def test_sizes_to_entry_and_back(sizes, name):
    entry = network_entry(sizes)
    assert sizes_fit(entry)
    assert network_sizes(entry) == sizes
    assert build(sizes).name == name


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "transformer"},
        {"kind": "unet", "filters": 32},
        {"widths": [4, 6]},
        {"kind": "unet", "widths": []},
        {"kind": "unet", "widths": [0, 4]},
        {"kind": "unet", "widths": [4, 4.5]},
        {"kind": "unet", "dropout": 1.0},
        {"filters": 0},
        {"filters": True},
        {"dilation_rates": [6, 6]},
        {"dropout": float("nan")},
        {"dilation_rates": [1]},
        [],
        None,
    ],
)
def test_entries_that_describe_no_network(entry):
    assert not sizes_fit(entry)


def test_windows_that_a_unet_cannot_halve_are_refused():
    sections = {"network": {"kind": "unet"}, "windows": {"size": 84}}
    with pytest.raises(InputError, match="size must be a multiple of 8"):
        protocol_of("p", sections)
    protocol_of("p", sections | {"network": {"kind": "unet", "widths": [4, 6, 8]}})
    protocol_of("p", {"windows": {"size": 85}})


def test_multiply_adds_of_the_papers_network():
    assert multiply_adds(build(network_sizes({})), 200, 200) == pytest.approx(4.97e9, rel=2e-3)


def test_multiply_adds_of_a_unet_counted_by_hand():
    network = build(network_sizes({"kind": "unet", "widths": [2, 3]}))
    whole, half = 16 * 8, 8 * 4
    down, bottom = 9 * (1 * 2 + 2 * 2), 9 * 2 * 3
    rise, up, last = 3 * 2, 9 * (4 * 2 + 2 * 2), 2
    assert multiply_adds(network, 16, 8) == whole * (down + rise + up + last) + half * bottom
