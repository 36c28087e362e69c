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
    ):
        bad.write_text(text)
        with pytest.raises(InputError, match=fault):
            load_protocol(bad)
