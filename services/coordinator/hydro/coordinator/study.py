"""A study: what is searched, how, and where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from hydro.coordinator.command import Command
from hydro.coordinator.names import StudyName, SurrogateName, TrialName
from hydro.coordinator.pruning_rules import NoPruning, Pruning
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.stopping import Endurance, Stopping
from hydro.coordinator.tags import Tags
from hydro.coordinator.transition import transition
from hydro.coordinator.trial import Hyperparameters


class StudyState(Enum):
    """PREPARING > SEARCHING <> PAUSED > SUCCEEDED, any > FAILED | CANCELLED."""

    PREPARING = "PREPARING"
    SEARCHING = "SEARCHING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def has_ended(self) -> bool:
        """Whether the search is over for good."""
        return self in (StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED)


_OPEN = (StudyState.PREPARING, StudyState.SEARCHING, StudyState.PAUSED)
START_SEARCH = transition("start the search of", [StudyState.PREPARING], StudyState.SEARCHING)
PAUSE_STUDY = transition("pause", [StudyState.SEARCHING], StudyState.PAUSED)
RESUME_STUDY = transition("resume", [StudyState.PAUSED], StudyState.SEARCHING)
SUCCEED_STUDY = transition("finish", [StudyState.SEARCHING], StudyState.SUCCEEDED)
FAIL_STUDY = transition("fail", _OPEN, StudyState.FAILED)
CANCEL_STUDY = transition("cancel", _OPEN, StudyState.CANCELLED)

TRANSITIONS = (START_SEARCH, PAUSE_STUDY, RESUME_STUDY, SUCCEED_STUDY, FAIL_STUDY, CANCEL_STUDY)


class Goal(Enum):
    """Which way is better."""

    MINIMIZE = "MINIMIZE"
    MAXIMIZE = "MAXIMIZE"


class Sampler(Enum):
    """How trials are suggested."""

    RANDOM = "RANDOM"
    TPE = "TPE"
    GRID = "GRID"
    QUASI_RANDOM = "QUASI_RANDOM"
    GP = "GP"
    CMA_ES = "CMA_ES"
    NSGA2 = "NSGA2"
    AUTO = "AUTO"
    """Not chosen yet: no stored study has it."""
    EXTERNAL = "EXTERNAL"
    """Of another distribution's search backend, which the spec names."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a study optimizes: a metric that every measurement carries."""

    metric: str
    goal: Goal


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a metric that a trial has at its end."""

    metric: str
    min: float = -math.inf
    max: float = math.inf

    def violation(self, value: float) -> float:
        """How far the value is beyond the bound; 0 or less: it keeps it."""
        return max(self.min - value, value - self.max)


@dataclass(frozen=True, slots=True)
class Prior:
    """A study whose succeeded trials are history for another's search; `weight`, in (0, 1], is the share of them."""

    study: StudyName
    weight: float


@dataclass(frozen=True, slots=True)
class Task:
    """The user's training code: "module:Class", the folder it is imported from, and the digest of its source."""

    entry_point: str
    source_path: str = ""
    fingerprint: str = ""


class Check(Enum):
    """A check of the surrogate that runs on request."""

    UPDATE_SIZE = "UPDATE_SIZE"
    LADDER = "LADDER"


@dataclass(frozen=True, slots=True)
class Verification:
    """What the surrogate has to show beyond the checks that always run."""

    checks: tuple[Check, ...] = ()
    accept_failed_checks: bool = False
    """Whether the study goes on though a check fails."""


@dataclass(frozen=True, slots=True)
class Population:
    """Population-based training: every `interval_steps` the bottom quantile of the trials goes on from the top one's.

    Each hyperparameter is then drawn anew with the `resample_probability`, or multiplied by 1 + or - `perturbation`.
    """

    interval_steps: int
    quantile: float = 0.25
    resample_probability: float = 0.25
    perturbation: float = 0.2


@dataclass(frozen=True, slots=True)
class StudySpec:
    """What the caller chose: a task, a command, or neither, when it trains the trials itself."""

    task: Task | None
    search_space: SearchSpace
    objective: Objective
    sampler: Sampler
    pruning: Pruning
    max_steps: int
    surrogate_width: float
    max_trials: int
    parallelism: int
    seed: int
    verification: Verification = Verification()
    further_objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    known_points: tuple[Hyperparameters, ...] = ()
    priors: tuple[Prior, ...] = ()
    command: Command | None = None
    population: Population | None = None
    surrogate_depth: float = 1.0
    """Its layers over the target's; below 1 with a width below 1 alone."""
    external_sampler: str = ""
    """The entry point of the search backend, where the sampler is EXTERNAL."""
    sampler_reason: str = ""
    """Who chose the sampler, and why."""

    @property
    def measuring(self) -> Pruning:
        """The rule that says when trials are measured."""
        return self.pruning if self.population is None else NoPruning(self.population.interval_steps)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All of them, in order."""
        return (self.objective, *self.further_objectives)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Which way is better, for each objective."""
        return tuple(each.goal for each in self.objectives)

    stopping: Stopping = Stopping()
    endurance: Endurance = Endurance()

    @property
    def is_driven(self) -> bool:
        """Whether the caller trains the trials itself."""
        return self.task is None and self.command is None


@dataclass(frozen=True, slots=True)
class StudyStatistics:
    """Counts over the study's search trials. Units: seconds of device time and of search, optimizer steps."""

    trials_by_state: Mapping[str, int] = field(default_factory=dict)
    bundles: int = 0
    max_fusion_count: int = 0
    device_seconds: float = 0.0
    trial_steps: int = 0
    slot_trial_steps: int = 0
    searched_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it is stored.

    `next_trial` is the number of its next trial; `version` changes with the study itself, `revision` with it or any of
    its trials. `best_trials` and `statistics` are found when it is read for a caller.
    """

    name: StudyName
    spec: StudySpec
    state: StudyState
    state_reason: str
    warnings: tuple[str, ...]
    surrogate: SurrogateName | None
    best_trial: TrialName | None
    version: int
    revision: int
    uid: str
    next_trial: int
    create_time: datetime
    end_time: datetime | None
    best_trials: tuple[TrialName, ...] = ()
    statistics: StudyStatistics = StudyStatistics()
    tags: Tags = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Changes with every change of the study itself."""
        return f"{self.uid[:8]}-{self.version}"


@dataclass(frozen=True, slots=True)
class StudyPlace:
    """Where a study stands among those of its project, the newest first, by id where they are of the same moment."""

    create_time: datetime
    study: str
