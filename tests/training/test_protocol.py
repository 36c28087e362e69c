"""Protocols: TOML files with the settings of a training run."""

import dataclasses
import tomllib

import pytest

from gmseg import InputError
from gmseg.io.resources import bundled
from gmseg.training.protocol import load_protocol, shortened


def test_default_protocol_is_complete():
    """The file gives every setting; none is left to a default in the code."""
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
        ("windows = 5\n", "windows is not a section"),
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
        ("[windows]\ncentre = 'left'\n", "centre = 'left' cannot be used"),
        ("[windows]\nstandardise = 1\n", "standardise = 1 cannot be used"),
        ("[windows]\nspacing_mm = 0\n", "spacing_mm = 0 cannot be used"),
        ("[windows]\nspacing_mm = 3.0\n", "spacing_mm = 3.0 cannot be used"),
        ("[loss]\ncalibrate = 1\n", "calibrate = 1 cannot be used"),
        ("[optimiser]\nepoch = 0\n", "epoch = 0 cannot be used"),
        ("[template]\ncontrast = [0.5, 0.1]\n", r"contrast = \[0.5, 0.1\] cannot be used"),
    ):
        bad.write_text(text)
        with pytest.raises(InputError, match=fault):
            load_protocol(bad)


def test_the_protocol_of_the_paper():
    """The values that PAPER.md gives, each with its mark in the file."""
    paper = load_protocol("paper2018")
    assert paper.network == {
        "filters": 32,
        "dilation_rates": [6, 12, 18, 24],
        "dropout": 0.4,
        "batchnorm_momentum": 0.1,
    }
    assert (paper.windows.size, paper.windows.batch, paper.windows.centre) == (200, 11, "image")
    assert (paper.optimiser.rate, paper.optimiser.power) == (0.001, 0.9)
    assert paper.optimiser.steps == 1000 * paper.optimiser.epoch == 1000 * 32
    assert (paper.loss.cross_entropy, paper.loss.calibrate) == (0, False)
    assert (paper.phantoms.share, paper.template.share, paper.optimiser.average) == (0, 0, 0)
    exvivo = load_protocol("exvivo")
    assert (exvivo.windows.spacing_mm, exvivo.optimiser.steps) == (0.1, 600 * 32)
    assert exvivo.augmentation == paper.augmentation
    for name in ("paper2018", "exvivo"):
        lines = (bundled("models/protocols") / f"{name}.toml").read_text().splitlines()
        values = [line for line in lines if "=" in line and not line.startswith("#")]
        marks = ("[code]", "[paper]", "[recalled]", "[ours]", " = 0.0", " = false")
        assert not [line for line in values if not any(mark in line for mark in marks)]


def test_a_shortened_protocol_differs_in_length_and_windows():
    paper = load_protocol("paper2018")
    assert shortened(paper, None, batch=2, size=64) is paper
    trial = shortened(paper, 4000, batch=2, size=64)
    assert (trial.windows.batch, trial.windows.size) == (2, 64)
    assert (trial.optimiser.steps, trial.optimiser.validate_every) == (4000, 1000)
    assert trial.optimiser.steps / trial.optimiser.epoch == 1000  # the rate falls in the same way
    back = dataclasses.replace(
        trial, name=paper.name, windows=paper.windows, optimiser=paper.optimiser
    )
    assert back == paper
    shortest = shortened(paper, 1, batch=1, size=16).optimiser
    assert (shortest.steps, shortest.epoch, shortest.validate_every) == (1, 1, 1)
    for wrong in ({"steps": 0}, {"batch": 0}, {"size": 201}, {"steps": 2.5}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} = .* cannot be used"):
            shortened(paper, **{"steps": 3, "batch": 2, "size": 64} | wrong)
