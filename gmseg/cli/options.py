"""A command's options: a function's signature becomes a parser of what is typed, and its help."""

from __future__ import annotations

import argparse
import functools
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from inspect import Parameter, signature

from gmseg.errors import InputError

_NUMBERS = {int: "a whole number", float: "a number"}


class UsageError(InputError):
    """What was typed is no command, or not with these options and arguments."""


@dataclass(frozen=True)
class Argument:
    """What is told of a parameter that is given by its place, and is required.

    By default, its metavar is an enum's values, or the parameter's name. The help shows defaults
    and bounds by itself, but no default where it tells a ``[default: ..]`` already.
    """

    metavar: str | None = None
    help: str = ""
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, init=False)
class Option(Argument):
    """What is told of a parameter that is given by name, and required if it has no default.

    Flags come first (``-o``, ``--output``), the last with two dashes; else, the name is one.
    """

    flags: tuple[str, ...] = ()

    def __init__(self, *flags: str, **told):
        super().__init__(**told)
        vars(self).update(flags=flags)


class _Parameter(typing.NamedTuple):
    name: str
    kind: type  # of one value
    many: bool
    flags: tuple[str, ...]  # an argument has none
    metavar: str
    default: object
    told: Argument


_HELP = _Parameter(
    "help", bool, False, ("--help",), "", False, Option(help="Show this message and exit.")
)


def parse(function: Callable, prog: str, words: Iterable[str]) -> dict | None:
    """Return the keyword arguments that were typed; others have the function's defaults.

    Options may stand between arguments. An option's value is the next word, whatever it is.

    Parameters
    ----------
    function : callable
        Its parameters are ``Annotated[type, Argument(..)]``, or with an Option. Types are str, int,
        float, Path, bool (an option without a value), StrEnum, each of these or None, and lists:
        of an argument one word or more, of an option as often as it is given.
    prog, words : str, iterable of str
        The command's name, such as ``gmseg segment``, and what follows it.

    Returns
    -------
    dict or None
        None if the help was asked for, and printed.
    """
    parser, parameters = parser_of(function, prog), _parameters(function)
    options, arguments = _sort(parameters, words)
    if "--help" in options:
        print(parser.format_help(), end="")
        return None
    _check_complete(parameters, {option.partition("=")[0] for option in options}, arguments)
    try:
        return vars(parser.parse_args([*options, *(f"={word}" for word in arguments)]))
    except argparse.ArgumentError as error:
        raise UsageError(f"Invalid value for '{error.argument_name}': {error.message}") from None


@functools.cache
def parser_of(function: Callable, prog: str) -> argparse.ArgumentParser:
    """Return the parser that a function's signature and docstring tell of."""
    parameters = _parameters(function)
    places = [one.metavar for one in parameters if not one.flags]
    parser = _parser(prog, " ".join(["[OPTIONS]", *places]), function.__doc__)
    arguments, options = (parser.add_argument_group(name) for name in ("Arguments", "Options"))
    for one in parameters:
        text = _help_of(one).replace("%", "%%")
        value = {"metavar": one.metavar, "type": functools.partial(_value, one)}
        if not one.flags:
            arguments.add_argument(one.name, nargs="+" if one.many else None, help=text, **value)
        elif one.kind is bool:
            options.add_argument(*one.flags, dest=one.name, action="store_true", help=text)
        else:
            action = "append" if one.many else "store"
            options.add_argument(*one.flags, dest=one.name, action=action, help=text, **value)
    return parser


def help_of_commands(prog: str, about: str, flags: dict[str, str], lines: dict[str, str]) -> str:
    """Return the help of a command of commands: what flags do, and a line on each command."""
    parser = _parser(prog, "[OPTIONS] COMMAND [ARGS]...", about)
    options, commands = (parser.add_argument_group(name) for name in ("Options", "Commands"))
    for flag, text in (flags | {"--help": _HELP.told.help}).items():
        options.add_argument(flag, action="store_true", help=text)
    for name, text in lines.items():
        commands.add_argument(name, help=text.replace("%", "%%"))
    return parser.format_help()


def unknown(what: str, word: str, known: Iterable[str]) -> UsageError:
    """Return the error that there is no such thing; it names the most similar one there is."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return UsageError(f"No such {what} '{word}'" + (f"; did you mean '{near[0]}'?" if near else ""))


@functools.cache
def _parameters(function: Callable) -> list[_Parameter]:
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in signature(function).parameters.items():
        kind, told = typing.get_args(hints[name])
        if type(None) in typing.get_args(kind):
            [kind] = {*typing.get_args(kind)} - {type(None)}
        if many := typing.get_origin(kind) is list:
            [kind] = typing.get_args(kind)
        named = isinstance(told, Option)
        flags = (told.flags or (f"--{name.replace('_', '-')}",)) if named else ()
        metavar = told.metavar or ("|".join(kind) if issubclass(kind, Enum) else name.upper())
        found.append(_Parameter(name, kind, many, flags, metavar, parameter.default, told))
    return [*found, _HELP]


def _sort(parameters, words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return options, each joined with its value by ``==`` (see `_value`), and arguments."""
    known = {flag: one for one in parameters for flag in one.flags}
    places = sum(not one.flags for one in parameters)
    options, arguments, words = [], [], iter(words)
    taking = None  # the option that may take another word
    for word in words:
        if word == "--":
            arguments += words
        elif word == "-" or not word.startswith("-"):
            # once the arguments are there, as BIDS Apps do: --participant-label 01 02
            if taking and len(arguments) >= places:
                options.append(f"{taking}=={word}")
            else:
                arguments.append(word)
                taking = None
        else:
            short = word[:2], word[2:], word[2:]  # -oFILE
            flag, joined, value = word.partition("=") if word.startswith("--") else short
            if flag not in known:
                raise unknown("option", flag, known)
            one = known[flag]
            if one.kind is bool and joined:
                raise UsageError(f"Option '{flag}' does not take a value")
            if one.kind is not bool and not joined and (value := next(words, None)) is None:
                raise UsageError(f"Option '{flag}' requires an argument")
            options.append(one.flags[-1] + ("" if one.kind is bool else f"=={value}"))
            taking = one.flags[-1] if one.many and not joined else None
    return options, arguments


def _check_complete(parameters, given: set[str], arguments: list[str]) -> None:
    """Refuse what lacks a required option or argument, or has an argument too many."""
    places = [one for one in parameters if not one.flags]
    if len(arguments) < len(places):
        raise UsageError(f"Missing argument '{places[len(arguments)].metavar}'")
    for one in parameters:
        if one.flags and one.default is Parameter.empty and one.flags[-1] not in given:
            raise UsageError(f"Missing option '{'/'.join(one.flags)} {one.metavar}'")
    if len(arguments) > len(places) and not any(one.many for one in places):
        raise UsageError(f"Got unexpected extra argument(s) ({' '.join(arguments[len(places) :])})")


def _value(parameter: _Parameter, text: str):
    """Return what a word means; argparse names the option if it means nothing."""
    text = text[1:]  # the = kept argparse from taking a value's dash for an option's
    kind, low, high = parameter.kind, parameter.told.min, parameter.told.max
    try:
        value = kind(text)
    except ValueError:
        wanted = _NUMBERS.get(kind) or f"one of {', '.join(map(repr, map(str, kind)))}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
    if not ((low is None or value >= low) and (high is None or value <= high)):  # or NaN
        raise argparse.ArgumentTypeError(f"{text} is not in {_range(parameter.told)}")
    return value


def _range(told: Argument) -> str:
    if told.max is None:
        return "" if told.min is None else f"x>={told.min}"
    return ("" if told.min is None else f"{told.min}<=") + f"x<={told.max}"


def _help_of(parameter: _Parameter) -> str:
    """Return a parameter's help, and in brackets its default, its bounds, whether it must be."""
    default, text, notes = parameter.default, parameter.told.help, []
    if default is Parameter.empty:
        notes = ["required"]
    elif not (default in (None, "") or default is False or "[default:" in text):
        notes = [f"default: {default}"]
    noted = "; ".join(filter(None, [*notes, _range(parameter.told)]))
    return f"{text} [{noted}]".lstrip() if noted else text


class _Help(argparse.HelpFormatter):
    """Wraps each paragraph of a docstring, and names an option's value once."""

    def add_usage(self, usage, actions, groups, prefix="Usage: "):
        super().add_usage(usage, actions, groups, prefix)

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return "\n\n".join(fill(part, width, indent) for part in text.split("\n\n"))

    def _format_action_invocation(self, action):
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"


def _parser(prog: str, usage: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} {usage}",
        description=about,
        formatter_class=functools.partial(_Help, max_help_position=34),
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.color = False  # Python 3.14 has it
    return parser
