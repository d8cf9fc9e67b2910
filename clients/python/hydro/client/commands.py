"""Command trials: any program, run once for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A regular expression that is searched for in each line of the program's log."""

    pattern: str


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A file of JSON objects, one a line, that the program appends to; relative to the trial's directory."""

    path: str


@dataclass(frozen=True, slots=True)
class Prometheus:
    """An endpoint of the program in Prometheus' text format. Units: seconds between two looks; 0 means 5."""

    path: str = "/metrics"
    interval_seconds: float = 0.0
    step_metric: str = ""


MetricsSource = LogPattern | JsonLines | Prometheus


@dataclass(frozen=True, slots=True)
class InBubbles:
    """Leave to run in pipeline bubbles, by signals, for a program that knows no gate; docs/squeezer.md has the costs.

    Args:
        memory_bytes: What the program holds of the GPU at most: a slot that offers less does not get it.
        shortest_seconds: A bubble with less time left, beside the grace, is not used; a slot has to have longer ones.
        grace_seconds: From SIGTSTP to SIGSTOP at a bubble's end.
    """

    memory_bytes: int
    shortest_seconds: float = 0.005
    grace_seconds: float = 0.005


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run for each trial, on a leased device; see docs/commands.md.

    Args:
        arguments: The program and its arguments. `${name}` becomes the trial's value of a hyperparameter, `$${` a plain
            `${`; `${hydro.source_path}` and others are given too.
        environment: Variables of the program. They are stored as they are: not for secrets.
        image: Image of a container that it runs in, by `docker run`. Empty: on the machine itself.
        timeout_seconds: A trial that takes longer fails. 0: no limit.
        stop_grace_seconds: From the request to end to the end of everything that the program has started.
        trials_per_device: Programs side by side on one device.
        metrics: Where measurements come from, beside `hydro.client.trial`.
        in_bubbles: It may run in pipeline bubbles too, one program in a slot. None: on exclusive devices alone.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    timeout_seconds: float = 0.0
    stop_grace_seconds: float = 5.0
    trials_per_device: int = 1
    metrics: Sequence[MetricsSource] = ()
    in_bubbles: InBubbles | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", tuple(self.arguments))
        object.__setattr__(self, "metrics", tuple(self.metrics))


def log_pattern(pattern: str) -> LogPattern:
    """Measurements from the program's log; `hydro metrics-test` shows what an expression finds in one.

    Args:
        pattern: A regular expression with named groups: `step`, `name` and `value`, or the name of a metric.
    """
    return LogPattern(pattern)


def json_lines(path: str) -> JsonLines:
    """Measurements from a file of JSON lines in the trial's directory.

    Args:
        path: Of the file, in the trial's directory.
    """
    return JsonLines(path)


def prometheus(path: str = "/metrics", *, interval_seconds: float = 5.0, step_metric: str = "") -> Prometheus:
    """Measurements from the program's own endpoint, at the port in HYDRO_METRICS_PORT.

    Args:
        path: Of the endpoint.
        interval_seconds: Between two looks.
        step_metric: The metric that has the step. Empty: measurements are numbered.
    """
    return Prometheus(path, interval_seconds, step_metric)
