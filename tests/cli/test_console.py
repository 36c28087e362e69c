"""Messages: parameters become flags, and every message is one line."""

import logging

import pytest

from gmseg.cli import console
from gmseg.errors import InputError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("set `overwrite=True` to replace it", "set --overwrite to replace it"),
        ("use `standardise='volume'`", "use --standardise volume"),
        ('`scheduler="tcp://a:1"`: no answer', "--scheduler tcp://a:1: no answer"),
        ("choose one with `volume=k`", "choose one with --volume K"),
        ("`volume=3` is not one of them", "--volume 3 is not one of them"),
        ("give `centre=(x, y)`", "give --centre X,Y"),
        ("give `within_cord`", "give --within-cord"),
        ("another `output` or `start`", "another -o or --from"),
        ("`participants` and `sessions`", "--participant-label and --session"),
        ("a file `t2s.nii`, and `10`", "a file `t2s.nii`, and `10`"),  # no parameters
    ],
)
def test_parameters_become_flags(message, shown):
    assert console.with_flags(message) == shown


def test_messages_are_one_line_on_standard_error(capsys):
    assert console.fail("a.nii: bad\nthing; set `mean=True`") == 2
    console.warn("look\r\nhere")
    console.note("so")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "gmseg: error: a.nii: bad thing; set --mean",
        "gmseg: warning: look here",
        "gmseg: so",
    ]


HOSTILE = "t2s\x1b[2J\x9b31m\u202e\x00\r.nii"
SHOWN = r"t2s\x1b[2J\x9b31m\u202e\x00"


def test_control_characters_do_not_reach_the_terminal(capsys):
    console.say(HOSTILE, "second line")
    console.fail(HOSTILE)
    out, err = capsys.readouterr()
    assert out == f"{SHOWN} .nii\nsecond line\n"
    assert err == f"gmseg: error: {SHOWN} .nii\n"


def test_verbose_output_has_no_control_characters(capsys, monkeypatch):
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(console, "_verbosity", console._verbosity)
    level = logger.level
    try:
        console.set_verbosity(verbose=True)
        logging.getLogger("gmseg").warning("read %s", HOSTILE)
        console.fail(InputError(HOSTILE))
    finally:
        logger.setLevel(level)
    err = capsys.readouterr().err
    assert err.count(r"\x1b") == 3  # the log, the traceback, the message
    assert all(line.isprintable() for line in err.splitlines())
