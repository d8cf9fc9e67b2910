"""The rules of pruning that a study may choose: their measured steps and their pruners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import assert_never

from hydro.coordinator.pruning.asha import AshaPruner
from hydro.coordinator.pruning.clock import Intervals
from hydro.coordinator.pruning.hyperband import HyperbandPruner, HyperbandRule
from hydro.coordinator.pruning.learning_curve import LearningCurveRule
from hydro.coordinator.pruning.none import NonePruner
from hydro.coordinator.pruning.patience import PatienceRule
from hydro.coordinator.pruning.percentile import PercentileRule
from hydro.coordinator.pruning.pruner import MeasuredTrial, Pruner
from hydro.coordinator.pruning.stopping import StoppingPruner, StoppingRule
from hydro.coordinator.pruning.successive_halving import SuccessiveHalvingRule
from hydro.coordinator.pruning.threshold import ThresholdRule
from hydro.coordinator.pruning.timed import in_intervals, rungs_in_intervals
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
from hydro.coordinator.study import Goal


def measured_steps(rule: Pruning, max_steps: int) -> tuple[int, ...]:
    """The steps at which every trial is measured, ascending; the last one is `max_steps`.

    A study without a limit (max_steps 0) is measured where its caller likes: none is given.
    """
    if max_steps == 0:
        return ()
    match rule:
        case TimedPruning(SuccessiveHalvingPruning(min_steps) | AshaPruning(min_steps)):
            before = iter(range(min_steps, max_steps, min_steps))
        case TimedPruning(inner):
            return () if inner is None else measured_steps(inner, max_steps)
        case SuccessiveHalvingPruning():
            before = _rungs(rule.min_steps * rule.eta**rule.min_early_stopping_rate, rule.eta, max_steps)
        case AshaPruning() | HyperbandPruning():
            before = _rungs(rule.min_steps, rule.eta, max_steps)
        case _:
            interval = rule.measurement_interval_steps
            before = iter(range(interval, max_steps, interval) if interval else ())
    return (*before, max_steps)


def build_pruner(
    rule: Pruning, goal: Goal, max_steps: int, history: Iterable[MeasuredTrial] = (), *, pauses: bool = True
) -> Pruner:
    """The pruner of a study, with what its trials have measured so far, in any order.

    Where trials cannot pause (`pauses` False), Hyperband stops those that it would have wait.
    """
    minimize = goal is Goal.MINIMIZE
    match rule:
        case TimedPruning():
            return _timed(rule, max_steps, minimize, history)
        case NoPruning():
            return NonePruner(max_steps)
        case AshaPruning():
            return AshaPruner(rule.eta, measured_steps(rule, max_steps), minimize, history)
        case HyperbandPruning() if pauses:
            return HyperbandPruner(rule, measured_steps(rule, max_steps), minimize, history)
        case HyperbandPruning():
            return StoppingPruner(HyperbandRule(rule, max_steps), max_steps, minimize, history)
        case _:
            return StoppingPruner(_rule_of(rule, max_steps, minimize), max_steps, minimize, history)


def _timed(timed: TimedPruning, max_steps: int, minimize: bool, history: Iterable[MeasuredTrial]) -> Pruner:
    rule, seconds = timed.rule, timed.interval_seconds
    match rule:
        case None:
            raise ValueError("the rule cannot go by time: no study has it")
        case AshaPruning():
            clock = Intervals(seconds, last_step=max_steps)
            return AshaPruner(rule.eta, rungs_in_intervals(rule.eta), minimize, history, clock)
        case _:
            ending = _rule_of(in_intervals(rule, timed), max_steps, minimize)
            return StoppingPruner(ending, max_steps, minimize, history, Intervals(seconds))


def _rule_of(rule: EndingRule, max_steps: int, minimize: bool) -> StoppingRule:
    match rule:
        case SuccessiveHalvingPruning():
            return SuccessiveHalvingRule(rule)
        case PatiencePruning():
            wrapped = None if rule.rule is None else _rule_of(rule.rule, max_steps, minimize)
            return PatienceRule(rule, wrapped)
        case MedianPruning(interval, warmup, startup):
            return PercentileRule(PercentilePruning(50, interval, warmup, startup), minimize)
        case PercentilePruning():
            return PercentileRule(rule, minimize)
        case ThresholdPruning():
            return ThresholdRule(rule, minimize)
        case LearningCurvePruning():
            return LearningCurveRule(rule, max_steps)
        case _:
            assert_never(rule)


def _rungs(first: int, eta: int, max_steps: int) -> Iterator[int]:
    rungs = (first * eta**rung for rung in range(max_steps.bit_length()))
    return takewhile(lambda step: step < max_steps, rungs)
