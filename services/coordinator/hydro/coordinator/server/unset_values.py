"""Values that a request leaves unset: JSON's null, and Python's None, are no values of a hyperparameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from hydro.api.type.v1 import search_space_pb2
from hydro.kit.errors import FieldViolation, InvalidArgument

_VALUE = search_space_pb2.Value.DESCRIPTOR.full_name


def unset_values(message: Any, path: str) -> Iterator[FieldViolation]:
    """Each value without a kind in a message, with its path."""
    if message.DESCRIPTOR.full_name == _VALUE:
        if message.WhichOneof("kind") is None:
            advice = "is not set: give a bool_value, int_value, double_value or string_value; there is no null"
            yield FieldViolation(path, advice)
        return
    for field in message.DESCRIPTOR.fields:
        for place, part in _parts(message, field):
            yield from unset_values(part, f"{path}.{field.name}{place}".lstrip("."))


def check_values(request: Any, *names: str) -> None:
    """Raises InvalidArgument for each value that these fields of a request leave unset."""
    fields = [request.DESCRIPTOR.fields_by_name[name] for name in names]
    parts = [(f"{field.name}{place}", part) for field in fields for place, part in _parts(request, field)]
    found = [violation for path, part in parts for violation in unset_values(part, path)]
    if found:
        raise InvalidArgument.of(found)


def _parts(message: Any, field: FieldDescriptor) -> Iterable[tuple[str, Any]]:
    """The messages that a field holds, each with its place in it. A value is there even when nobody has set it."""
    kind = field.message_type
    if kind is None:
        return []
    content = getattr(message, field.name)
    if kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is None:
            return []
        return [(f"[{key!r}]", content[key]) for key in sorted(content)]
    if field.is_repeated:
        return [(f"[{index}]", each) for index, each in enumerate(content)]
    return [("", content)] if kind.full_name == _VALUE or message.HasField(field.name) else []
