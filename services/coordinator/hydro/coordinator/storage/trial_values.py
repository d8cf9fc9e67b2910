"""What is told to storage of trials, and asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hydro.coordinator.tags import Tags
from hydro.coordinator.trial import (
    Artifact,
    HyperparameterChange,
    Hyperparameters,
    Measurement,
    Result,
    SearchedHistory,
    TrialKind,
    TrialState,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial to be stored in PENDING."""

    hyperparameters: Hyperparameters
    seed: int
    kind: TrialKind = TrialKind.SEARCH
    known_point: int | None = None
    schedule: tuple[HyperparameterChange, ...] = ()
    searched: SearchedHistory | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement of a trial. `value` is its objective: None when it is missing or not finite."""

    number: int
    measurement: Measurement
    value: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class NewRetry:
    """What went wrong with a run of a trial, among so many in its bundle, that goes back to so many steps."""

    reason: str
    steps: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a lane has come. `checkpoint` holds exactly `steps` steps; `log` are its lines since the last time."""

    number: int
    steps: int
    checkpoint: Artifact | None = None
    log: str = ""


class TrialOrder(Enum):
    """How trials are listed. Those without a value come last in the orders by value, by number."""

    NUMBER = "NUMBER"
    NUMBER_DESCENDING = "NUMBER_DESCENDING"
    VALUE_ASCENDING = "VALUE_ASCENDING"
    VALUE_DESCENDING = "VALUE_DESCENDING"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an order a trial stands: its value counts in the orders by value alone."""

    number: int
    value: float | None = None


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Which trials: of the kind, in one of the states (none: any), with all of the tags; those behind the place."""

    limit: int
    kind: TrialKind | None = None
    states: tuple[TrialState, ...] = ()
    tags: Tags = field(default_factory=dict)
    order: TrialOrder = TrialOrder.NUMBER
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class PriorTrial:
    """A succeeded trial of another study, as the search of this one begins with it. `number` is below 0."""

    number: int
    hyperparameters: Hyperparameters
    result: Result
    steps: int
