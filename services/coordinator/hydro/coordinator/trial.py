"""A trial: one training with one choice of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from hydro.coordinator.names import TrialName
from hydro.coordinator.tags import Tags
from hydro.coordinator.transition import transition

Value = float | int | str | bool
Hyperparameters = Mapping[str, Value]


class TrialKind(Enum):
    """What a trial is for: the search, or training the target."""

    SEARCH = "SEARCH"
    TARGET = "TARGET"


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
        """Whether no transition leads on."""
        return self not in _OPEN


_OPEN = (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)
START_TRIAL = transition("start", [TrialState.PENDING], TrialState.RUNNING)
PAUSE_TRIAL = transition("pause", [TrialState.RUNNING], TrialState.PAUSED)
PROMOTE_TRIAL = transition("promote", [TrialState.PAUSED], TrialState.PENDING)
RETURN_TRIAL = transition("return", [TrialState.RUNNING], TrialState.PENDING)
SUCCEED_TRIAL = transition("complete", [TrialState.RUNNING], TrialState.SUCCEEDED)
PRUNE_TRIAL = transition("prune", [TrialState.RUNNING, TrialState.PAUSED], TrialState.PRUNED)
FAIL_TRIAL = transition("fail", [TrialState.PENDING, TrialState.RUNNING], TrialState.FAILED)
CANCEL_TRIAL = transition("cancel", _OPEN, TrialState.CANCELLED)

TRANSITIONS = (
    START_TRIAL, PAUSE_TRIAL, PROMOTE_TRIAL, RETURN_TRIAL, SUCCEED_TRIAL, PRUNE_TRIAL, FAIL_TRIAL, CANCEL_TRIAL,
)  # fmt: skip


class Verdict(Enum):
    """What a lane does after a measurement. All but CONTINUE free the lane."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    PRUNE = "PRUNE"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file: a URI that fsspec opens, "sha256:..." and its size in bytes."""

    uri: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """The metrics after `step` optimizer steps. Keyed by (trial, step): the first one accepted stands.

    `elapsed_seconds` are those of the trial's own training until then, and no part of what it is compared by.
    """

    step: int
    metrics: Mapping[str, float]
    elapsed_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a succeeded trial has come to.

    `values` are the objectives in the study's order, `violations` how far each constrained metric is beyond its bound
    (0 or less: not at all), `metrics` what was measured at the end.
    """

    values: tuple[float, ...]
    violations: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def violation(self) -> float:
        """How far it is beyond all bounds together; 0: it keeps them."""
        return sum(max(0.0, each) for each in self.violations.values())


@dataclass(frozen=True, slots=True)
class Retry:
    """A run that ended through no measurement: with `lanes` trials beside each other, going back to `steps`."""

    reason: str
    steps: int
    lanes: int
    time: datetime


@dataclass(frozen=True, slots=True)
class HyperparameterChange:
    """From the step on, `trial` trained with these hyperparameters; there it took the weights of `parent`, if any."""

    step: int
    hyperparameters: Hyperparameters
    trial: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class SearchedHistory:
    """What a suggestion's search knew of the study's search trials that no suggestion before it had known.

    It knew those before the number `searched_from`, and suggested the ones from there up to its own. Of those it knew
    `ended` had ended, `paused` waited at a rung after so many steps, and `running` had gone on from there or were
    modelled by what they had measured in so many steps. What no suggestion says of a trial: it was open.
    """

    searched_from: int
    ended: tuple[int, ...] = ()
    paused: Mapping[int, int] = field(default_factory=dict)
    running: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial as it is stored.

    `steps` are acknowledged optimizer steps, `checkpoint_steps` those that the checkpoint holds; `failures` counts the
    runs that count against its study's max_retries; `bundle` is the bundle it is planned into or runs in; `known_point`
    is the index of the study's known point that it was made for; `result` is kept where `value` is not all of it;
    `lane_limit` is how many trials may be in one bundle, as long as it is under suspicion (0: any number).
    """

    name: TrialName
    kind: TrialKind
    state: TrialState
    hyperparameters: Hyperparameters
    seed: int
    create_time: datetime
    revision: int = 0
    state_reason: str = ""
    measurements: tuple[Measurement, ...] = ()
    value: float | None = None
    steps: int = 0
    device_seconds: float = 0.0
    checkpoint: Artifact | None = None
    checkpoint_steps: int = 0
    failures: int = 0
    bundle: int | None = None
    end_time: datetime | None = None
    log: str = ""
    known_point: int | None = None
    result: Result | None = None
    tags: Tags = field(default_factory=dict)
    retries: tuple[Retry, ...] = ()
    lane_limit: int = 0
    schedule: tuple[HyperparameterChange, ...] = ()
    """What its weights were trained with, in the trials that they came through; empty: always with the same."""
    changes: tuple[HyperparameterChange, ...] = ()
    """What the trial itself was trained with, weights that it has lost included; empty: always with the same."""
    searched: SearchedHistory | None = None
    """What its suggestion followed from; None: from no other trial."""

    @property
    def lineage(self) -> tuple[HyperparameterChange, ...]:
        """The schedule, with its first entry."""
        return self.schedule or (HyperparameterChange(0, self.hyperparameters, self.name.number),)

    @property
    def own_changes(self) -> tuple[HyperparameterChange, ...]:
        """The changes, with the first hyperparameters."""
        return self.changes or (HyperparameterChange(0, self.hyperparameters, self.name.number),)

    @property
    def etag(self) -> str:
        """Changes with every change of the trial."""
        return str(self.revision)


MAX_STEPS = 10**15
"""More optimizer steps than any training has: a number above is a mistake."""
MAX_SECONDS = 1e12
"""More seconds than any training takes, in the same way."""
