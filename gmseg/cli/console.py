"""Messages and progress bars of the command, on standard error."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TextIO

from gmseg.errors import InputError, printable

_FLAGS = {
    "output": "-o",
    "start": "--from",
    "file_format": "--format",
    "participants": "--participant-label",
    "sessions": "--session",
    "acquisitions": "--acquisition",
    "filters": "--bids-filter-file",
}
"""Parameters whose flag is not their name."""
_PARAMETER = re.compile(r"`([a-z]\w*)(?:=([^`]+))?`")
_LOG_INTERVAL_S = 60  # between two lines of a long run's progress bar in a log file


class _Verbosity(NamedTuple):
    quiet: bool = False
    verbose: bool = False


_verbosity = _Verbosity()


def set_verbosity(*, quiet: bool | None = None, verbose: bool | None = None) -> None:
    """Choose whether notes and bars are hidden, and whether details are shown; None: as before.

    Log messages of gmseg are printed from warnings on, or from information on if `verbose`.
    """
    global _verbosity  # noqa: PLW0603
    _verbosity = _Verbosity(
        _verbosity.quiet if quiet is None else quiet,
        _verbosity.verbose if verbose is None else verbose,
    )
    logger = logging.getLogger("gmseg")
    logger.setLevel(logging.INFO if _verbosity.verbose else logging.WARNING)
    if not any(isinstance(handler, _LogHandler) for handler in logger.handlers):
        logger.addHandler(_LogHandler())


class _LogHandler(logging.Handler):
    """Prints log messages and tracebacks above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        for line in f"{record.name}: {self.format(record)}".splitlines():
            _print(line)


def with_flags(message: object) -> str:
    """Return a message of the library with parameters in backquotes replaced by flags.

    Examples
    --------
    >>> with_flags("t2s.nii: exists; set `overwrite=True` to replace it")
    't2s.nii: exists; set --overwrite to replace it'
    >>> with_flags("choose one with `volume=k`, or use `standardise='volume'`")
    'choose one with --volume K, or use --standardise volume'
    >>> with_flags("give its place with `centre=(x, y)`, or a mask with `cord`")
    'give its place with --centre X,Y, or a mask with --cord'
    >>> with_flags("choose another `out_dir` or `output`; `threshold=1.5` is too large")
    'choose another --out-dir or -o; --threshold 1.5 is too large'
    """
    return _PARAMETER.sub(_flag, str(message))


def _flag(match: re.Match) -> str:
    """Return the flag of a parameter, and its value or the placeholder of its value."""
    name, value = match.groups()
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    if value in (None, "True"):
        return flag
    if value[0] in "'\"":
        return f"{flag} {value[1:-1]}"
    return f"{flag} {re.sub(r'[() ]', '', value).upper()}"


def say(*lines: object) -> None:
    """Print the lines of a result on standard output, above the progress bars."""
    for line in lines:
        _print(str(line), sys.stdout)


def fail(error: object) -> int:
    """Print an error in one line, and return the exit code of faulty input."""
    if _verbosity.verbose and isinstance(error, BaseException):
        print_traceback(error)
    _print(f"gmseg: error: {with_flags(error)}")
    return 2


def warn(message: object) -> None:
    """Print a warning in one line."""
    _print(f"gmseg: warning: {with_flags(message)}")


def note(message: object) -> None:
    """Print information in one line, unless the command is quiet."""
    if not _verbosity.quiet:
        _print(f"gmseg: {with_flags(message)}")


def fail_internally() -> int:
    """Ask for a report of the traceback above, and return the exit code of a bug of gmseg."""
    _print("gmseg: this is a bug in gmseg; please report it with the lines above")
    return 1


def interrupted() -> int:
    """Print that the user stopped the command, and return the exit code."""
    _print("gmseg: interrupted; no file is incomplete")
    return 130


def print_traceback(error: BaseException) -> None:
    """Print an error with its traceback on standard error."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        _print(line)


def _print(text: str, stream: TextIO | None = None) -> None:
    """Print one printable line, above the progress bars if there are any."""
    bars = sys.modules.get("tqdm")
    with bars.tqdm.external_write_mode() if bars else nullcontext():
        print(printable(" ".join(text.splitlines())), file=stream or sys.stderr, flush=True)


def exclude(*pairs: tuple[str, str, object]) -> None:
    """Raise InputError for two options that exclude each other: first, second, both given."""
    for first, second, both in pairs:
        if both:
            raise InputError(f"{first} and {second} exclude each other; give one")


# ----------------------------------------------------------------------------- progress bars


def progress_bar(**options):
    """Return a tqdm bar that disappears at its end; hidden where there is no terminal.

    Parameters
    ----------
    **options
        Options of `tqdm.tqdm`.
    """
    from tqdm import tqdm

    options["disable"] = _verbosity.quiet or options.get("disable")
    return tqdm(leave=False, **options)


def long_progress_bar(**options):
    """Return a tqdm bar of a run of hours; in a log file, it writes a line a minute."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S
    return tqdm(mininterval=interval, maxinterval=interval, disable=_verbosity.quiet, **options)


def advance(bar) -> Callable[[int, int], None]:
    """Return a function of the steps done and the total that moves a bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of stage, steps done and total that shows one bar per stage."""
    bars: dict = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            # steps that were done before a resume took no time
            bars[stage] = long_progress_bar(desc=stage, total=total, initial=done - 1)
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
