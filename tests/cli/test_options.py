"""A signature as a command's options: what is parsed, refused and shown."""

from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import pytest

from gmseg.cli import main, models
from gmseg.cli.options import Argument, Option, UsageError, help_of_commands, parse, unknown


class Way(StrEnum):
    left = "left"
    right = "to-the-right"


def many(
    files: Annotated[list[Path], Argument(metavar="FILE...", help="What is read.")],
    output: Annotated[Path | None, Option("-o", "--output", metavar="OUT", help="A file.")] = None,
    model: Annotated[str, Option(help="Which one.")] = "default",
    threshold: Annotated[float | None, Option(metavar="T", help="0-1. [default: 0.5]")] = None,
    count: Annotated[int, Option("-n", "--count", min=0, max=9, help="100% sure.")] = 0,
    at_least: Annotated[float, Option(min=1)] = 1.0,
    at_most: Annotated[float | None, Option(max=2)] = None,
    way: Annotated[Way | None, Option(help="Where to.")] = None,
    other: Annotated[Way, Option(metavar="WHERE")] = Way.right,
    soft: Annotated[bool, Option("--soft", help="Softly.")] = False,
    label: Annotated[list[str] | None, Option("--label", "--label_too", metavar="L...")] = None,
):
    """Do what is wanted.

    A second paragraph, which is
    of two lines in the code.
    """


def one(
    first: Annotated[Path, Argument()],
    second: Annotated[Way, Argument(metavar="WAY")],
    out_dir: Annotated[Path, Option()],
    levels: Annotated[list[int] | None, Option("--level", max=99)] = None,
):
    """Take two words."""


def of(function, *words):
    return parse(function, "gmseg it", words)


def fault(function, *words):
    with pytest.raises(UsageError) as caught:
        of(function, *words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--model", "x"], {"model": "x"}),
        (["--model", "x", "--model", "y"], {"model": "y"}),
        (["--model="], {"model": ""}),
        (["--model=a=b c"], {"model": "a=b c"}),
        (["--output", "o.nii"], {"output": Path("o.nii")}),
        (["-o", "o.nii"], {"output": Path("o.nii")}),
        (["-oo=.nii"], {"output": Path("o=.nii")}),
        (["--threshold", "0.25"], {"threshold": 0.25}),
        (["--count", "7"], {"count": 7}),
        (["-n7"], {"count": 7}),
        (["--at-least", "1e3", "--at-most", "-4"], {"at_least": 1000.0, "at_most": -4.0}),
        (["--way", "to-the-right"], {"way": Way.right}),
        (["--soft"], {"soft": True}),
        (["--label", "a"], {"label": ["a"]}),
        (["--label", "a", "--label_too", "b", "--label=c"], {"label": ["a", "b", "c"]}),
    ],
)
def test_options_of_every_type(words, given):
    found = of(many, "f", *words)
    assert found == {"files": [Path("f")]} | given
    assert {name: type(value) for name, value in found.items()} == {"files": list} | {
        name: type(value) for name, value in given.items()
    }


def test_arguments_of_every_kind():
    assert of(one, "a", "left", "--out-dir", "d") == {
        "first": Path("a"),
        "second": Way.left,
        "out_dir": Path("d"),
    }
    assert of(many, "a", "b", "-")["files"] == [Path("a"), Path("b"), Path("-")]


def test_a_function_without_options():
    assert of(lambda: None) == {}
    assert "extra argument(s) (a b)" in fault(lambda: None, "a", "b")


@pytest.mark.parametrize("value", ["-2.5,-31", "-x.nii.gz", "--soft", "--help", "--", "-", ""])
def test_a_value_is_the_next_word_whatever_it_is(value):
    assert of(many, "f", "--model", value) == {"files": [Path("f")], "model": value}
    assert of(many, "--label", value, "f") == {"files": [Path("f")], "label": [value]}
    assert of(many, "-o", value, "f")["output"] == Path(value)


def test_options_stand_anywhere():
    wanted = {"files": [Path("a"), Path("b"), Path("c")], "soft": True, "model": "m"}
    for words in (
        "--soft a --model m b c",
        "a --soft b c --model m",
        "a b c --model=m --soft",
        "--model m a b --soft c",
    ):
        assert of(many, *words.split()) == wanted, words
    for words in ("a --out-dir d left", "--out-dir d a left", "a left --out-dir=d"):
        assert of(one, *words.split())["second"] == Way.left, words


def test_two_dashes_end_the_options():
    assert of(many, "a", "--", "--soft", "-x")["files"] == [Path("a"), Path("--soft"), Path("-x")]
    assert of(many, "--soft", "--", "a") == {"files": [Path("a")], "soft": True}
    assert of(one, "--out-dir", "d", "a", "--", "left")["second"] == Way.left
    assert "Missing argument 'FILE...'" in fault(many, "--")
    assert of(one, "--out-dir", "d", "--", "--", "left")["first"] == Path("--")


def test_several_values_once_the_arguments_are_there():
    assert of(one, "a", "left", "--out-dir", "d", "--level", "1", "2", "3")["levels"] == [1, 2, 3]
    assert of(one, "a", "left", "--level", "1", "2", "--out-dir", "d")["levels"] == [1, 2]
    assert of(one, "--level", "1", "a", "left", "--out-dir", "d")["levels"] == [1]
    assert of(one, "a", "--level", "1", "left", "--out-dir", "d")["levels"] == [1]
    for words in (
        "a left --level 1 --out-dir d 2",
        "a left --level=1 2 --out-dir d",
        "--level 1 a left 2 --out-dir d",
        "a left --level 1 --out-dir d -- 2",
    ):
        assert "unexpected extra argument(s) (2)" in fault(one, *words.split()), words
    assert "'--level': 'x' is not a whole number" in fault(
        one, "a", "left", "--out-dir", "d", "--level", "1", "x"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "Missing argument 'FILE...'"),
        ("f --threshold much", "Invalid value for '--threshold': 'much' is not a number"),
        ("f --count 1.5", "Invalid value for '-n/--count': '1.5' is not a whole number"),
        ("f --count -1", "Invalid value for '-n/--count': -1 is not in 0<=x<=9"),
        ("f --count 10", "Invalid value for '-n/--count': 10 is not in 0<=x<=9"),
        ("f --at-least 0.9", "Invalid value for '--at-least': 0.9 is not in x>=1"),
        ("f --at-least nan", "Invalid value for '--at-least': nan is not in x>=1"),
        ("f --at-most 2.1", "Invalid value for '--at-most': 2.1 is not in x<=2"),
        ("f --way up", "Invalid value for '--way': 'up' is not one of 'left', 'to-the-right'"),
        (
            "f --way right",
            "Invalid value for '--way': 'right' is not one of 'left', 'to-the-right'",
        ),
        ("f --model", "Option '--model' requires an argument"),
        ("f -o", "Option '-o' requires an argument"),
        ("f --soft=1", "Option '--soft' does not take a value"),
        ("f --bogus", "No such option '--bogus'"),
        ("f --bogus=1 --help", "No such option '--bogus'"),
        ("f --modle x", "No such option '--modle'; did you mean '--model'?"),
        ("f --mod x", "No such option '--mod'; did you mean '--model'?"),  # never an abbreviation
        ("f -x", "No such option '-x'"),
        ("f -2.5", "No such option '-2'"),
    ],
)
def test_what_is_refused(words, says):
    assert fault(many, *words.split()) == says


def test_what_is_required():
    assert fault(one) == "Missing argument 'FIRST'"
    assert fault(one, "a") == "Missing argument 'WAY'"
    assert fault(one, "a", "left") == "Missing option '--out-dir OUT_DIR'"
    assert fault(one, "a", "up", "--out-dir", "d") == (
        "Invalid value for 'WAY': 'up' is not one of 'left', 'to-the-right'"
    )
    assert fault(one, "a", "left", "b", "--out-dir", "d") == (
        "Got unexpected extra argument(s) (b)"
    )


def test_one_call_leaves_nothing_to_the_next():
    assert of(many, "f", "--label", "a", "--soft")["label"] == ["a"]
    assert fault(many, "f", "--way", "up")
    assert of(many, "g", "--label", "b") == {"files": [Path("g")], "label": ["b"]}


def help_text(capsys, function, monkeypatch, *words, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert of(function, *words, "--help") is None
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_help(capsys, monkeypatch):
    lines = help_text(capsys, many, monkeypatch, columns=90).splitlines()
    assert lines[:5] == [
        "Usage: gmseg it [OPTIONS] FILE...",
        "",
        "Do what is wanted.",
        "",
        "A second paragraph, which is of two lines in the code.",
    ]
    told = [" ".join(line.split()) for line in lines[6:]]
    assert told == [
        "Arguments:",
        "FILE... What is read. [required]",
        "",
        "Options:",
        "-o, --output OUT A file.",
        "--model MODEL Which one. [default: default]",
        "--threshold T 0-1. [default: 0.5]",
        "-n, --count COUNT 100% sure. [default: 0; 0<=x<=9]",
        "--at-least AT_LEAST [default: 1.0; x>=1]",
        "--at-most AT_MOST [x<=2]",
        "--way left|to-the-right Where to.",
        "--other WHERE [default: to-the-right]",
        "--soft Softly.",
        "--label, --label_too L...",
        "--help Show this message and exit.",
    ]


def test_the_help_of_what_is_required(capsys, monkeypatch):
    text = help_text(capsys, one, monkeypatch)
    assert text.startswith("Usage: gmseg it [OPTIONS] FIRST WAY\n\nTake two words.\n")
    assert "  --out-dir OUT_DIR  [required]\n" in text


def test_the_help_is_as_wide_as_the_terminal(capsys, monkeypatch):
    for columns in (50, 120):
        text = help_text(capsys, many, monkeypatch, columns=columns)
        assert max(map(len, text.splitlines())) <= columns
        assert ("which is of two lines in the code." in text) == (columns == 120)


def test_help_is_shown_in_spite_of_other_faults(capsys, monkeypatch):
    for words in ([], ["f", "--count", "x"], ["--way", "up"]):
        assert help_text(capsys, many, monkeypatch, *words).startswith("Usage: ")


def test_the_help_of_commands(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = {"segment": "One line.", "list": "50% of them."}
    assert help_of_commands("gmseg", "About it.", {"--version": "Tell it."}, lines) == (
        "Usage: gmseg [OPTIONS] COMMAND [ARGS]...\n\n"
        "About it.\n\n"
        "Options:\n"
        "  --version  Tell it.\n"
        "  --help     Show this message and exit.\n\n"
        "Commands:\n"
        "  segment    One line.\n"
        "  list       50% of them.\n"
    )


def test_something_similar_is_named():
    known = {"segment": 1, "measure": 2}
    assert str(unknown("command", "segmnt", known)) == (
        "No such command 'segmnt'; did you mean 'segment'?"
    )
    assert str(unknown("command", "zzz", known)) == "No such command 'zzz'"


# -------------------------------------------------------------------- gmseg's own commands


def gmseg(capsys, *words):
    code = main._run(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def test_all_commands_are_listed_in_order(capsys):
    code, out, err = gmseg(capsys, "--help")
    assert (code, err) == (0, "")
    named = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert [name for name in named if name in main._HOMES] == [*main._HOMES]
    assert {"--version", "--help"} <= {*named}
    code, out, err = gmseg(capsys, "models", "--help")
    assert (code, err) == (0, "")
    assert [
        line.split()[0] for line in out.partition("Commands:\n")[2].splitlines() if line[2] != " "
    ] == [*models.COMMANDS]


@pytest.mark.parametrize(
    "command",
    [
        *(name for name in main._HOMES if name != "models"),
        *(f"models {name}" for name in models.COMMANDS),
    ],
)
def test_every_command_has_its_help(command, capsys):
    code, out, err = gmseg(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: gmseg {command} [OPTIONS]")
    assert "  --help" in out
    known = models.COMMANDS if " " in command else main._HOMES
    assert main._first_line(main._found(command.split()[-1], known))[:60] in out


@pytest.mark.parametrize("words", [[], ["models"]])
def test_without_a_command_all_are_shown(words, capsys):
    code, out, err = gmseg(capsys, *words)
    assert (code, out) == (2, gmseg(capsys, *words, "--help")[1])
    assert err == "gmseg: error: Missing command (see gmseg --help)\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bogus", "No such command 'bogus'"),
        ("segmnt a", "No such command 'segmnt'; did you mean 'segment'?"),
        ("models imprt", "No such command 'imprt'; did you mean 'import'?"),
        ("--bogus", "No such option '--bogus'"),
        ("segment a --modle x", "No such option '--modle'; did you mean '--model'?"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(words, says, capsys):
    assert gmseg(capsys, *words.split()) == (2, "", f"gmseg: error: {says} (see gmseg --help)\n")


def test_the_version(capsys):
    code, out, err = gmseg(capsys, "--version")
    assert (code, err) == (0, "")
    assert out == f"gmseg {metadata.version('gmseg')}\n"
