"""What the services said at one moment: values that do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from hydro.client.commands import Command
from hydro.client.names import StudyName, TrialName
from hydro.client.objectives import Constraint, Objective, Prior
from hydro.client.populations import Population
from hydro.client.pruning import Pruner
from hydro.client.spaces import Domain, Scalar
from hydro.client.stopping import Stopping
from hydro.client.surrogates import SurrogateSettings


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
        """No state follows."""
        return self in (StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED)


class TrialState(Enum):
    """PENDING > RUNNING > PAUSED > PENDING ... > SUCCEEDED | PRUNED | FAILED | CANCELLED."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def has_ended(self) -> bool:
        """No state follows."""
        return self not in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)


class TrialKind(Enum):
    """SEARCH trials train the surrogate, TARGET trials the target."""

    SEARCH = "SEARCH"
    TARGET = "TARGET"


class TrialOrder(Enum):
    """How trials are listed: by number, newest first, or by value, those without one last."""

    NUMBER = "NUMBER"
    NEWEST = "NEWEST"
    LOWEST = "LOWEST"
    HIGHEST = "HIGHEST"


class DeviceKind(Enum):
    """A slot is a GPU's recurring idle time."""

    CPU = "CPU"
    GPU = "GPU"
    SLOT = "SLOT"


class DeviceState(Enum):
    """Whether bundles may start on it."""

    READY = "READY"
    DRAINING = "DRAINING"
    GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Metrics after a number of optimizer steps, and of seconds of the trial's own training (None: nobody counted)."""

    step: int
    metrics: Mapping[str, float]
    elapsed_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ArtifactReference:
    """Where a stored file is, and the digest of its bytes."""

    uri: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StudyStatistics:
    """Counts over all search trials.

    Units: `device_seconds` is time that devices worked, on a slot only inside bubbles; `searched_seconds` was
    spent in SEARCHING; steps are optimizer steps.
    """

    trials_by_state: Mapping[str, int] = field(default_factory=dict)
    bundles: int = 0
    max_fusion_count: int = 0
    device_seconds: float = 0.0
    trial_steps: int = 0
    slot_trial_steps: int = 0
    searched_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What the user of a study chose."""

    search_space: Mapping[str, Domain]
    objective: Objective
    sampler: str
    pruner: Pruner
    surrogate: SurrogateSettings
    max_trials: int
    parallelism: int
    seed: int
    entry_point: str = ""
    source_path: str = ""
    command: Command | None = None
    further_objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    known_points: tuple[Mapping[str, Scalar], ...] = ()
    priors: tuple[Prior, ...] = ()
    stopping: Stopping = Stopping()
    retries: int | None = None
    """None: as many as the service thinks right."""
    failure_budget: int = 0
    """0: any number of trials may fail."""
    trial_timeout_seconds: float = 0.0
    """0: who drives a trial may say nothing for as long as it wants."""
    tags: Mapping[str, str] = field(default_factory=dict)
    population: Population | None = None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All of them, in order."""
        return (self.objective, *self.further_objectives)


@dataclass(frozen=True, slots=True)
class StudySnapshot:
    """A study at one moment. `surrogate` and `best_trial` are empty while there is none."""

    name: StudyName
    etag: str
    settings: StudySettings
    state: StudyState
    state_reason: str
    warnings: tuple[str, ...]
    surrogate: str
    best_trial: TrialName | None
    statistics: StudyStatistics
    create_time: datetime | None
    end_time: datetime | None
    sampler_reason: str = ""
    """Who chose the sampler, and why; what it cannot do with this search space."""
    best_trials: tuple[TrialName, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """A run that ended through no measurement: with `lanes` trials in its bundle, going back to `steps`."""

    reason: str
    steps: int
    lanes: int
    time: datetime | None


@dataclass(frozen=True, slots=True)
class HyperparameterChange:
    """From an optimizer step on, `trial` was trained with these hyperparameters.

    `parent` is the trial whose weights it took at the step; None: it kept its own.
    """

    step: int
    hyperparameters: Mapping[str, Scalar]
    trial: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class SearchedHistory:
    """What a suggestion's search knew of the search trials that no suggestion before it had known.

    It knew those before `searched_from`: `ended` as they ended, `paused` after so many steps, of `running` ones what
    they had measured in so many steps. What no suggestion says of a trial: it was open.
    """

    searched_from: int
    ended: tuple[int, ...] = ()
    paused: Mapping[int, int] = field(default_factory=dict)
    running: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialSnapshot:
    """A trial at one moment.

    `values` are the objectives of one that has succeeded; `metrics` what was measured at its end, where that is more
    than one objective; `feasible` says whether it keeps the constraints, where there are any; `known_point` is the
    index of the known point that it was made for; `lost_runs` are those that count against the study's retries.
    """

    name: TrialName
    kind: TrialKind
    state: TrialState
    state_reason: str
    hyperparameters: Mapping[str, Scalar]
    measurements: tuple[Measurement, ...]
    value: float | None
    steps: int
    seed: int
    device_seconds: float
    checkpoint: ArtifactReference | None
    create_time: datetime | None
    end_time: datetime | None
    log: str
    values: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    feasible: bool | None = None
    known_point: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    retries: tuple[Retry, ...] = ()
    schedule: tuple[HyperparameterChange, ...] = ()
    changes: tuple[HyperparameterChange, ...] = ()
    searched: SearchedHistory | None = None
    lost_runs: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """A device at one moment. `lease` is empty while it is idle.

    Units: `duty_cycle` is the share of time that is bubble, in [0, 1].
    """

    name: str
    kind: DeviceKind
    state: DeviceState
    model: str
    memory_bytes: int
    cpu_cores: tuple[int, ...]
    duty_cycle: float
    bubble_seconds: float
    lease: str


@dataclass(frozen=True, slots=True)
class Quota:
    """What a project may have; 0: as much as it wants."""

    open_studies: int
    """Studies that have not ended."""
    trials_per_study: int
    reports_per_second: float
    """At each coordinator."""


@dataclass(frozen=True, slots=True)
class ProjectSnapshot:
    """A project at one moment: what it may have, and how many of its studies have not ended."""

    name: str
    quota: Quota
    open_studies: int


@dataclass(frozen=True, slots=True)
class StudyChange:
    """One answer of a watch: the study, and the trials that changed since the answer before."""

    study: StudySnapshot
    trials: tuple[TrialSnapshot, ...]
    resume_token: str
