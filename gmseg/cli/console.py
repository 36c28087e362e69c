"""What the command says on standard error, one line each; and how its bars move."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gmseg.errors import InputError


def fail(error) -> int:
    """Print an error, and return the exit status of a fault of the input's."""
    print(f"gmseg: error: {_line(error)}", file=sys.stderr)
    return 2


def warn(text) -> None:
    """Print a warning."""
    print(f"gmseg: warning: {_line(text)}", file=sys.stderr)


def note(text) -> None:
    """Print what is good to know."""
    print(f"gmseg: {_line(text)}", file=sys.stderr)


def exclude(*choices: tuple[str, str, object]) -> None:
    """Refuse two options that were both given: their names, and whether both were."""
    for one, two, both in choices:
        if both:
            raise InputError(f"{one} and {two} exclude each other; give one")


def own_fault() -> int:
    """Ask for a report of what stands above, and return the exit status."""
    note("this is a fault of gmseg's own; please report it with the lines above")
    return 1


def moves(bar) -> Callable[[int, int], None]:
    """Return what moves a bar to so many of so many."""

    def progress(count: int, total: int) -> None:
        bar.total = total
        bar.update(count - bar.n)

    return progress


def _line(text) -> str:
    return " ".join(str(text).splitlines())
