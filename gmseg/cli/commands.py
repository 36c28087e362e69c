"""How typer parses a command and shows its help, the same for all commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from textwrap import dedent, indent
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gmseg.cli import console
from gmseg.cli.options import GENERAL, GROUPS

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer exports no name for it
SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Settings of every `typer.Typer`: plain text, and completion only at the top."""


class Command(TyperCommand):
    """A command whose list options take several words, and whose help shows metavars only.

    Paragraphs of its docstring that start with ``gmseg`` are examples, which are not wrapped.
    """

    def __init__(self, *args, help=None, **kwargs):
        paragraphs = (help or "").split("\n\n")
        for index, paragraph in enumerate(paragraphs):
            if paragraph.lstrip().startswith("gmseg "):
                paragraphs[index] = "\b\n" + indent(dedent(paragraph), "    ")
        super().__init__(*args, help="\n\n".join(paragraphs), **kwargs)

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, list(_repeat_list_options(self.params, args)))

    def collect_usage_pieces(self, ctx):  # noqa: ARG002
        return [str(self.options_metavar), *(arg.metavar for arg in _arguments(self.params))]

    def format_options(self, ctx, formatter):
        groups: dict[str, list] = {title: [] for title in ("Arguments", *GROUPS)}
        params: list[Any] = self.get_params(ctx)
        for param in params:
            flags, text = param.get_help_record(ctx) or ("", "")
            if param.param_type_name == "argument":
                groups["Arguments"].append((str(param.metavar), text))
            else:
                groups[param.rich_help_panel or GENERAL].append((flags, text))
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """A group of commands that shows its help if no command is given, and corrects typos."""

    def parse_args(self, ctx, args):
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx, args):
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            similar = get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f"; did you mean '{similar[0]}'?" if similar else ""
            ctx.fail(f"No such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Hide progress bars and notes.", rich_help_panel=GENERAL),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="Show log messages and tracebacks of errors.",
        rich_help_panel=GENERAL,
    ),
]


def with_verbosity(function: Callable) -> Callable:
    """Return the function of a command with the options ``-q`` and ``-v`` added."""

    @functools.wraps(function)
    def command(*, quiet: bool = False, verbose: bool = False, **values):
        console.set_verbosity(quiet=quiet or None, verbose=verbose or None)
        return function(**values)

    signature = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    parameters = [*signature.parameters.values(), *added]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def add_command(app: typer.Typer, name: str) -> Callable[[Callable], Callable]:
    """Return a decorator that adds a function with typer's annotations to an app."""

    def add(function: Callable) -> Callable:
        app.command(name, cls=Command)(with_verbosity(function))
        return function

    return add


def make_command(name: str, function: Callable) -> Any:
    """Return a function whose parameters have typer's annotations as a command."""
    app = typer.Typer(**SETTINGS)
    add_command(app, name)(function)
    return typer.main.get_command(app)


def usage_message(error: Any) -> str:
    """Return typer's message of a usage error in one line, with a suggestion for a typo."""
    similar = getattr(error, "possibilities", None)
    message = error.message if similar else error.format_message()
    message = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    return f"{message}; did you mean {similar[0]}?" if similar else message


def _arguments(params) -> list:
    return [param for param in params if param.param_type_name == "argument"]


def _repeat_list_options(params: Sequence[Any], words: Sequence[str]) -> Iterator[str]:
    """Yield the words with a list option repeated before each of its words, as BIDS Apps allow.

    ``--session a b`` becomes ``--session a --session b`` once all arguments are given.
    """
    options = {flag: param for param in params for flag in param.opts if flag.startswith("-")}
    missing = len(_arguments(params))
    list_option = None
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            yield word
            yield from remaining
        elif word.startswith("-") and word != "-":
            yield word
            option = options.get(word)
            list_option = word if option is not None and option.multiple else None
            if option is not None and not option.is_flag:
                yield from islice(remaining, 1)
        elif list_option and missing <= 0:
            yield list_option
            yield word
        else:
            missing -= 1
            list_option = None
            yield word
