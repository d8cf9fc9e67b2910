"""The port through which owners of studies keep the trials that callers drive: many studies in one commit.

Laws, beside those of the storage port:

1.  `claim` makes the coordinator the study's owner and raises its epoch; it waits for a write that is on its way.
2.  `write` stores of each study all changes or none. A study whose epoch is not the one given is left out, alone.
3.  What `claim` gives afterwards is everything that any `write` before it stored.
4.  All raise Unavailable when the database does not answer: whether the changes were stored, `claim` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage.trial_values import Measured, PriorTrial
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Hyperparameters, Result, Retry, SearchedHistory, TrialState


@dataclass(frozen=True, slots=True)
class TimedRun:
    """A trial that its caller has had since the last of so many losses, and how long its study waits for a word."""

    study: StudyName
    number: int
    lost_runs: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class DrivenTrial:
    """A trial as it starts: RUNNING, for the request that asked for it."""

    number: int
    hyperparameters: Hyperparameters
    seed: int
    request_id: str
    known_point: int | None = None
    searched: SearchedHistory | None = None


@dataclass(frozen=True, slots=True)
class TrialChange:
    """What a trial that has not ended becomes. `request_id` is that of the request it is given to again, if any."""

    number: int
    state: TrialState
    state_reason: str
    value: float | None
    steps: int
    result: Result | None = None
    request_id: str | None = None


@dataclass(slots=True)
class StudyChanges:
    """What one commit stores of a study. A trial that starts in it is not changed by it."""

    study: StudyName
    epoch: int
    next_trial: int
    best_trial: int | None
    started: list[DrivenTrial] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    changed: dict[int, TrialChange] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.started or self.measured or self.changed)


@dataclass(frozen=True, slots=True)
class Committed:
    """The revision that the changes carry, and the database's time of their commit."""

    revision: int
    time: datetime


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial of a claimed study.

    `measured` are (step, objective) ascending, of those with a finite objective; `seconds` the elapsed ones at each;
    `lost_runs` how often its caller was lost, for the `retries`.
    """

    started: DrivenTrial
    state: TrialState
    value: float | None
    steps: int
    create_time: datetime
    revision: int
    measured: tuple[tuple[int, float], ...]
    result: Result | None = None
    seconds: tuple[float, ...] = ()
    lost_runs: int = 0
    retries: tuple[Retry, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimedStudy:
    """All that an owner needs to decide: the study, its trials by number, what stands of the open ones, its priors'."""

    study: Study
    epoch: int
    trials: Sequence[StoredTrial]
    standing: Sequence[Measured]
    prior_trials: Sequence[PriorTrial] = ()


class DrivenStorage(Protocol):
    """The studies without a task, for those who own them."""

    async def claim(self, study: StudyName, owner: str) -> ClaimedStudy | None:
        """Takes the study over and reads it. None: another coordinator owns it, and lives.

        Raises:
            NotFound: there is no such study.
            FailedPrecondition: WRONG_STATE, the study has a task.
        """

    async def holds(self, study: StudyName, epoch: int) -> bool:
        """Whether the epoch is still the study's: nobody has taken it over."""

    async def write(self, changes: Sequence[StudyChanges]) -> Mapping[StudyName, Committed]:
        """Stores the changes in one commit; gives the studies whose epoch was right."""

    async def close(self) -> None:
        """Gives every connection back."""
