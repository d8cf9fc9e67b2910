"""The rules of pruning that a study may choose: their measured steps, their possible faults, and their pruners."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import assert_never

from hydro.coordinator.pruning.asha import AshaPruner
from hydro.coordinator.pruning.median import MedianPruner
from hydro.coordinator.pruning.none import NonePruner
from hydro.coordinator.pruning.pruner import MeasuredTrial, Pruner
from hydro.coordinator.study import AshaPruning, Goal, MedianPruning, NoPruning, Pruning
from hydro.kit.errors import FieldViolation

MAX_MEASUREMENTS = 10_000
"""Most measured steps of one trial: they travel in every bundle's recipe and stay in memory."""


def measured_steps(rule: Pruning, max_steps: int) -> tuple[int, ...]:
    """The steps at which every trial is measured, ascending; the last one is `max_steps`.

    A study without a limit (max_steps 0) is measured where its caller likes: none is given.
    """
    if max_steps == 0:
        return ()
    match rule:
        case NoPruning(interval) | MedianPruning(interval):
            before = range(interval, max_steps, interval) if interval else ()
        case AshaPruning(min_steps, eta):
            rungs = (min_steps * eta**rung for rung in range(max_steps.bit_length()))
            before = tuple(takewhile(lambda step: step < max_steps, rungs))
        case _:
            assert_never(rule)
    return (*before, max_steps)


def validate_pruning(rule: Pruning, max_steps: int, field: str = "study.pruner") -> list[FieldViolation]:
    """What is wrong with the rule for a study of so many steps. Empty: nothing."""
    match rule:
        case NoPruning():
            return _validate_interval(rule.measurement_interval_steps, 0, max_steps, f"{field}.none")
        case MedianPruning():
            return _validate_median(rule, max_steps, f"{field}.median")
        case AshaPruning():
            return _validate_asha(rule, max_steps, f"{field}.asha")
        case _:
            assert_never(rule)


def build_pruner(rule: Pruning, goal: Goal, max_steps: int, history: Iterable[MeasuredTrial] = ()) -> Pruner:
    """The pruner of a study, with what its trials have measured so far, in any order."""
    minimize = goal is Goal.MINIMIZE
    match rule:
        case NoPruning():
            return NonePruner(max_steps)
        case MedianPruning():
            return MedianPruner(rule, max_steps, minimize, history)
        case AshaPruning():
            return AshaPruner(rule.eta, measured_steps(rule, max_steps), minimize, history)
        case _:
            assert_never(rule)


def _validate_median(rule: MedianPruning, max_steps: int, field: str) -> list[FieldViolation]:
    found = _validate_interval(rule.measurement_interval_steps, 1, max_steps, field)
    if rule.warmup_steps < 0:
        found.append(FieldViolation(f"{field}.warmup_steps", f"is {rule.warmup_steps}: give 0 or more"))
    elif 0 < max_steps <= rule.warmup_steps:
        found.append(
            FieldViolation(
                f"{field}.warmup_steps",
                f"is {rule.warmup_steps}, so no trial of {max_steps} steps is ever pruned: give less than max_steps",
            )
        )
    if rule.startup_trials < 0:
        found.append(FieldViolation(f"{field}.startup_trials", f"is {rule.startup_trials}: give 0 or more"))
    return found


def _validate_asha(rule: AshaPruning, max_steps: int, field: str) -> list[FieldViolation]:
    found = []
    if rule.min_steps < 1:
        found.append(FieldViolation(f"{field}.min_steps", f"is {rule.min_steps}: give 1 or more"))
    elif max_steps == 0:
        found.append(FieldViolation("study.max_steps", "is 0 (no limit): give the steps of the highest rung"))
    elif rule.min_steps > max_steps:
        found.append(
            FieldViolation(
                f"{field}.min_steps",
                f"is {rule.min_steps}, more than max_steps {max_steps}: give {max_steps} or less",
            )
        )
    if rule.eta < 2:
        found.append(FieldViolation(f"{field}.eta", f"is {rule.eta}: give 2 or more, 4 is usual"))
    return found


def _validate_interval(interval: int, least: int, max_steps: int, field: str) -> list[FieldViolation]:
    path = f"{field}.measurement_interval_steps"
    if interval < least:
        return [FieldViolation(path, f"is {interval}: give {least} or more")]
    if 0 < max_steps < interval:
        return [FieldViolation(path, f"is {interval}, more than max_steps {max_steps}: give {max_steps} or less")]
    if interval and max_steps // interval > MAX_MEASUREMENTS:
        return [
            FieldViolation(
                path,
                f"is {interval}, which makes {max_steps // interval} measurements per trial of {max_steps} steps: "
                f"give {-(-max_steps // MAX_MEASUREMENTS)} or more",
            )
        ]
    return []
