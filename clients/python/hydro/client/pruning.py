"""Pruners: which trials end early, and how long a trial trains. All steps are optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asha:
    """Asynchronous successive halving with pause and promotion (Li et al., MLSys 2020)."""

    min_steps: int
    max_steps: int
    eta: int


@dataclass(frozen=True, slots=True)
class Hyperband:
    """Brackets of successive halving (Li et al., JMLR 2018)."""

    min_steps: int
    max_steps: int
    eta: int


@dataclass(frozen=True, slots=True)
class SuccessiveHalving:
    """Successive halving that stops, and lets no trial wait."""

    min_steps: int
    max_steps: int
    eta: int
    min_early_stopping_rate: int
    bootstrap_count: int


@dataclass(frozen=True, slots=True)
class Median:
    """Prunes a trial that is worse than the median of the others at the same step."""

    interval_steps: int
    max_steps: int
    warmup_steps: int
    startup_trials: int


@dataclass(frozen=True, slots=True)
class Percentile:
    """Prunes a trial that is not among the best percent of the others at the same step."""

    percentile: float
    interval_steps: int
    max_steps: int
    warmup_steps: int
    startup_trials: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """Prunes a trial whose value leaves [lower, upper]; None: no bound on that side."""

    lower: float | None
    upper: float | None
    interval_steps: int
    max_steps: int
    warmup_steps: int


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Prunes a trial whose power law does not lead to a new best value (Domhan et al., IJCAI 2015)."""

    interval_steps: int
    max_steps: int
    warmup_steps: int
    startup_trials: int
    confidence: float


PatientRule = Median | Percentile | Threshold | LearningCurve


@dataclass(frozen=True, slots=True)
class Patience:
    """Prunes a trial that another rule would prune, once it has become worse for a while."""

    rule: PatientRule | None
    patience: int
    interval_steps: int
    max_steps: int
    min_delta: float


@dataclass(frozen=True, slots=True)
class NoPruning:
    """Trains every trial to the end; `interval_steps` 0 measures at the end alone."""

    max_steps: int
    interval_steps: int


TimeableRule = Median | Percentile | Threshold | Patience | SuccessiveHalving | Asha


@dataclass(frozen=True, slots=True)
class ByTime:
    """A rule that compares trials at equal elapsed time instead of equal steps."""

    rule: TimeableRule
    interval_seconds: float
    warmup_seconds: float

    @property
    def max_steps(self) -> int:
        """Optimizer steps of a trial that is not pruned."""
        return self.rule.max_steps


Pruner = (
    Asha
    | Hyperband
    | SuccessiveHalving
    | Median
    | Percentile
    | Threshold
    | LearningCurve
    | Patience
    | NoPruning
    | ByTime
)


def asha(min_steps: int, max_steps: int, eta: int = 4) -> Asha:
    """Trials pause at rungs of min_steps, min_steps * eta, ...; the best 1 / eta of a rung go on, to max_steps.

    Args:
        min_steps: Steps of the lowest rung.
        max_steps: Steps of a trial that is not pruned.
        eta: Each rung has eta times the steps of the one below.
    """
    return Asha(min_steps, max_steps, eta)


def hyperband(min_steps: int, max_steps: int, eta: int = 3) -> Hyperband:
    """Trials are spread over brackets, the first rung of bracket b at min_steps * eta ** b; each halves by itself.

    The trials of a task pause at a rung and are promoted, as under `asha`; those of a loop of one's own end instead.

    Args:
        min_steps: Steps of the lowest rung of the first bracket.
        max_steps: Steps of a trial that is not pruned.
        eta: Each rung has eta times the steps of the one below.
    """
    return Hyperband(min_steps, max_steps, eta)


def successive_halving(
    min_steps: int, max_steps: int, eta: int = 4, *, min_early_stopping_rate: int = 0, bootstrap_count: int = 0
) -> SuccessiveHalving:
    """Ends a trial at a rung unless it is among the best 1 / eta of those that have reached it.

    Args:
        min_steps: Steps of the lowest rung.
        max_steps: Steps of a trial that is not pruned.
        eta: Each rung has eta times the steps of the one below.
        min_early_stopping_rate: So many of the lowest rungs are left out.
        bootstrap_count: So many trials end at a rung before the first one goes on.
    """
    return SuccessiveHalving(min_steps, max_steps, eta, min_early_stopping_rate, bootstrap_count)


def median(interval_steps: int, max_steps: int, *, warmup_steps: int = 0, startup_trials: int = 5) -> Median:
    """Ends a trial that is worse than the median of the others at the same step.

    Args:
        interval_steps: Steps between two measurements.
        max_steps: Steps of a trial that is not pruned.
        warmup_steps: No trial ends before this step.
        startup_trials: No trial ends before so many others have been measured at the step.
    """
    return Median(interval_steps, max_steps, warmup_steps, startup_trials)


def percentile(
    percentile: float, interval_steps: int, max_steps: int, *, warmup_steps: int = 0, startup_trials: int = 5
) -> Percentile:
    """Ends a trial that is not among the best `percentile` percent of the others at the same step.

    Args:
        percentile: In [0, 100]; 25 keeps the best quarter.
        interval_steps: Steps between two measurements.
        max_steps: Steps of a trial that is not pruned.
        warmup_steps: No trial ends before this step.
        startup_trials: No trial ends before so many others have been measured at the step.
    """
    return Percentile(percentile, interval_steps, max_steps, warmup_steps, startup_trials)


def threshold(
    interval_steps: int,
    max_steps: int,
    *,
    lower: float | None = None,
    upper: float | None = None,
    warmup_steps: int = 0,
) -> Threshold:
    """Ends a trial whose objective leaves [lower, upper], measured every interval_steps.

    Args:
        interval_steps: Steps between two measurements.
        max_steps: Steps of a trial that is not pruned.
        lower: The least that is kept. None: no bound on this side.
        upper: The most that is kept. None: no bound on this side.
        warmup_steps: No trial ends before this step.
    """
    return Threshold(lower, upper, interval_steps, max_steps, warmup_steps)


def learning_curve(
    interval_steps: int,
    max_steps: int,
    *,
    warmup_steps: int = 0,
    startup_trials: int = 1,
    confidence: float = 0.95,
) -> LearningCurve:
    """Ends a trial that will not beat the best one, by the power law that its values follow.

    Args:
        interval_steps: Steps between two measurements; four of them are needed for a first verdict.
        max_steps: Steps of a trial that is not pruned, to which its curve is extrapolated.
        warmup_steps: No trial ends before this step.
        startup_trials: No trial ends before so many others were trained to the end.
        confidence: How sure the rule must be, in (0.5, 1).
    """
    return LearningCurve(interval_steps, max_steps, warmup_steps, startup_trials, confidence)


def patience(
    rule: PatientRule | None, patience: int, interval_steps: int, max_steps: int, *, min_delta: float = 0.0
) -> Patience:
    """Ends a trial that `rule` would end, once its last `patience` + 1 values are worse than its best before them.

    Args:
        rule: Another rule, or None: the second condition decides alone.
        patience: Values that a trial may go without an improvement.
        interval_steps: Steps between two measurements; the rule is asked at these.
        max_steps: Steps of a trial that is not pruned.
        min_delta: Values are worse if they are by more than this.
    """
    return Patience(rule, patience, interval_steps, max_steps, min_delta)


def by_time(rule: TimeableRule, interval_seconds: float, *, warmup_seconds: float = 0.0) -> ByTime:
    """Has `rule` compare trials at equal elapsed time: each counts with its first value in each interval.

    Time is that of a trial's own training: its device seconds, or what `trial.report` says in a loop of one's own. How
    often a trial is measured, and how long it trains, goes by the rule's steps all the same.

    Args:
        rule: `median`, `percentile`, `threshold`, `patience`, `successive_halving` or `asha`, without `warmup_steps`.
            The last two have rungs at interval_seconds, interval_seconds * eta, ..., and measure every min_steps.
        interval_seconds: Longer than the time between two measurements of a trial.
        warmup_seconds: No trial ends before this time; not for rules with rungs.
    """
    return ByTime(rule, interval_seconds, warmup_seconds)


def no_pruning(max_steps: int, *, interval_steps: int = 0) -> NoPruning:
    """Trains every trial for max_steps, measuring every interval_steps.

    Args:
        max_steps: Steps of a trial. 0, for a program or a loop of one's own: it says itself when it ends.
        interval_steps: Steps between two measurements. 0: at the end alone.
    """
    return NoPruning(max_steps, interval_steps)
