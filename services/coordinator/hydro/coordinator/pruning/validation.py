"""What may be wrong with a rule of pruning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import assert_never

from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PercentilePruning,
    Pruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
)
from hydro.kit.errors import FieldViolation

MAX_MEASUREMENTS = 10_000
"""Most measured steps of one trial: they travel in every bundle's recipe and stay in memory."""

_HALVING = SuccessiveHalvingPruning | AshaPruning | HyperbandPruning
_COUNTS = ("warmup_steps", "startup_trials", "patience", "min_early_stopping_rate", "bootstrap_count")


def validate_pruning(rule: Pruning, max_steps: int, field: str = "study.pruner") -> list[FieldViolation]:
    """What is wrong with the rule for a study of so many steps. Empty: nothing."""
    path = f"{field}.{_name(rule)}"
    found = [*_count_violations(rule, path)]
    if isinstance(rule, _HALVING):
        return [*found, *_halving_violations(rule, max_steps, path)]
    least = 0 if isinstance(rule, NoPruning) else 1
    found += _interval_violations(rule.measurement_interval_steps, least, max_steps, path)
    warmup = getattr(rule, "warmup_steps", 0)
    if 0 < max_steps <= warmup:
        said = f"is {warmup}, so no trial of {max_steps} steps is ever pruned: give less than max_steps"
        found.append(FieldViolation(f"{path}.warmup_steps", said))
    return [*found, *_own_violations(rule, max_steps, path)]


def _name(rule: Pruning) -> str:
    """The rule's name in the contract: "SuccessiveHalvingPruning" is successive_halving."""
    plain = {NoPruning: "none", SuccessiveHalvingPruning: "successive_halving", LearningCurvePruning: "learning_curve"}
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


def _interval_violations(interval: int, least: int, max_steps: int, path: str) -> list[FieldViolation]:
    field = f"{path}.measurement_interval_steps"
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
