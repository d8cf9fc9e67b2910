"""A command: any program, run once for each trial of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GIVEN_NAMES = frozenset(
    f"hydro.{name}"
    for name in ("trial", "seed", "source_path", "trial_directory", "checkpoint_directory", "metrics_port")
)
"""What arguments and variables may refer to, beside hyperparameters."""

DEFAULT_STOP_GRACE_SECONDS = 5.0
DEFAULT_INTERVAL_SECONDS = 5.0
DEFAULT_SHORTEST_SECONDS = 0.005
DEFAULT_GRACE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A regular expression over the lines of the program's log."""

    pattern: str


@dataclass(frozen=True, slots=True)
class JsonLinesFile:
    """A file that the program appends JSON objects to, relative to the trial's directory."""

    path: str


@dataclass(frozen=True, slots=True)
class PrometheusEndpoint:
    """An endpoint of the program. An empty `step_metric`: each new value of the objective is a step."""

    path: str = "/metrics"
    interval_seconds: float = DEFAULT_INTERVAL_SECONDS
    step_metric: str = ""


MetricsSource = LogPattern | JsonLinesFile | PrometheusEndpoint


@dataclass(frozen=True, slots=True)
class InBubbles:
    """See hydro.api.type.v1.InBubbles."""

    memory_bytes: int
    shortest_seconds: float = DEFAULT_SHORTEST_SECONDS
    grace_seconds: float = DEFAULT_GRACE_SECONDS

    @property
    def needed_seconds(self) -> float:
        """The shortest bubble that is worth the signals."""
        return self.shortest_seconds + self.grace_seconds


@dataclass(frozen=True, slots=True)
class Command:
    """See hydro.api.type.v1.Command. A timeout of 0: no limit."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    source_path: str = ""
    timeout_seconds: float = 0.0
    stop_grace_seconds: float = DEFAULT_STOP_GRACE_SECONDS
    trials_per_device: int = 1
    metrics: tuple[MetricsSource, ...] = ()
    in_bubbles: InBubbles | None = None
    """None: it runs on exclusive devices alone."""
