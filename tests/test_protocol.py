"""Protocols: TOML files that say how to train."""

import pytest

from gmseg import InputError
from gmseg.protocol import load_protocol


def test_default_protocol_is_complete():
    """Every setting stands in the file: nothing is left to a default that nobody reads."""
    import dataclasses
    import tomllib

    from gmseg.bundled import bundled

    content = tomllib.loads(bundled("models/protocols/default.toml").read_text())
    protocol = load_protocol("default")
    assert protocol.network == content.pop("network")
    for section, values in content.items():
        stored = dataclasses.asdict(getattr(protocol, section))
        assert stored.keys() == values.keys()
        for key, value in values.items():
            assert stored[key] == (tuple(value) if isinstance(value, list) else value), key


def test_protocols_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no such protocol; known are default"):
        load_protocol("bogus")
    bad = tmp_path / "bad.toml"
    for text, fault in (
        ("[windows]\nbogus = 1\n", "has unknown bogus"),
        ("[bogus]\n", "unknown section bogus"),
        ("size = ", "is not TOML"),
        ("windows = 5\n", "windows is no section"),
        ("[windows]\nsize = 300\n", "size = 300 cannot be used"),
        ("[windows]\nbatch = 0\n", "batch = 0 cannot be used"),
        ("[windows]\nsmall_field_mm = 3\n", "small_field_mm = 3 cannot be used"),
        ("[augmentation]\nelastic_smooth_mm = [0, 0]\n", r"= \[0, 0\] cannot be used"),
        ("[augmentation]\nrotation_deg = -1\n", "cannot be used"),
        ("[loss]\ncross_entropy = 7\n", "cross_entropy = 7 cannot be used"),
        ("[optimiser]\nrate = nan\n", "rate = nan cannot be used"),
        ("[optimiser]\nsteps = 'a'\n", "cannot be used"),
        ("[network]\nfilters = '32'\n", "no network that can be built"),
        ("[phantoms]\nshare = 0.5\n", "share needs a count"),
    ):
        bad.write_text(text)
        with pytest.raises(InputError, match=fault):
            load_protocol(bad)
