"""What may be wrong with a rule of pruning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import assert_never

from hydro.coordinator.pruning_rules import (
    AshaPruning,
    EndingRule,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PercentilePruning,
    Pruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
    TimedPruning,
)
from hydro.coordinator.trial import MAX_SECONDS
from hydro.kit.errors import FieldViolation

MAX_MEASUREMENTS = 10_000
"""Most measured steps of one trial: they travel in every bundle's recipe and stay in memory."""

_LEAST_INTERVAL_SECONDS = 1e-3
TIMEABLE = (
    "give median, percentile, threshold, patience (alone, or with one of these), successive_halving or asha, "
    "or leave by_time out"
)
_HALVING = SuccessiveHalvingPruning | AshaPruning | HyperbandPruning
_COUNTS = ("warmup_steps", "startup_trials", "patience", "min_early_stopping_rate", "bootstrap_count")


def validate_pruning(rule: Pruning, max_steps: int, field: str = "study.pruner") -> list[FieldViolation]:
    """What is wrong with the rule for a study of so many steps. Empty: nothing."""
    path = f"{field}.{_name(rule)}"
    if isinstance(rule, TimedPruning):
        return _timed_violations(rule, max_steps, path)
    found = [*_count_violations(rule, path)]
    if isinstance(rule, _HALVING):
        return [*found, *_halving_violations(rule, max_steps, path)]
    least = 0 if isinstance(rule, NoPruning) else 1
    interval = f"{path}.measurement_interval_steps"
    found += _interval_violations(rule.measurement_interval_steps, least, max_steps, interval)
    warmup = getattr(rule, "warmup_steps", 0)
    if 0 < max_steps <= warmup:
        said = f"is {warmup}, so no trial of {max_steps} steps is ever pruned: give less than max_steps"
        found.append(FieldViolation(f"{path}.warmup_steps", said))
    return [*found, *_own_violations(rule, max_steps, path)]


def _name(rule: Pruning) -> str:
    """The rule's name in the contract: "SuccessiveHalvingPruning" is successive_halving."""
    plain = {
        NoPruning: "none",
        SuccessiveHalvingPruning: "successive_halving",
        LearningCurvePruning: "learning_curve",
        TimedPruning: "by_time",
    }
    return plain.get(type(rule), type(rule).__name__.removesuffix("Pruning").lower())


def _count_violations(rule: Pruning, path: str) -> Iterator[FieldViolation]:
    for each in fields(rule):
        value = getattr(rule, each.name)
        if each.name in _COUNTS and value < 0:
            yield FieldViolation(f"{path}.{each.name}", f"is {value}: give 0 or more")


def _own_violations(
    rule: NoPruning | MedianPruning | PercentilePruning | ThresholdPruning | LearningCurvePruning | PatiencePruning,
    max_steps: int,
    path: str,
) -> list[FieldViolation]:
    match rule:
        case NoPruning() | MedianPruning():
            return []
        case PercentilePruning(percentile):
            if 0 <= percentile <= 100:
                return []
            return [FieldViolation(f"{path}.percentile", f"is {percentile}: give 0 to 100, the share that is kept")]
        case ThresholdPruning():
            return _bound_violations(rule, path)
        case LearningCurvePruning():
            return _curve_violations(rule, max_steps, path)
        case PatiencePruning():
            return _patience_violations(rule, max_steps, path)
        case _:
            assert_never(rule)


def _bound_violations(rule: ThresholdPruning, path: str) -> list[FieldViolation]:
    bounds = {"lower": rule.lower, "upper": rule.upper}
    found = [
        FieldViolation(f"{path}.{name}", f"is {bound}: give a finite number, or leave it out")
        for name, bound in bounds.items()
        if bound is not None and not math.isfinite(bound)
    ]
    if rule.lower is None and rule.upper is None:
        found.append(FieldViolation(path, "has no bound: give lower, upper or both"))
    elif not found and rule.lower is not None and rule.upper is not None and rule.lower > rule.upper:
        found.append(FieldViolation(f"{path}.lower", f"is {rule.lower}, more than upper {rule.upper}: swap them"))
    return found


def _curve_violations(rule: LearningCurvePruning, max_steps: int, path: str) -> list[FieldViolation]:
    found = []
    if not 0.5 < rule.confidence < 1:
        said = f"is {rule.confidence}: give more than 0.5 and less than 1, 0.95 is usual"
        found.append(FieldViolation(f"{path}.confidence", said))
    if max_steps == 0:
        said = "is 0 (no limit): give the steps of a trial that is not pruned, to which its curve is extrapolated"
        found.append(FieldViolation("study.max_steps", said))
    return found


def _patience_violations(rule: PatiencePruning, max_steps: int, path: str) -> list[FieldViolation]:
    found = []
    if not (math.isfinite(rule.min_delta) and rule.min_delta >= 0):
        found.append(FieldViolation(f"{path}.min_delta", f"is {rule.min_delta}: give 0 or more"))
    if rule.rule is not None:
        found += validate_pruning(rule.rule, max_steps, f"{path}.rule")
    return found


def _timed_violations(timed: TimedPruning, max_steps: int, path: str) -> list[FieldViolation]:
    interval, warmup = timed.interval_seconds, timed.warmup_seconds
    found = []
    if not _LEAST_INTERVAL_SECONDS <= interval <= MAX_SECONDS:
        said = f"is {interval}: give {_LEAST_INTERVAL_SECONDS} to {MAX_SECONDS:g} seconds"
        found.append(FieldViolation(f"{path}.interval_seconds", said))
    if not 0 <= warmup <= MAX_SECONDS:
        found.append(FieldViolation(f"{path}.warmup_seconds", f"is {warmup}: give 0 to {MAX_SECONDS:g} seconds"))
    if timed.rule is None:
        return [*found, FieldViolation(f"{path}.rule", f"cannot go by time: {TIMEABLE}")]
    found += _scale_violations(timed.rule, warmup, path, f"{path}.rule.{_name(timed.rule)}")
    if isinstance(timed.rule, _HALVING) and 0 < timed.rule.min_steps <= max_steps:
        field = f"{path}.rule.{_name(timed.rule)}.min_steps"
        found += _interval_violations(timed.rule.min_steps, 1, max_steps, field)
    return [*found, *validate_pruning(timed.rule, max_steps, f"{path}.rule")]


def _scale_violations(rule: EndingRule | AshaPruning, warmup: float, path: str, inner: str) -> list[FieldViolation]:
    """What goes by steps in a rule by time, or by time where the rule has no such thing."""
    if isinstance(rule, PatiencePruning) and rule.rule is not None:
        return _scale_violations(rule.rule, warmup, path, f"{inner}.rule.{_name(rule.rule)}")
    found = []
    if warmup > 0 and not hasattr(rule, "warmup_steps"):
        said = f"is {warmup}, and {_name(rule)} by itself has no warm-up: leave it out"
        found.append(FieldViolation(f"{path}.warmup_seconds", said))
    if steps := getattr(rule, "warmup_steps", 0):
        said = f"is {steps}, and the rule goes by time: give by_time.warmup_seconds instead"
        found.append(FieldViolation(f"{inner}.warmup_steps", said))
    if rate := getattr(rule, "min_early_stopping_rate", 0):
        said = f"is {rate}: by time the lowest rung is at by_time.interval_seconds; leave this out"
        found.append(FieldViolation(f"{inner}.min_early_stopping_rate", said))
    return found


def _halving_violations(rule: _HALVING, max_steps: int, path: str) -> list[FieldViolation]:
    found = []
    if rule.min_steps < 1:
        found.append(FieldViolation(f"{path}.min_steps", f"is {rule.min_steps}: give 1 or more"))
    elif max_steps == 0 and not isinstance(rule, SuccessiveHalvingPruning):
        found.append(FieldViolation("study.max_steps", "is 0 (no limit): give the steps of the highest rung"))
    elif 0 < max_steps < rule.min_steps:
        said = f"is {rule.min_steps}, more than max_steps {max_steps}: give {max_steps} or less"
        found.append(FieldViolation(f"{path}.min_steps", said))
    if rule.eta < 2:
        found.append(FieldViolation(f"{path}.eta", f"is {rule.eta}: give 2 or more, 4 is usual"))
    if isinstance(rule, SuccessiveHalvingPruning) and not found:
        found += _rate_violations(rule, max_steps, path)
    return found


def _rate_violations(rule: SuccessiveHalvingPruning, max_steps: int, path: str) -> list[FieldViolation]:
    rate = rule.min_early_stopping_rate
    # Compared by digits first: a power of any size need not be computed.
    if 0 <= rate < 64 and (max_steps == 0 or rule.min_steps * rule.eta**rate <= max_steps):
        return []
    if rate < 0:
        return []
    said = f"is {rate}, which puts the first rung at {rule.min_steps} * {rule.eta}^{rate} steps: give less"
    return [FieldViolation(f"{path}.min_early_stopping_rate", said)]


def _interval_violations(interval: int, least: int, max_steps: int, field: str) -> list[FieldViolation]:
    if interval < least:
        return [FieldViolation(field, f"is {interval}: give {least} or more")]
    if 0 < max_steps < interval:
        return [FieldViolation(field, f"is {interval}, more than max_steps {max_steps}: give {max_steps} or less")]
    if interval and max_steps // interval > MAX_MEASUREMENTS:
        said = (
            f"is {interval}, which makes {max_steps // interval} measurements per trial of {max_steps} steps: "
            f"give {-(-max_steps // MAX_MEASUREMENTS)} or more"
        )
        return [FieldViolation(field, said)]
    return []
