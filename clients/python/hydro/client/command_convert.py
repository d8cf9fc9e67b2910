"""Commands between the contract's messages and the SDK's values."""

from __future__ import annotations

from dataclasses import asdict
from typing import assert_never

from hydro.api.type.v1 import command_pb2
from hydro.client.commands import Command, InBubbles, JsonLines, LogPattern, MetricsSource, Prometheus
from hydro.kit.errors import FieldViolation, InvalidArgument


def command_message(command: Command, source_path: str) -> command_pb2.Command:
    """What a study takes.

    Raises:
        InvalidArgument: something that no message can hold.
    """
    for index, each in enumerate(command.arguments):
        _check_text(each, f"study.command.arguments[{index}]")
    for name, value in command.environment.items():
        _check_text(value, f"study.command.environment[{name}]")
    return command_pb2.Command(
        arguments=command.arguments,
        environment=command.environment,
        image=command.image,
        source_path=source_path,
        timeout_seconds=command.timeout_seconds,
        stop_grace_seconds=command.stop_grace_seconds,
        trials_per_device=command.trials_per_device,
        metrics=[_source_message(each) for each in command.metrics],
        in_bubbles=None if command.in_bubbles is None else command_pb2.InBubbles(**asdict(command.in_bubbles)),
    )


def command_value(message: command_pb2.Command) -> Command:
    """The command as the coordinator told it."""
    return Command(
        arguments=tuple(message.arguments),
        environment=dict(message.environment),
        image=message.image,
        timeout_seconds=message.timeout_seconds,
        stop_grace_seconds=message.stop_grace_seconds,
        trials_per_device=message.trials_per_device,
        metrics=tuple(_source(each) for each in message.metrics),
        in_bubbles=_in_bubbles(message.in_bubbles) if message.HasField("in_bubbles") else None,
    )


def _in_bubbles(message: command_pb2.InBubbles) -> InBubbles:
    return InBubbles(message.memory_bytes, message.shortest_seconds, message.grace_seconds)


def _check_text(given: object, field: str) -> None:
    if not isinstance(given, str):
        advice = f"{given!r} is a {type(given).__name__}; write it as text, in quotes in YAML"
        raise InvalidArgument.of([FieldViolation(field, advice)])


def _source_message(source: MetricsSource) -> command_pb2.MetricsSource:
    match source:
        case LogPattern(pattern):
            return command_pb2.MetricsSource(log_pattern=command_pb2.LogPattern(pattern=pattern))
        case JsonLines(path):
            return command_pb2.MetricsSource(json_lines_file=command_pb2.JsonLinesFile(path=path))
        case Prometheus(path, interval, step_metric):
            endpoint = command_pb2.PrometheusEndpoint(path=path, interval_seconds=interval, step_metric=step_metric)
            return command_pb2.MetricsSource(prometheus_endpoint=endpoint)
    assert_never(source)


def _source(message: command_pb2.MetricsSource) -> MetricsSource:
    match message.WhichOneof("source"):
        case "log_pattern":
            return LogPattern(message.log_pattern.pattern)
        case "json_lines_file":
            return JsonLines(message.json_lines_file.path)
    endpoint = message.prometheus_endpoint
    return Prometheus(endpoint.path, endpoint.interval_seconds, endpoint.step_metric)
