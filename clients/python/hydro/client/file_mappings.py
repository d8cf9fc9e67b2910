"""Mappings in a study's file, read with the errors that name their field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hydro.kit.errors import FieldViolation, InvalidArgument


def mapping(given: Any, field: str) -> Mapping[str, Any]:
    """What is a mapping.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(given, Mapping):
        raise InvalidArgument.of([FieldViolation(field, f"{given!r} is no mapping of names to values")])
    return given


def known_mapping(given: Any, field: str, known: Iterable[str]) -> Mapping[str, Any]:
    """What is a mapping of known keys.

    Raises:
        InvalidArgument: it is none; or names each key that is not known.
    """
    fields, names = mapping(given, field), list(known)
    advice = f"is no key of it; known: {', '.join(names)}"
    unknown = [FieldViolation(f"{field}.{key}", advice) for key in fields if key not in names]
    if unknown:
        raise InvalidArgument.of(unknown)
    return fields


def one_of(makers: Mapping[str, Any], given: Any, field: str, make: Callable[[Any, Any], Any]) -> Any:
    """Makes the one thing that a mapping of one key describes: `make` gets its maker and what it is given.

    Raises:
        InvalidArgument: it has another key, or more; or it cannot be made.
    """
    content = mapping(given, field)
    known = ", ".join(makers)
    if len(content) != 1 or next(iter(content)) not in makers:
        raise InvalidArgument.of([FieldViolation(field, f"{given!r}: give exactly one of {known}")])
    kind, value = next(iter(content.items()))
    try:
        return make(makers[kind], value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of([FieldViolation(f"{field}.{kind}", f"{value!r}: {error}")]) from error
