"""hydro metrics-test: what regular expressions find in a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hydro.client.command.output import pairs, say
from hydro.kit.errors import FieldViolation, InvalidArgument, NotFound
from hydro.kit.line_metrics import LineMetrics, MetricPattern, TooSlow, read_json, read_line

Patterns = Annotated[
    list[str], typer.Option("--pattern", help="Regular expression with named groups; may be repeated.")
]
File = Annotated[Path, typer.Argument(help="A log, or a file of JSON lines.", show_default=False)]


def metrics_test(
    file: File,
    pattern: Patterns = [],  # noqa: B006 - typer reads it
    json_lines: Annotated[bool, typer.Option("--json-lines", help="The file is JSON lines instead.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show lines without a match too.")] = False,
) -> None:
    """Show line by line what a command trial's metrics sources find in a file."""
    if bool(pattern) == json_lines:
        raise InvalidArgument.of([FieldViolation("--pattern", "give one or more, or --json-lines instead")])
    patterns = [_pattern(each) for each in pattern]
    found = 0
    lines = _lines(file)
    for number, line in enumerate(lines, start=1):
        metrics, fault = _read(patterns, line)
        found += bool(metrics.metrics)
        if metrics or fault or show_all:
            step = "" if metrics.step is None else f"step {metrics.step}  "
            shown = f"[green]{step}{pairs(metrics.metrics)}[/]" if metrics else f"[red]{escape(fault) or '-'}[/]"
            say(f"{number:>6}  {shown}  [bright_black]{escape(line[:200])}[/]")
    say(f"{found} of {len(lines)} lines have metrics")
    if not found:
        raise typer.Exit(1)


def _read(patterns: list[MetricPattern], line: str) -> tuple[LineMetrics, str]:
    """What a line says, and why it says nothing."""
    try:
        if patterns:
            return read_line(patterns, line), ""
        return (read_json(line), "") if line.strip() else (LineMetrics(), "")
    except TooSlow as error:
        return LineMetrics(), str(error)
    except ValueError as error:
        return LineMetrics(), f"no JSON object: {error}"


def _pattern(text: str) -> MetricPattern:
    try:
        return MetricPattern(text)
    except ValueError as error:
        raise InvalidArgument.of([FieldViolation("--pattern", f"{text!r} {error}")]) from None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {error.strerror}") from None
