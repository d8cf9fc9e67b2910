"""Writes docs/api.md, the reference of the contract, from the comments in the protos: `make api-reference`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

HERE = Path(__file__).parent
REFERENCE = HERE.parent / "docs" / "api.md"
# Numbers of the fields that a location's path goes through in FileDescriptorProto, DescriptorProto, and so on.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _METHODS, _VALUES = 2, 2, 2

Field = descriptor_pb2.FieldDescriptorProto
Comments = dict[tuple[int, ...], str]


def main() -> None:
    """Writes the page."""
    REFERENCE.write_text(reference())


def reference() -> str:
    """Gives the page: each service with its methods, then the messages and enums, by package."""
    files = [each for each in _parsed().file if each.name.startswith("hydro/")]
    lines = [
        "# API reference",
        "",
        "Written from the comments in `protos/` by `make api-reference`; a test holds it against them. What methods",
        "have in common, names, states, errors and what a repeated call gives, is in",
        "[a decision](decisions/0002-the-contract-answers-with-resources.md).",
    ]
    for package in sorted({each.package for each in files}):
        lines += ["", f"## {package}"]
        for each in sorted((one for one in files if one.package == package), key=lambda one: one.name):
            lines += _file(each)
    text = "\n".join(lines) + "\n"
    # What has no comment leaves no gap.
    return re.sub(r"\n{3,}", "\n\n", text)


def _parsed() -> descriptor_pb2.FileDescriptorSet:
    sources = sorted(str(path) for path in HERE.glob("hydro/**/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "all.binpb"
        includes = [f"-I{HERE}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
        arguments = [*includes, f"--descriptor_set_out={target}", "--include_source_info", *sources]
        if protoc.main(["protoc", *arguments]) != 0:
            sys.exit("the protos cannot be parsed: see above")
        return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())


def _file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    comments = {tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location}
    for index, service in enumerate(file.service):
        yield from _service(service, comments, (_SERVICES, index))
    for index, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGES, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, comments, (_ENUMS, index))


def _service(
    service: descriptor_pb2.ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield from ("", f"### {service.name}", "", _text(comments, path))
    for index, method in enumerate(service.method):
        request = ("stream of " if method.client_streaming else "") + _link(method.input_type)
        answer = ("stream of " if method.server_streaming else "") + _link(method.output_type)
        yield from ("", f"**{method.name}**({request}) → {answer}", "")
        yield _text(comments, (*path, _METHODS, index))


def _message(message: descriptor_pb2.DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from ("", f"### {message.name}", "", _text(comments, path))
    if message.field:
        yield from ("", "| field | type | |", "|---|---|---|")
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    for index, field in enumerate(message.field):
        kind = _kind(field, maps)
        if field.HasField("oneof_index") and not field.proto3_optional:
            kind += f", one of `{message.oneof_decl[field.oneof_index].name}`"
        yield f"| `{field.name}` | {kind} | {_cell(comments, (*path, _FIELDS, index))} |"


def _enum(enum: descriptor_pb2.EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from ("", f"### {enum.name}", "", _text(comments, path), "", "| value | number | |", "|---|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {_cell(comments, (*path, _VALUES, index))} |"


def _kind(field: Field, maps: dict[str, descriptor_pb2.DescriptorProto]) -> str:
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = entry.field
        return f"map of {_kind(key, {})} to {_kind(value, {})}"
    kind = _link(field.type_name) if field.type_name else Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == Field.LABEL_REPEATED:
        return f"list of {kind}"
    return f"optional {kind}" if field.proto3_optional else kind


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    return f"[{name}](#{name.lower()})" if type_name.startswith(".hydro.") else f"`{type_name.removeprefix('.')}`"


def _text(comments: Comments, path: tuple[int, ...]) -> str:
    return "\n".join(line.strip() for line in comments.get(path, "").splitlines())


def _cell(comments: Comments, path: tuple[int, ...]) -> str:
    return _text(comments, path).replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    main()
