"""Numbers by name in lines of text: found by regular expressions, or written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import regex

STEP, NAME, VALUE = "step", "name", "value"
LONGEST_LINE_CHARACTERS = 4096
"""Of a longer line only the beginning is searched: an expression that backtracks takes long on long lines."""
LONGEST_SEARCH_SECONDS = 1.0
"""CPU time of one expression on one line. Most take microseconds; one that backtracks without end would take years."""


class TooSlow(Exception):
    """An expression took longer on a line than any that is meant to."""


@dataclass(frozen=True, slots=True)
class LineMetrics:
    """What one line says. `step` is None where it names none; a `step` alone has no metrics."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None

    def __bool__(self) -> bool:
        return bool(self.metrics) or self.step is not None


class MetricPattern:
    """A regular expression with named groups: `step`; `name` and `value`; any other one is a metric of that name.

    Raises:
        ValueError: it is no regular expression, or finds no metric.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        try:
            self._expression = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        groups = set(self._expression.groupindex)
        if (NAME in groups) != (VALUE in groups):
            raise ValueError(
                f"has only one of the groups {NAME!r} and {VALUE!r}: name both, or a group for each metric"
            )
        if not groups - {STEP}:
            raise ValueError(
                "names no metric: use a group like (?P<accuracy>[0-9.]+), or (?P<name>...) and (?P<value>...)"
            )

    def read(self, line: str) -> LineMetrics:
        """Gives what all matches in a line say; groups that hold no number are left out.

        Raises:
            TooSlow: the expression backtracks.
        """
        metrics: dict[str, float] = {}
        step = None
        for groups in self._matches(line[:LONGEST_LINE_CHARACTERS]):
            step = _step(groups.pop(STEP, None)) if STEP in groups else step
            if NAME in groups:
                groups[groups.pop(NAME) or ""] = groups.pop(VALUE)
            metrics |= {name: value for name, text in groups.items() if name and (value := number(text)) is not None}
        return LineMetrics(metrics, step)

    def _matches(self, line: str) -> list[dict[str, str | None]]:
        try:
            return [match.groupdict() for match in self._expression.finditer(line, timeout=LONGEST_SEARCH_SECONDS)]
        except TimeoutError:
            raise TooSlow(
                f"the expression {self.pattern!r} took {LONGEST_SEARCH_SECONDS:g} s on the line {line[:100]!r}: it "
                "backtracks; write it without repetitions inside repetitions, and try it with hydro metrics-test"
            ) from None


def read_line(patterns: Sequence[MetricPattern], line: str) -> LineMetrics:
    """Gives what all patterns find in a line, together."""
    found = [pattern.read(line) for pattern in patterns]
    metrics = {name: value for each in found for name, value in each.metrics.items()}
    steps = [each.step for each in found if each.step is not None]
    return LineMetrics(metrics, steps[0] if steps else None)


def read_json(line: str) -> LineMetrics:
    """Gives what a line says that is a JSON object: its numbers, and its "step".

    Raises:
        ValueError: it is none.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError(f"{line[:100]!r} is no JSON object")
    step = _step(content.pop(STEP, None))
    numbers = {name: number(each) for name, each in content.items()}
    return LineMetrics({name: each for name, each in numbers.items() if each is not None}, step)


def number(given: object) -> float | None:
    """Gives the number that a text or a JSON value is. None: it is none."""
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        return None
    try:
        return float(given)
    except (ValueError, OverflowError):
        return None


def _step(given: object) -> int | None:
    found = number(given)
    return int(found) if found is not None and math.isfinite(found) and found >= 0 else None
