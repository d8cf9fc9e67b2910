"""What a worker and the coordinator tell each other while a bundle trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from hydro.kit.artifacts import StoredArtifact
from hydro.tuner.training.lane import MemoryMiss
from hydro.worker.recipe import Lane


class Verdict(Enum):
    """What a lane does next; all but CONTINUE free it."""

    CONTINUE = "continue"
    PAUSE = "pause"
    PRUNE = "prune"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class LaneNews:
    """What one lane has to say."""

    trial: str
    steps: int
    metrics: Mapping[str, float] | None = None
    checkpoint: StoredArtifact | None = None
    """Holds exactly `steps` steps."""
    log: str = ""
    failure: str = ""
    finished: bool = False
    """A command's own end. `value` is then its final objective; None: the last measured one.

    With a failure: this run has measured nothing, and the trial fails unless a run before has.
    """
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """The news of every lane that has some."""

    sequence: int
    news: tuple[LaneNews, ...]
    free_lanes: int
    device_seconds: float
    """Worked since the round before."""
    fusion_count: int
    misses: tuple[MemoryMiss, ...] = ()
    """Since the round before."""


@dataclass(frozen=True, slots=True)
class ClonedLane:
    """A lane as it goes on: with the checkpoint of its parent, and hyperparameters of its own."""

    lane: Lane
    parent: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the coordinator has decided; the round is stored."""

    verdicts: Mapping[str, Verdict]
    insertions: tuple[Lane, ...]
    release_requested: bool
    clones: tuple[ClonedLane, ...] = ()


class Keeper(Protocol):
    """What there is to know of a lease while its bundle trains."""

    @property
    def release_requested(self) -> bool:
        """Whether the coordinator wants it back."""
        ...

    def ensure(self) -> None:
        """Returns while it lives; raises LeaseLost."""
        ...


class Reports(Protocol):
    """Tells the coordinator, and gives its answer."""

    def report(
        self, news: Sequence[LaneNews], free_lanes: int, fusion_count: int, misses: Sequence[MemoryMiss] = ()
    ) -> Answer:
        """See `hydro.worker.reporter.Reporter`."""
        ...
