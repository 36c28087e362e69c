"""The command ``gmseg``: its commands, imported on demand, and its exit codes."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from gmseg.cli import console, process
from gmseg.cli.commands import (
    SETTINGS,
    Group,
    Quiet,
    UsageError,
    Verbose,
    make_command,
    usage_message,
)
from gmseg.errors import InputError, is_out_of_memory, message_of

COMMANDS = (
    "segment",
    "measure",
    "report",
    "movie",
    "bids",
    "models",
    "evaluate",
    "train",
    "reproduce",
    "figures",
    "phantom",
    "demo",
    "sample",
)
"""Names of the commands, each of a module of `gmseg.cli`, in the order of the help."""


class _LazyGroup(Group):
    """The top level, which imports the module of a command when it is used."""

    def list_commands(self, ctx):  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx, cmd_name):  # noqa: ARG002
        return _load(cmd_name) if cmd_name in COMMANDS else None


@functools.cache
def _load(name: str) -> Any:
    """Import the module of a command, and return its function or app as typer's command."""
    module = import_module(f"gmseg.cli.{name}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    return make_command(name, getattr(module, name))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"gmseg {metadata.version('gmseg')}")
        raise typer.Exit


_app = typer.Typer(cls=_LazyGroup, **SETTINGS | {"add_completion": True})


@_app.callback()
def _gmseg(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Segment the spinal cord's gray matter (GM) in axial T2*-weighted MRI."""
    console.set_verbosity(quiet=quiet, verbose=verbose)


def main() -> None:
    """Run the command with the words of the command line, and exit with its code."""
    process.open_streams()
    _end_on_signals()
    try:
        with process.temporary_settings():
            code = run(sys.argv[1:])
    except BrokenPipeError:
        process.end_like_a_broken_pipe()
    sys.exit(code)


class _Ended(KeyboardInterrupt):
    """Raised when the process is asked to end, so that temporary files are deleted."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def _end_on_signals() -> None:
    """Handle the signals of schedulers and closed terminals as Ctrl-C, except if ignored."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end)


def _end(number: int, _frame) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not stop the clean-up
    raise _Ended(number)


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    words : sequence of str
        Command, options and arguments: ``["segment", "t2s.nii.gz"]``.

    Returns
    -------
    int
        0: done; 2: the input is faulty; 3: a QC flag was raised with ``--strict``;
        1: a bug in gmseg; 130: interrupted; 143 or 129: ended by SIGTERM or SIGHUP.

    Raises
    ------
    BrokenPipeError
        If the reader of standard output or standard error has gone.
    """
    try:
        code = _call(words)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return console.fail(f"{usage_message(error)} (see gmseg --help)")
    except InputError as error:
        return console.fail(error)
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # after SIGHUP the terminal may be gone
            console.interrupted()
        return 128 + error.number if isinstance(error, _Ended) else 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            return console.fail("the free memory is too small; use a machine with more memory")
        if isinstance(error, OSError):
            return console.fail(message_of(error, "a file"))
        console.print_traceback(error)
        return console.fail_internally()


def _call(words: Sequence[str]) -> int:
    """Parse and call, without typer's own handling of exceptions."""
    command: Any = _command()
    if "_GMSEG_COMPLETE" in os.environ:  # a shell asks for completions
        command.main(list(words), prog_name="gmseg")
    try:
        with command.make_context("gmseg", list(words)) as context:
            return command.invoke(context) or 0
    except typer.Exit as end:  # after --help or --version
        return end.exit_code


@functools.cache
def _command():
    return typer.main.get_command(_app)
