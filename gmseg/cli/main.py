"""The command ``gmseg``: parses, calls, prints; no work of its own."""

from __future__ import annotations

import gc
import sys
import traceback
from importlib import import_module

from gmseg import errors
from gmseg.cli import console, options
from gmseg.errors import InputError

_ABOUT = "Segment the spinal cord's gray matter (GM) in axial T2*-weighted MRI."
_HOMES = {
    "segment": "segment",
    "measure": "measure",
    "report": "report",
    "movie": "movie",
    "bids": "bids",
    "models": "models",
    "evaluate": "evaluate",
    "train": "train",
    "reproduce": "paper",
    "figures": "paper",
    "phantom": "demo",
    "demo": "demo",
}
"""Every command, in the order of the help, and the module of its function (or its `COMMANDS`)."""


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 done, 2 the input is at fault, 3 flags in strict mode, 1 ours."""
    gc.set_threshold(50_000)  # to import makes many objects and no garbage: a tenth of its time
    for stream in (sys.stdout, sys.stderr):
        # a file name may hold what the terminal's encoding does not
        stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    try:
        return _call(sys.argv[1:] if args is None else args)
    except options.UsageError as error:
        return console.fail(f"{error} (see gmseg --help)")
    except InputError as error:
        return console.fail(error)
    except KeyboardInterrupt:
        print("gmseg: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    except OSError as error:
        return console.fail(errors.message_of(error, "a file"))
    except Exception:
        traceback.print_exc()
        return console.own_fault()


def _call(args: list[str], prog: str = "gmseg", about: str = _ABOUT, commands=_HOMES) -> int:
    """Call the command that the first word names; import nothing else."""
    name, words = args[0] if args else "--help", args[1:]
    flags = {"--version": "Print the version."} if prog == "gmseg" else {}
    if name in flags:
        from importlib import metadata

        print(f"gmseg {metadata.version('gmseg')}")
        return 0
    if name == "--help":
        lines = {one: _first_line(_found(one, commands)) for one in commands}
        print(options.help_of_commands(prog, about, flags, lines), end="")
        if not args:
            raise options.UsageError("Missing command")
        return 0
    if name.startswith("-"):
        raise options.unknown("option", name, [*flags, "--help"])
    if name not in commands:
        raise options.unknown("command", name, commands)
    found = _found(name, commands)
    if hasattr(found, "COMMANDS"):
        return _call(words, f"{prog} {name}", _first_line(found), found.COMMANDS)
    given = options.parse(found, f"{prog} {name}", words)
    return 0 if given is None else found(**given)


def _found(name: str, commands: dict):
    """Return a command's function, or the module of the commands that follow its name."""
    if callable(commands[name]):
        return commands[name]
    home = import_module(f"gmseg.cli.{commands[name]}")
    return getattr(home, name, home)


def _first_line(found) -> str:
    return found.__doc__.partition("\n")[0]


if __name__ == "__main__":
    main()
