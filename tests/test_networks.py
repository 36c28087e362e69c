"""From a card's network entry to a network, and back."""

import pytest

from gmseg import InputError
from gmseg.network import NetworkSizes
from gmseg.networks import build, network_entry, network_sizes, sizes_fit
from gmseg.protocol import protocol_of
from gmseg.unet import UNetSizes


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        (NetworkSizes(filters=4, dilation_rates=(6, 12), dropout=0.0), "gmseg"),
        (UNetSizes(widths=(4, 6), dropout=0.0), "unet"),
    ],
)
def test_there_and_back(sizes, name):
    entry = network_entry(sizes)
    assert sizes_fit(entry)
    assert network_sizes(entry) == sizes
    assert build(sizes).name == name


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "transformer"}, {"kind": "unet", "filters": 32}, {"widths": [4, 6]},
        {"kind": "unet", "widths": []}, {"kind": "unet", "widths": [0, 4]},
        {"kind": "unet", "widths": [4, 4.5]}, {"kind": "unet", "dropout": 1.0},
        {"filters": 0}, {"filters": True}, {"dilation_rates": [6, 6]}, {"dropout": float("nan")},
        {"dilation_rates": [1]}, [], None,
    ],
)  # fmt: skip
def test_nonsense_is_no_network(entry):
    assert not sizes_fit(entry)


def test_windows_that_a_unet_cannot_halve_are_refused():
    sections = {"network": {"kind": "unet"}, "windows": {"size": 84}}
    with pytest.raises(InputError, match="size must be a multiple of 8"):
        protocol_of("p", sections)
    protocol_of("p", sections | {"network": {"kind": "unet", "widths": [4, 6, 8]}})
    protocol_of("p", {"windows": {"size": 85}})
