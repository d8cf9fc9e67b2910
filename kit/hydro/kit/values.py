"""Scalars as the contract carries them, `hydro.api.type.v1.Value`, and as Python has them."""

from __future__ import annotations

from collections.abc import Mapping

from hydro.api.type.v1 import search_space_pb2

Scalar = bool | int | float | str


def value_of(message: search_space_pb2.Value) -> Scalar:
    """Gives the scalar of a message; one that is not set is an empty text."""
    kind = message.WhichOneof("kind")
    found: Scalar = getattr(message, kind) if kind else ""
    return found


def value_message(value: Scalar) -> search_space_pb2.Value:
    """Gives the message of a scalar: its type is kept, 1, 1.0 and True stay three values."""
    match value:
        case bool():  # before int, of which it is one
            return search_space_pb2.Value(bool_value=value)
        case int():
            return search_space_pb2.Value(int_value=value)
        case float():
            return search_space_pb2.Value(double_value=value)
        case str():
            return search_space_pb2.Value(string_value=value)


def values_of(messages: Mapping[str, search_space_pb2.Value]) -> dict[str, Scalar]:
    """Gives the scalars of a map of messages, in alphabetical order: a protobuf map has none."""
    return {name: value_of(messages[name]) for name in sorted(messages)}


def value_messages(values: Mapping[str, Scalar]) -> dict[str, search_space_pb2.Value]:
    """Gives the messages of scalars by name."""
    return {name: value_message(value) for name, value in values.items()}
