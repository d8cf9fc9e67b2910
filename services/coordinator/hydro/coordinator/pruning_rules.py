"""The rules of pruning that a study may choose, as values.

Units: optimizer steps, where no other is named. A rule with an interval measures at its multiples and at the last step.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoPruning:
    """Every trial is trained to the end. An interval of 0 measures at the end alone."""

    measurement_interval_steps: int = 0


@dataclass(frozen=True, slots=True)
class MedianPruning:
    """A trial whose best value is worse than the median of the finished ones at the same step ends."""

    measurement_interval_steps: int
    warmup_steps: int = 0
    startup_trials: int = 0


@dataclass(frozen=True, slots=True)
class PercentilePruning:
    """A trial whose best value is not among the best `percentile` percent of the finished ones' at the step ends."""

    percentile: float
    measurement_interval_steps: int
    warmup_steps: int = 0
    startup_trials: int = 0


@dataclass(frozen=True, slots=True)
class ThresholdPruning:
    """A trial whose value leaves [lower, upper] ends. None: no bound on that side."""

    lower: float | None
    upper: float | None
    measurement_interval_steps: int
    warmup_steps: int = 0


@dataclass(frozen=True, slots=True)
class LearningCurvePruning:
    """A trial that will hardly beat the best finished one, by the power law that its values follow, ends.

    `confidence`: of its not beating it, in (0.5, 1).
    """

    measurement_interval_steps: int
    warmup_steps: int = 0
    startup_trials: int = 1
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class SuccessiveHalvingPruning:
    """A trial that is not among the best 1 / eta of those that reached its rung ends there.

    Rungs are at min_steps * eta ** (min_early_stopping_rate + k). A rung prunes all of its first `bootstrap_count`.
    """

    min_steps: int
    eta: int
    min_early_stopping_rate: int = 0
    bootstrap_count: int = 0


@dataclass(frozen=True, slots=True)
class AshaPruning:
    """A trial pauses at each rung; the best 1 / eta of a rung are promoted."""

    min_steps: int
    eta: int


@dataclass(frozen=True, slots=True)
class HyperbandPruning:
    """Brackets of successive halving: bracket b has its first rung at min_steps * eta ** b."""

    min_steps: int
    eta: int


PatientRule = MedianPruning | PercentilePruning | ThresholdPruning | LearningCurvePruning
"""Rules that may be told to wait."""


@dataclass(frozen=True, slots=True)
class PatiencePruning:
    """A trial ends when the rule says so, and its last `patience` + 1 values are worse than its best before them.

    Worse by more than `min_delta`. Without a rule the second condition decides alone.
    """

    rule: PatientRule | None
    patience: int
    measurement_interval_steps: int
    min_delta: float = 0.0


EndingRule = PatientRule | PatiencePruning | SuccessiveHalvingPruning
"""Rules that end trials, and have none wait."""
TimeableRule = (
    MedianPruning | PercentilePruning | ThresholdPruning | PatiencePruning | SuccessiveHalvingPruning | AshaPruning
)
"""Rules that may go by time. The others need to know when a trial that is not pruned ends."""


@dataclass(frozen=True, slots=True)
class TimedPruning:
    """A rule that compares trials at equal elapsed time. `rule` None: one that cannot; such a study is refused.

    The first value of a trial in each interval stands for it there. Rungs are at interval_seconds * eta ** k.
    """

    rule: TimeableRule | None
    interval_seconds: float
    warmup_seconds: float = 0.0


Pruning = (
    NoPruning
    | MedianPruning
    | PercentilePruning
    | ThresholdPruning
    | LearningCurvePruning
    | SuccessiveHalvingPruning
    | AshaPruning
    | HyperbandPruning
    | PatiencePruning
    | TimedPruning
)
