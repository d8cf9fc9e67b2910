"""docs/command-line.md: every command of `hydro`, as it explains itself."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from docstrings import read
from typer.models import ArgumentInfo, OptionInfo

from hydro.client.command.main import build

_HEAD = """# The command `hydro`

Written from the commands themselves by `make references`; a test holds it against them. `hydro COMMAND --help` says
the same. An error ends a command with one message and status 1. `hydro fuse` and `hydro shrink` come with hydro-tuner,
`hydro bubbles` with hydro-squeezer, all others with hydro-client."""
_WORDS: dict[object, str] = {str: "text", int: "whole number", float: "number", Path: "path"}


def page() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *_commands(build([]), "hydro")]) + "\n"


def _commands(app: typer.Typer, above: str) -> Iterator[str]:
    for command in sorted(app.registered_commands, key=lambda each: _name(each.name, each.callback)):
        # What a distribution that is not ours has added is in its own documentation.
        if command.callback is not None and command.callback.__module__.startswith("hydro."):
            yield from _command(f"{above} {_name(command.name, command.callback)}", command.callback)
    for group in sorted(app.registered_groups, key=lambda each: str(each.name)):
        if group.typer_instance is not None:
            yield from ("", f"## {above} {group.name}", "", str(group.typer_instance.info.help))
            yield from _commands(group.typer_instance, f"{above} {group.name}")


def _name(given: str | None, callback: Callable[..., Any] | None) -> str:
    return given or str(getattr(callback, "__name__", "")).replace("_", "-")


def _command(name: str, callback: Callable[..., Any]) -> Iterator[str]:
    hints = typing.get_type_hints(callback, include_extras=True)
    rows = [
        _row(parameter, hints[parameter.name])
        for parameter in inspect.signature(callback).parameters.values()
        if typing.get_origin(hints[parameter.name]) is typing.Annotated
    ]
    level = "##" if name.count(" ") == 1 else "###"
    yield from ("", f"{level} {name}", "", read(callback).text, "")
    yield from ("| | | default | |", "|---|---|---|---|", *rows) if rows else ()


def _row(parameter: inspect.Parameter, hint: Any) -> str:
    kind, info = typing.get_args(hint)[:2]
    is_argument = isinstance(info, ArgumentInfo)
    names = parameter.name.upper() if is_argument else _options(parameter, info, kind)
    variable = f" Also the variable `{info.envvar}`." if info.envvar else ""
    cells = (f"`{names}`", _words(kind), _default(parameter), f"{info.help or ''}{variable}")
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _options(parameter: inspect.Parameter, info: OptionInfo, kind: Any) -> str:
    # The first name of an option, in an annotation, is kept where elsewhere its default is.
    given = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
    if given:
        return ", ".join(given)
    name = parameter.name.replace("_", "-")
    return f"--{name} / --no-{name}" if kind is bool else f"--{name}"


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), [each for each in typing.get_args(kind) if each is not type(None)]
    if origin in (types.UnionType, typing.Union):
        return _words(arguments[0])
    if origin is list:
        return f"{_words(arguments[0])}, repeatable"
    if kind is bool:
        return "flag"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    return _WORDS[kind]


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if value is True:
        return "on"
    if isinstance(value, Enum):
        value = value.value
    if value is None or value is False or value in ("", []):
        return ""
    return f"`{value}`"
