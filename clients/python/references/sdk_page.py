"""docs/sdk.md: the public names of `hydro.client` and of the modules that users import, from their docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import docstrings
from docstrings import parse, read

import hydro.client
from hydro.client import callbacks, trial
from hydro.kit import errors

_HEAD = """# The Python SDK

Written from the docstrings by `make references`; a test holds it against the code, and every name that `hydro.client`
exports is here. Needs no torch. The methods raise [errors](#errors) that are the same on both sides of the wire;
`Raises` says which ones mean something for a caller."""
# The public modules, in the order of the page, by what their names are for.
_TITLES = {
    "client": "The client",
    "study": "Studies",
    "spaces": "Search spaces",
    "objectives": "Objectives, constraints and priors",
    "pruning": "Pruning",
    "populations": "Populations",
    "surrogates": "Surrogates",
    "stopping": "Ends",
    "commands": "Commands",
    "trials": "Trials",
    "target": "Targets",
    "target_checks": "Checks on the target",
    "snapshots": "Snapshots",
}
_WIDEST = 100


def page() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *_client(), *_module("Inside a program", trial), *_callbacks(), *_errors()]) + "\n"


def _client() -> Iterator[str]:
    modules = _homes(hydro.client)
    for module, title in _TITLES.items():
        names = [name for name in hydro.client.__all__ if modules[name] == f"hydro.client.{module}"]
        yield from ("", f"## {title}")
        # Functions first: they are what a user writes.
        for name in sorted(names, key=lambda each: (each[0].isupper(), names.index(each))):
            yield from _entry(name, getattr(hydro.client, name), modules[name])


def _homes(package: ModuleType) -> dict[str, str]:
    """Where each name of the package is written."""
    tree = ast.parse(Path(str(package.__file__)).read_text())
    imports = [each for each in tree.body if isinstance(each, ast.ImportFrom)]
    return {each.name: str(node.module) for node in imports for each in node.names}


def _module(title: str, module: ModuleType) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"`{module.__name__}`: {read(module).text}")
    yield ""
    yield from (f"* `{name}`: {text}" for name, text in docstrings.attributes(module).items())
    public = {name: each for name, each in vars(module).items() if not name.startswith("_")}
    for name, each in public.items():
        if inspect.isfunction(each) and each.__module__ == module.__name__:
            yield from _function(name, each)


def _callbacks() -> Iterator[str]:
    yield from ("", "## Callbacks", "", f"`{callbacks.__name__}`: {read(callbacks).text}")
    for each in (callbacks.MlflowCallback, callbacks.WandbCallback):
        yield from _class(each.__name__, each)


def _errors() -> Iterator[str]:
    yield from ("", "## Errors", "", f"`{errors.__name__}`. All of them are `HydroError`s, with `message`,")
    yield "`reason`, `violations` (the wrong fields), `retry_seconds` where it is known when to try again, and `quota`"
    yield "where one is used up."
    yield from ("", "| error | status | |", "|---|---|---|")
    # Services have further ones of their own, which stay there.
    for each in [one for one in errors.HydroError.__subclasses__() if one.__module__ == errors.__name__]:
        yield _row(f"`{each.__name__}`", each.code.name, read(each).first)


def _entry(name: str, value: Any, home: str) -> Iterator[str]:
    if inspect.isfunction(value):
        yield from _function(name, value)
    elif inspect.isclass(value):
        yield from _class(name, value)
    else:
        yield from ("", f"### {name}", "", *_fenced(f"{name} = {_written(name, importlib.import_module(home))}"))


def _written(name: str, module: ModuleType) -> str:
    """What the module assigns to the name."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.unparse(node.value)
    raise LookupError(f"{module.__name__} assigns nothing to {name}")


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    yield from ("", f"### {name}", "", *_fenced(_signature(name, function)), *_explained(function))


def _class(name: str, value: type) -> Iterator[str]:
    yield from ("", f"### {name}", "")
    if issubclass(value, Enum):
        yield from (read(value).text, *_members(value))
    elif is_dataclass(value):
        yield from (read(value).text, *_fields(value))
    else:
        yield from _made(name, value)
    for title, method in _methods(value):
        yield from _method(title, method)


def _made(name: str, value: Any) -> Iterator[str]:
    """A class that is no dataclass; how it is made, where its users make it: its docstrings say with what."""
    own, making = read(value), read(vars(value)["__init__"]) if "__init__" in vars(value) else parse("")
    if making.text or own.arguments:
        yield from (*_fenced(_signature(name, value)), "")
    yield own.text
    if making.text:
        yield from ("", making.text)
    yield from _arguments(making if making.text else own)


def _members(value: type[Enum]) -> Iterator[str]:
    meanings = docstrings.attributes(value)
    yield ""
    for member in value:
        yield f"* `{member.name}`{': ' + meanings[member.name] if member.name in meanings else ''}"


def _fields(value: Any) -> Iterator[str]:
    meanings = docstrings.attributes(value)
    if not fields(value):
        return
    yield from ("", "| field | type | default | |", "|---|---|---|---|")
    for each in fields(value):
        yield _row(f"`{each.name}`", f"`{each.type}`", _default(each), meanings.get(each.name, ""))


def _default(field: Any) -> str:
    if field.default is not MISSING:
        value = field.default
        return f"`{value.name if isinstance(value, Enum) else repr(value)}`"
    return "" if field.default_factory is MISSING else f"`{field.default_factory()!r}`"


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    """Its public methods and properties, those of its own first, with those that it has from ours."""
    seen: set[str] = set()
    for each in value.__mro__:
        if each.__module__.startswith("hydro."):
            for name, found in vars(each).items():
                is_ours = isinstance(found, (property, classmethod)) or inspect.isfunction(found)
                if is_ours and not name.startswith("_") and name not in seen:
                    seen.add(name)
                    yield name, found


def _method(name: str, found: Any) -> Iterator[str]:
    if isinstance(found, property):
        given = inspect.signature(found.fget).return_annotation if found.fget else ""
        yield from ("", f"**`.{name}`** → `{given}`", "", *_explained(found)[1:])
        return
    function = found.__func__ if isinstance(found, classmethod) else found
    yield from ("", f"**`.{name}`**", "", *_fenced(_signature(name, function)), *_explained(function))


def _explained(documented: Any) -> list[str]:
    found = read(documented)
    return ["", found.text, *_arguments(found)]


def _arguments(found: docstrings.Docstring) -> Iterator[str]:
    yield from _listed("", found.arguments)
    if found.returns:
        yield from ("", f"Returns: {found.returns}")
    yield from _listed("Raises:", found.raises)


def _listed(title: str, entries: Mapping[str, str]) -> Iterator[str]:
    if entries:
        yield from ("", *([title, ""] if title else ()))
        yield from (f"* `{name}`: {text}" for name, text in entries.items())


class _Text:
    """What is shown as it is, where `inspect` would show a value."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    given = [_shown(each) for each in signature.parameters.values() if each.name not in ("self", "cls")]
    answer = "" if inspect.isclass(function) else f" -> {signature.return_annotation}"
    written = f"{name}{signature.replace(parameters=given, return_annotation=inspect.Signature.empty)}{answer}"
    if len(written) <= _WIDEST:
        return written
    # One a line, as ruff would have it.
    lines, kinds = [], [each.kind for each in given]
    for index, each in enumerate(given):
        if each.kind is each.KEYWORD_ONLY and not {each.KEYWORD_ONLY, each.VAR_POSITIONAL} & set(kinds[:index]):
            lines.append("*")
        lines.append(str(each))
    return f"{name}(\n" + "".join(f"    {each},\n" for each in lines) + f"){answer}"


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.annotation is not parameter.empty:
        parameter = parameter.replace(annotation=_Text(str(parameter.annotation)))
    if parameter.default is parameter.empty or not callable(parameter.default):
        return parameter
    # A function's address is another one each time.
    return parameter.replace(default=_Text("..."))


def _fenced(text: str) -> list[str]:
    return ["```", text, "```"]


def _row(*cells: str) -> str:
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"
