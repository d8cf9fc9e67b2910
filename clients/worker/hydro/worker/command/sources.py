"""Where a program's measurements come from, beside its own reports: its log, a file, an endpoint."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from prometheus_client.parser import text_string_to_metric_families

from hydro.client.commands import Command, JsonLines, LogPattern, Prometheus
from hydro.kit.line_metrics import LineMetrics, MetricPattern, read_json, read_line

_ANSWER_SECONDS = 5.0
_LONGEST_PAGE_BYTES = 4 * 1024 * 1024
_LONGEST_READ_BYTES = 1024 * 1024


class Measured(NamedTuple):
    """Metrics at a step; the objective is among them."""

    step: int
    metrics: dict[str, float]


class Gathering:
    """Puts what is found together to measurements: the objective ends one, with what was found at its step before.

    Where no steps are named, measurements are numbered from 1.
    """

    def __init__(self, objective: str) -> None:
        self._objective = objective
        self._found: dict[str, float] = {}
        self._step: int | None = None
        self._count = 0

    def take(self, found: LineMetrics) -> list[Measured]:
        """Gives the measurement that is complete now, if one is."""
        if found.step is not None and found.step != self._step:
            self._found, self._step = {}, found.step
        self._found |= found.metrics
        if self._objective not in found.metrics:
            return []
        self._count += 1
        complete, self._found = self._found, {}
        return [Measured(self._count if self._step is None else self._step, complete)]


class Source(Protocol):
    """Finds measurements."""

    def look(self, lines: Sequence[str], *, is_last: bool) -> list[Measured]:
        """Gives what is new.

        Args:
            lines: New lines of the log.
            is_last: The program has ended.

        Raises:
            TooSlow: an expression backtracks.
        """
        ...

    @property
    def sought(self) -> str:
        """What was looked for, and how far that came: for the reason of a trial without any measurement."""
        ...

    def close(self) -> None:
        """Looks no more."""
        ...


class LogSource:
    """Regular expressions over the log."""

    def __init__(self, patterns: Sequence[MetricPattern], objective: str) -> None:
        self._patterns = patterns
        self._gathering = Gathering(objective)
        self._lines = 0
        self._hits = 0

    def look(self, lines: Sequence[str], *, is_last: bool) -> list[Measured]:
        """Searches the lines."""
        measured = []
        for line in lines:
            self._lines += 1
            found = read_line(self._patterns, line)
            self._hits += bool(found.metrics)
            measured += self._gathering.take(found)
        return measured

    @property
    def sought(self) -> str:
        """The expressions."""
        said = " and ".join(repr(each.pattern) for each in self._patterns)
        return f"{self._hits} of the log's {self._lines} lines had metrics by {said}"

    def close(self) -> None:
        """Nothing to do."""


class FileSource:
    """A file of JSON lines that grows."""

    def __init__(self, path: Path, objective: str) -> None:
        self._path = path
        self._gathering = Gathering(objective)
        self._position = 0
        self._rest = b""
        self._lines = 0
        self._fault = ""

    def look(self, lines: Sequence[str], *, is_last: bool) -> list[Measured]:
        """Reads what was appended; a line that is not whole yet waits for its rest."""
        measured: list[Measured] = []
        for line in self._new_lines(is_last):
            try:
                found = read_json(line.decode(errors="replace"))
            except ValueError as error:
                self._fault = self._fault or f"; not JSON: {error}"
                continue
            self._lines += 1
            measured += self._gathering.take(found)
        return measured

    def _new_lines(self, is_last: bool) -> Iterable[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read(-1 if is_last else _LONGEST_READ_BYTES)
        except OSError:
            return []
        self._position += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if is_last:
            whole, self._rest = [*whole, self._rest], b""
        return [line for line in whole if line.strip()]

    @property
    def sought(self) -> str:
        """The file."""
        if not self._path.exists():
            return f"there is no file {self._path}"
        return f"{self._path} has {self._lines} JSON lines{self._fault}"

    def close(self) -> None:
        """Nothing to do."""


class EndpointSource:
    """An endpoint in Prometheus' text format, looked at from a thread of its own."""

    def __init__(self, url: str, chosen: Prometheus, objective: str, wake: Callable[[], None]) -> None:
        self._url = url
        self._chosen = chosen
        self._objective = objective
        self._wake = wake
        self._gathering = Gathering(objective)
        self._last: tuple[int | None, float] | None = None
        self._found: list[Measured] = []
        self._pages = 0
        self._fault = "it was not looked at yet"
        self._closed = threading.Event()
        threading.Thread(target=self._follow, name="endpoint", daemon=True).start()

    def look(self, lines: Sequence[str], *, is_last: bool) -> list[Measured]:
        """Gives what the thread has found."""
        found = []
        while self._found:
            found.append(self._found.pop(0))
        return found

    @property
    def sought(self) -> str:
        """The endpoint."""
        fault = f" ({self._fault})" if self._fault else ""
        return f"{self._url} gave {self._pages} pages{fault}"

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()

    def _follow(self) -> None:
        interval = self._chosen.interval_seconds
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                page = read_page(self._url)
                self._fault = ""
                self._pages += 1
                self._take(page)
            except (OSError, ValueError) as error:
                # It listens later, or not any more.
                self._fault = f"{type(error).__name__}: {error}"
            self._closed.wait(max(0.0, interval - (time.monotonic() - began)))

    def _take(self, page: dict[str, float]) -> None:
        value = page.get(self._objective)
        if value is None:
            self._fault = f"{self._objective!r} is not among its metrics"
            return
        step = None
        if self._chosen.step_metric:
            given = page.pop(self._chosen.step_metric, None)
            if given is None:
                self._fault = f"{self._chosen.step_metric!r} is not among its metrics"
                return
            step = int(given)
        key = (step, value) if step is None else (step, 0.0)
        if key != self._last:
            self._last = key
            self._found += self._gathering.take(LineMetrics(page, step))
            self._wake()


def read_page(url: str) -> dict[str, float]:
    """Gives an endpoint's metrics: one with labels is called name{label="value"}.

    Raises:
        OSError: nobody answers.
        ValueError: the answer is not in the text format.
    """
    with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - always http, on this machine
        text = answer.read(_LONGEST_PAGE_BYTES).decode(errors="replace")
    return page_metrics(text)


def page_metrics(text: str) -> dict[str, float]:
    """Gives the metrics of a page."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def sources_of(
    command: Command, objective: str, directory: Path, metrics_port: int, wake: Callable[[], None]
) -> list[Source]:
    """Gives the command's sources, at work."""
    sources: list[Source] = []
    patterns = [MetricPattern(each.pattern) for each in command.metrics if isinstance(each, LogPattern)]
    if patterns:
        sources.append(LogSource(patterns, objective))
    for each in command.metrics:
        if isinstance(each, JsonLines):
            sources.append(FileSource(directory / each.path, objective))
        elif isinstance(each, Prometheus):
            url = f"http://127.0.0.1:{metrics_port}{each.path}"
            sources.append(EndpointSource(url, each, objective, wake))
    return sources
