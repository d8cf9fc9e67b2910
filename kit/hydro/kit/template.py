"""Texts with `${name}` in them. `$${` stands for `${`; every other `$` is itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")


def names_in(text: str) -> frozenset[str]:
    """Gives the names that the text refers to.

    Raises:
        ValueError: a reference is not closed.
    """
    found = set()
    for match in _REFERENCE.finditer(text):
        if match.group(1) is None:
            continue
        if not match.group(2):
            raise ValueError(f"{match.group(0)!r} is not closed by '}}'; write $${{ for a plain ${{")
        found.add(match.group(1))
    return frozenset(found)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Gives the text with each reference replaced. What is put in is not read again.

    Raises:
        KeyError: a name has no value.
    """
    return _REFERENCE.sub(lambda match: "${" if match.group(1) is None else values[match.group(1)], text)


def variable_name(prefix: str, name: str) -> str:
    """Gives the environment variable of a name: in capitals, with the prefix, "." as "_"."""
    return f"{prefix}{name.upper().replace('.', '_')}"
