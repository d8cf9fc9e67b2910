"""Commands as messages and as values."""

from __future__ import annotations

from dataclasses import asdict
from typing import assert_never

from hydro.api.type.v1 import command_pb2
from hydro.coordinator.command import (
    DEFAULT_GRACE_SECONDS,
    DEFAULT_INTERVAL_SECONDS,
    DEFAULT_SHORTEST_SECONDS,
    DEFAULT_STOP_GRACE_SECONDS,
    Command,
    InBubbles,
    JsonLinesFile,
    LogPattern,
    MetricsSource,
    PrometheusEndpoint,
)
from hydro.kit.errors import FieldViolation


def command_of(message: command_pb2.Command) -> Command:
    """The command. Metrics sources that are not known here are left out."""
    return Command(
        arguments=tuple(message.arguments),
        environment=dict(sorted(message.environment.items())),
        image=message.image,
        source_path=message.source_path,
        timeout_seconds=message.timeout_seconds,
        stop_grace_seconds=message.stop_grace_seconds or DEFAULT_STOP_GRACE_SECONDS,
        trials_per_device=message.trials_per_device or 1,
        metrics=tuple(_source_of(each) for each in message.metrics if each.WhichOneof("source")),
        in_bubbles=_in_bubbles_of(message.in_bubbles) if message.HasField("in_bubbles") else None,
    )


def unknown_sources(message: command_pb2.Command) -> list[FieldViolation]:
    """The metrics sources that are empty, or not known here."""
    advice = "is empty, or not known here: give log_pattern, json_lines_file or prometheus_endpoint"
    return [
        FieldViolation(f"study.command.metrics[{index}]", advice)
        for index, each in enumerate(message.metrics)
        if not each.WhichOneof("source")
    ]


def command_message(command: Command) -> command_pb2.Command:
    """The message of a command."""
    return command_pb2.Command(
        arguments=command.arguments,
        environment=command.environment,
        image=command.image,
        source_path=command.source_path,
        timeout_seconds=command.timeout_seconds,
        stop_grace_seconds=command.stop_grace_seconds,
        trials_per_device=command.trials_per_device,
        metrics=map(_source_message, command.metrics),
        in_bubbles=None if command.in_bubbles is None else command_pb2.InBubbles(**asdict(command.in_bubbles)),
    )


def _in_bubbles_of(message: command_pb2.InBubbles) -> InBubbles:
    return InBubbles(
        memory_bytes=message.memory_bytes,
        shortest_seconds=message.shortest_seconds or DEFAULT_SHORTEST_SECONDS,
        grace_seconds=message.grace_seconds or DEFAULT_GRACE_SECONDS,
    )


def _source_of(message: command_pb2.MetricsSource) -> MetricsSource:
    match message.WhichOneof("source"):
        case "log_pattern":
            return LogPattern(message.log_pattern.pattern)
        case "json_lines_file":
            return JsonLinesFile(message.json_lines_file.path)
        case _:
            endpoint = message.prometheus_endpoint
            interval = endpoint.interval_seconds or DEFAULT_INTERVAL_SECONDS
            return PrometheusEndpoint(endpoint.path or "/metrics", interval, endpoint.step_metric)


def _source_message(source: MetricsSource) -> command_pb2.MetricsSource:
    match source:
        case LogPattern(pattern):
            return command_pb2.MetricsSource(log_pattern=command_pb2.LogPattern(pattern=pattern))
        case JsonLinesFile(path):
            return command_pb2.MetricsSource(json_lines_file=command_pb2.JsonLinesFile(path=path))
        case PrometheusEndpoint(path, interval, step_metric):
            endpoint = command_pb2.PrometheusEndpoint(path=path, interval_seconds=interval, step_metric=step_metric)
            return command_pb2.MetricsSource(prometheus_endpoint=endpoint)
        case _:
            assert_never(source)
