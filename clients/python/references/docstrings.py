"""Google's docstrings, read: what something is, what its arguments are, what it gives and raises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType

_SECTIONS = ("Args", "Returns", "Raises")
_ENTRY = re.compile(r" {4}(\w+): (.*)")


@dataclass(frozen=True, slots=True)
class Docstring:
    """The parts of a docstring, as Markdown."""

    text: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """Its first paragraph, in one line."""
        return " ".join(self.text.split("\n\n")[0].split())


def read(documented: object) -> Docstring:
    """The docstring of a class, a function, a property or a module, without what it inherits."""
    return parse(getattr(documented, "__doc__", None) or "")


def parse(text: str) -> Docstring:
    """The parts of a docstring's text."""
    parts: dict[str, list[str]] = {"": [], **{name: [] for name in _SECTIONS}}
    section = ""
    for line in inspect.cleandoc(text).splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
        elif section and line and not line.startswith(" "):
            section = ""
            parts[section].append(line)
        else:
            parts[section].append(line)
    # What follows "::" is indented, and so a block of code in Markdown too.
    body = re.sub(r"^::$\n*", "", "\n".join(parts[""]), flags=re.MULTILINE).replace("::\n", ":\n").strip()
    returns = " ".join(" ".join(parts["Returns"]).split())
    return Docstring(body, _entries(parts["Args"]), returns, _entries(parts["Raises"]))


def attributes(documented: type | ModuleType) -> dict[str, str]:
    """What stands below each attribute in the body of a class or module, or among the arguments of its docstring."""
    body = ast.parse(textwrap.dedent(inspect.getsource(documented))).body
    if isinstance(body[0], ast.ClassDef):
        body = body[0].body
    found = dict(read(documented).arguments)
    for above, below in zip(body, body[1:], strict=False):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and (name := _assigned(above)):
            found[name] = " ".join(str(below.value.value).split())
    return found


def _assigned(statement: ast.stmt) -> str:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def _entries(lines: list[str]) -> dict[str, str]:
    return {name: " ".join(words) for name, words in _grouped(lines)}


def _grouped(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    name, words = "", list[str]()
    for line in lines:
        found = _ENTRY.fullmatch(line)
        if found:
            if name:
                yield name, words
            name, words = found[1], [found[2].strip()]
        elif line.strip():
            words.append(line.strip())
    if name:
        yield name, words
