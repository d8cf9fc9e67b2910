"""What a command must be."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import assert_never

from hydro.coordinator.command import (
    GIVEN_NAMES,
    Command,
    InBubbles,
    JsonLinesFile,
    LogPattern,
    MetricsSource,
    PrometheusEndpoint,
)
from hydro.coordinator.search_space import SearchSpace
from hydro.kit.errors import FieldViolation
from hydro.kit.line_metrics import MetricPattern
from hydro.kit.template import names_in, variable_name

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,500}")
_OUR_PREFIXES = ("HYDRO_", "HP_")
_OUR_NAMES = "hydro."
MAX_CHARACTERS = 100_000
"""Of one argument or value: Linux takes 128 KiB."""
MAX_TRIALS_PER_DEVICE = 256
MAX_GRACE_SECONDS = 600.0
MAX_TIMEOUT_SECONDS = 10.0**9
SHORTEST_INTERVAL_SECONDS = 0.1
MAX_SHORTEST_BUBBLE_SECONDS = 60.0
MAX_BUBBLE_GRACE_SECONDS = 1.0

Violations = Iterator[FieldViolation]


def command_violations(command: Command, space: SearchSpace, field: str = "study.command") -> Violations:
    """Everything that is wrong with a command for trials of the search space."""
    known = GIVEN_NAMES | {parameter.name for parameter in space.parameters}
    yield from _argument_violations(command, known, field)
    yield from _environment_violations(command, known, field)
    yield from _name_violations(space)
    yield from _place_violations(command, field)
    yield from _limit_violations(command, field)
    if command.in_bubbles is not None:
        yield from _bubble_violations(command, command.in_bubbles, f"{field}.in_bubbles")
    for index, source in enumerate(command.metrics):
        yield from _source_violations(source, f"{field}.metrics[{index}]")


def _argument_violations(command: Command, known: frozenset[str], field: str) -> Violations:
    if not command.arguments or not command.arguments[0]:
        yield FieldViolation(f"{field}.arguments", "name no program: give it first, as in python train.py")
    for index, argument in enumerate(command.arguments):
        path = f"{field}.arguments[{index}]"
        yield from _text_violations(argument, known, path)
        if _is_own_file(argument, command):
            yield FieldViolation(
                path,
                f"is {argument!r}, a file in source_path, and each trial runs in a directory of its own: write "
                f"${{hydro.source_path}}/{argument}, or ./{argument} for a file of the trial's directory",
            )


def _is_own_file(argument: str, command: Command) -> bool:
    """Whether the argument looks like a path from the folder of the program, where the program does not run."""
    if not command.source_path or not argument or argument.startswith((".", "/", "-", "$")) or "\x00" in argument:
        return False
    try:
        return (Path(command.source_path) / argument).is_file()
    except OSError:
        return False


def _text_violations(text: str, known: frozenset[str], path: str) -> Violations:
    if "\x00" in text or len(text) > MAX_CHARACTERS:
        yield FieldViolation(path, f"has a NUL or more than {MAX_CHARACTERS} characters: give a shorter text without")
        return
    try:
        unknown = sorted(names_in(text) - known)
    except ValueError as error:
        yield FieldViolation(path, f"{error}")
        return
    for name in unknown:
        yield FieldViolation(
            path, f"refers to {name!r}, and there is no such hyperparameter: give one of {', '.join(sorted(known))}"
        )


def _environment_violations(command: Command, known: frozenset[str], field: str) -> Violations:
    for name, value in command.environment.items():
        path = f"{field}.environment[{name[:100]}]"
        if not _VARIABLE.fullmatch(name):
            yield FieldViolation(path, "is no name of a variable: use letters, digits and '_', no digit first")
        elif name.startswith(_OUR_PREFIXES):
            yield FieldViolation(path, "is for the service to set: choose a name without HYDRO_ and HP_ in front")
        yield from _text_violations(value, known, path)


def _name_violations(space: SearchSpace) -> Violations:
    taken: dict[str, str] = {}
    for index, parameter in enumerate(space.parameters):
        path = f"study.search_space.parameters[{index}].name"
        if parameter.name.startswith(_OUR_NAMES):
            yield FieldViolation(
                path, f"is {parameter.name!r}: in a command, names with hydro. in front are the service's"
            )
        other = taken.setdefault(variable_name("HP_", parameter.name), parameter.name)
        if other != parameter.name:
            yield FieldViolation(
                path,
                f"is {parameter.name!r}, whose variable {variable_name('HP_', other)} is that of {other!r}: rename one",
            )


def _place_violations(command: Command, field: str) -> Violations:
    if command.image and not _IMAGE.fullmatch(command.image):
        yield FieldViolation(
            f"{field}.image", f"is {command.image[:100]!r}: give the name of an image, as in python:3.12"
        )
    if command.source_path and not Path(command.source_path).is_dir():
        yield FieldViolation(
            f"{field}.source_path",
            f"is {command.source_path!r}, and there is no such folder here: give one that the workers see too",
        )


def _limit_violations(command: Command, field: str) -> Violations:
    timeout, grace = command.timeout_seconds, command.stop_grace_seconds
    if not 0 <= timeout <= MAX_TIMEOUT_SECONDS:
        yield FieldViolation(
            f"{field}.timeout_seconds", f"is {timeout:g}: give 0 (no limit) to {MAX_TIMEOUT_SECONDS:g}"
        )
    if not 0 < grace <= MAX_GRACE_SECONDS:
        yield FieldViolation(
            f"{field}.stop_grace_seconds", f"is {grace:g}: give more than 0, at most {MAX_GRACE_SECONDS:g}"
        )
    if not 1 <= command.trials_per_device <= MAX_TRIALS_PER_DEVICE:
        yield FieldViolation(
            f"{field}.trials_per_device", f"is {command.trials_per_device}: give 1 to {MAX_TRIALS_PER_DEVICE}"
        )


def _bubble_violations(command: Command, in_bubbles: InBubbles, field: str) -> Violations:
    shortest, grace = in_bubbles.shortest_seconds, in_bubbles.grace_seconds
    if command.image:
        yield FieldViolation(
            field, f"is set, and no signal stops the container of image {command.image[:100]!r}: leave one of them out"
        )
    if in_bubbles.memory_bytes < 1:
        yield FieldViolation(
            f"{field}.memory_bytes", f"is {in_bubbles.memory_bytes}: give what the program holds of the GPU at most"
        )
    if not 0 < shortest <= MAX_SHORTEST_BUBBLE_SECONDS:
        yield FieldViolation(
            f"{field}.shortest_seconds",
            f"is {shortest:g}: give more than 0, at most {MAX_SHORTEST_BUBBLE_SECONDS:g}",
        )
    if not 0 < grace <= MAX_BUBBLE_GRACE_SECONDS:
        yield FieldViolation(
            f"{field}.grace_seconds", f"is {grace:g}: give more than 0, at most {MAX_BUBBLE_GRACE_SECONDS:g}"
        )


def _source_violations(source: MetricsSource, field: str) -> Violations:
    match source:
        case LogPattern(pattern):
            try:
                MetricPattern(pattern)
            except ValueError as error:
                yield FieldViolation(f"{field}.log_pattern.pattern", f"{pattern[:200]!r} {error}")
        case JsonLinesFile(path):
            parts = PurePosixPath(path).parts
            if not parts or path.startswith("/") or ".." in parts or "\x00" in path:
                yield FieldViolation(
                    f"{field}.json_lines_file.path", f"is {path!r}: give a path inside the trial's directory"
                )
        case PrometheusEndpoint(path, interval):
            if not path.startswith("/") or any(character.isspace() or character == "\x00" for character in path):
                yield FieldViolation(f"{field}.prometheus_endpoint.path", f"is {path!r}: give one like /metrics")
            if not (interval >= SHORTEST_INTERVAL_SECONDS and math.isfinite(interval)):
                yield FieldViolation(
                    f"{field}.prometheus_endpoint.interval_seconds",
                    f"is {interval:g}: give {SHORTEST_INTERVAL_SECONDS:g} or more",
                )
        case _:
            assert_never(source)
