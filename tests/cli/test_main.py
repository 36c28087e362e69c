"""The command as a whole: help, usage errors, imports on demand, exit codes, completion."""

import os
import re
import signal
import subprocess
import sys
from importlib import metadata

import pytest
import typer
from command import run

from gmseg.cli import main, models
from gmseg.cli.bids import bids
from gmseg.cli.commands import make_command
from gmseg.cli.options import GROUPS
from gmseg.cli.segment import segment

MODELS = [command.name for command in models.app.registered_commands]
COMMANDS = [*(name for name in main.COMMANDS if name != "models"), *(f"models {n}" for n in MODELS)]
HEAVY = {"keras", "tensorflow", "torch", "onnxruntime", "nibabel", "scipy", "numpy", "matplotlib"}


def rows(text, title):
    """Return the names in a section of the help."""
    section = text.partition(f"{title}:\n")[2].partition("\n\n")[0]
    return [line.split()[0] for line in section.splitlines() if line[2] != " "]


# -------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_all_commands(flag, capsys):
    code, out, err = run(capsys, flag)
    assert (code, err) == (0, "")
    assert rows(out, "Commands") == [*main.COMMANDS]
    assert {"--version", "-q,", "-v,", "-h,", "--install-completion"} <= {*rows(out, "Options")}
    assert "..." not in out.partition("Commands:")[2]  # no summary is cut
    code, out, err = run(capsys, "models", flag)
    assert (code, err) == (0, "")
    assert rows(out, "Commands") == MODELS
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_two_examples(command, capsys):
    code, out, err = run(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert run(capsys, *command.split(), "-h") == (0, out, "")
    assert out.startswith(f"Usage: gmseg {command} [OPTIONS]")
    assert "  -h, --help" in out
    examples = [line for line in out.splitlines() if line.startswith("      gmseg ")]
    assert len(examples) == 2 or command == "bids"  # which has three
    assert any(line.startswith(f"      gmseg {command}") for line in examples)
    assert [*rows(out, "General")] == ["-q,", "-v,", "-h,"]
    assert max(map(len, out.splitlines())) <= 80
    assert "╭" not in out  # no boxes
    assert "list[" not in out  # no names of types


def test_options_are_grouped(capsys):
    _, out, _ = run(capsys, "segment", "--help")
    titles = [line[:-1] for line in out.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles == ["Arguments", *GROUPS]
    assert {"-o,", "--out-dir", "--overwrite"} <= {*rows(out, "Output")}
    assert {"--report", "--strict"} <= {*rows(out, "Quality control")}


def test_help_imports_nothing_heavy():
    code = "import sys, gmseg.cli.main; gmseg.cli.main.run(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    loaded = {*done.stdout.splitlines()[-1].split()}
    assert not (HEAVY | {"pooch", "tqdm", "pydantic", "rich", "distributed"}) & loaded


def test_a_command_imports_no_other_command():
    code = "import sys, gmseg.cli.main; gmseg.cli.main.run(['demo', '-h']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {*done.stdout.splitlines()[-1].split()}
    assert "gmseg.cli.demo" in loaded
    assert not {"gmseg.cli.segment", "gmseg.cli.models", "numpy"} & loaded


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"gmseg {metadata.version('gmseg')}\n", "")


def test_python_m_gmseg_exits_with_the_code(tmp_path):
    command = [sys.executable, "-m", "gmseg", "segment", "none.nii.gz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gmseg: error: none.nii.gz: no such file; check the path\n"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("gmseg seg", ["segment"]),
        ("gmseg models ", MODELS),
        ("gmseg segment --out", ["--output", "--out-dir"]),
    ],
)
def test_shell_completion(words, wanted):
    env = os.environ | {
        "_GMSEG_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    command = [sys.executable, "-m", "gmseg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == wanted


# --------------------------------------------------------------------------- standard streams

FAULT = "gmseg: error: none.nii: no such file; check the path\n"


def shell(words, cwd):
    """Run the command by a shell; return exit code, standard output and error."""
    done = subprocess.run(
        f"'{sys.executable}' -m gmseg {words}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="uses a POSIX shell")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--version >&-", (0, "", "")),
        ("models list <&- >&- 2>&-", (0, "", "")),
        ("segment none.nii >&-", (2, "", FAULT)),
        ("segment none.nii 2>&-", (2, "", "")),
    ],
)
def test_closed_streams(words, expected, tmp_path):
    assert shell(words, tmp_path) == expected


@pytest.mark.skipif(os.name == "nt", reason="uses a POSIX shell")
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    assert shell("phantom out >&- 2>&-", tmp_path) == (0, "", "")
    assert not [path for path in tmp_path.rglob("*.txt") if "files" in path.read_text()]


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="pipes as in Unix")
@pytest.mark.parametrize("words", ["models list", "--help", "segment none.nii"])
def test_a_broken_pipe_ends_the_command_as_other_tools(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "gmseg", *words.split()]
    with os.fdopen(write, "w") as gone:
        err = gone if words.startswith("segment") else subprocess.PIPE
        done = subprocess.run(command, stdout=gone, stderr=err, text=True, check=False)
    assert done.returncode == -signal.SIGPIPE
    assert not done.stderr


# ------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_full_memory_is_not_a_bug(error, capsys, monkeypatch):
    def fail(_words):
        raise error

    monkeypatch.setattr(main, "_call", fail)
    code, out, err = run(capsys, "demo")
    assert (code, out) == (2, "")
    assert err == "gmseg: error: the free memory is too small; use a machine with more memory\n"


def test_a_bug_is_reported_with_a_traceback(capsys, monkeypatch):
    def fail(_words):
        raise RuntimeError("out of\x1b range")

    monkeypatch.setattr(main, "_call", fail)
    code, _, err = run(capsys, "demo")
    assert code == 1
    assert err.startswith("Traceback")
    assert r"RuntimeError: out of\x1b range" in err
    assert err.endswith("this is a bug in gmseg; please report it with the lines above\n")


# -------------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize("words", [[], ["models"]])
def test_help_is_shown_if_the_command_is_missing(words, capsys):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, run(capsys, *words, "--help")[1])
    assert err == "gmseg: error: Missing command (see gmseg --help)\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bogus", "No such command 'bogus'"),
        ("segmnt a", "No such command 'segmnt'; did you mean 'segment'?"),
        ("models imprt", "No such command 'imprt'; did you mean 'import'?"),
        ("--zzz", "No such option: --zzz"),
        ("segment a --modle x", "No such option: --modle; did you mean --model?"),
        ("segment a --mod x", "No such option: --mod; did you mean --model?"),  # no abbreviation
        ("segment a -2.5", "No such option: -2"),
        ("segment", "Missing argument 'SCAN|FOLDER...'"),
        ("segment -- ", "Missing argument 'SCAN|FOLDER...'"),
        ("segment a --centre", "Option '--centre' requires an argument"),
        ("segment a --soft=1", "Option '--soft' does not take a value"),
        ("phantom a b", "Got unexpected extra argument(s) (b)"),
        ("models export default", "Missing option '--format'. Choose from: onnx, torch"),
    ],
)
def test_usage_errors_are_one_line(words, message, capsys):
    assert run(capsys, *words.split()) == (2, "", f"gmseg: error: {message} (see gmseg --help)\n")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("segment a --threshold much", "--threshold"),
        ("segment a --threshold 1.5", "--threshold"),
        ("segment a --threshold nan", "--threshold"),
        ("segment a --tta -1", "--tta"),
        ("segment a --volume 1.5", "--volume"),
        ("segment a --standardise up", "--standardise"),
        ("segment a --workers 0", "--workers"),
        ("phantom a --seed 4294967296", "--seed"),
        ("bids a b c", "participant|group"),
    ],
)
def test_wrong_values_are_one_line_that_names_the_option(words, option, capsys):
    code, out, err = run(capsys, *words.split())
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(f"gmseg: error: Invalid value for '{option}': ")
    assert line.endswith(" (see gmseg --help)")


# ------------------------------------------------------------------------------------- parsing


def parse(function, *words):
    """Return what a command's function receives."""
    received = {}

    def record(**values):
        received.update(values)

    command = make_command("it", function)
    command.callback = record
    with command.make_context("gmseg it", list(words)) as context:
        command.invoke(context)
    return received


@pytest.mark.parametrize("value", ["-2.5,-31", "-x.nii.gz", "--soft", "--help", "--", "-", ""])
def test_the_value_of_an_option_is_the_next_word(value):
    assert parse(segment, "a", "--centre", value)["centre"] == value
    assert parse(segment, "a", f"--centre={value}")["centre"] == value


def test_options_may_stand_anywhere():
    for words in ("--soft a --model m b", "a --soft b --model m", "a b --model=m --soft"):
        values = parse(segment, *words.split())
        assert [str(scan) for scan in values["scans"]] == ["a", "b"]
        assert (values["soft"], values["model"]) == (True, "m")


def test_a_list_option_takes_several_words_once_the_arguments_are_given():
    for words, labels in (
        ("in out group --participant-label 01 02 --mean", ["01", "02"]),
        ("in out group --participant_label 01 --participant-label sub-02", ["01", "sub-02"]),
        ("--participant-label 01 in out group", ["01"]),
        ("in --participant-label 01 out group --mean", ["01"]),
        ("in out group --participant-label=01", ["01"]),
        ("in out --session a group --participant-label -x 02 -- ", ["-x", "02"]),
    ):
        values = parse(bids, *words.split())
        assert list(values["participants"]) == labels, words
        assert str(values["out_dir"]) == "out"
    for words in (
        "in out group --participant-label 01 --workers 2 03",
        "in out group --participant-label=01 02",
        "in out group --participant-label 01 -- 02",
        "in --participant-label 01 out group 02",
    ):
        with pytest.raises(typer.BadParameter.__bases__, match="unexpected extra argument"):
            parse(bids, *words.split())


# ----------------------------------------------------------------------------------- verbosity


def test_quiet_and_verbose(tmp_path, capsys):
    missing = tmp_path / "a.nii", tmp_path / "b.nii"
    _, _, err = run(capsys, "segment", *missing)
    assert err.splitlines()[-3] == "gmseg: 0 of 2 scans segmented, 2 failed:"
    quiet = run(capsys, "-q", "segment", *missing)
    assert (quiet[0], quiet[1], len(quiet[2].splitlines())) == (2, "", 2)
    assert run(capsys, "segment", *missing, "-q") == quiet
    for words in (["--verbose", "segment"], ["segment", "-v"]):
        code, _, err = run(capsys, *words, *missing, "-o", "m.nii")
        assert code == 2
        assert err.startswith("Traceback")
    assert "Traceback" not in run(capsys, "segment", *missing, "-o", "m.nii")[2]
