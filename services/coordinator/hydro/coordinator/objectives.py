"""What trials have come to, and which of them is better: by the constraints first, then by the objectives.

Of two trials the one that is less far beyond its constraints is better; where neither is beyond any, the objectives
decide (Deb et al., NSGA-II, 2002, section VI: constrained domination). Optuna's samplers see it the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.study import Goal, StudySpec
from hydro.coordinator.trial import Result
from hydro.kit.errors import FieldViolation

MAX_METRIC_CHARACTERS = 1000
MAX_OBJECTIVES = 8
"""With more, hardly any trial is dominated by another, and a front says nothing."""

# An order of trials, best first: beyond the constraints, then the objectives one after the other, as for minimization.
Rank = tuple[float, ...]


def wanted_metrics(spec: StudySpec) -> tuple[str, ...]:
    """The metrics that a trial has to have at its end: every objective and everything constrained."""
    return (*(each.metric for each in spec.objectives), *(each.metric for each in spec.constraints))


def missing_metrics(spec: StudySpec, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Those that are not there."""
    return tuple(name for name in wanted_metrics(spec) if name not in metrics)


def result_of(spec: StudySpec, metrics: Mapping[str, float]) -> Result:
    """What a trial has come to with these metrics at its end, which are all that are wanted."""
    return Result(tuple(metrics[each.metric] for each in spec.objectives), violations_of(spec, metrics), dict(metrics))


def stored_result(spec: StudySpec, value: float | None, result: Result | None) -> Result:
    """What a succeeded trial has come to: of a study with one objective and no constraint, its value is all."""
    return result or Result((math.nan if value is None else value,))


def is_plain(spec: StudySpec) -> bool:
    """Whether a trial's value is all that it comes to."""
    return not spec.further_objectives and not spec.constraints


def violations_of(spec: StudySpec, metrics: Mapping[str, float]) -> dict[str, float]:
    """How far each constrained metric that is there is beyond its bound."""
    return {each.metric: each.violation(metrics[each.metric]) for each in spec.constraints if each.metric in metrics}


def rank_of(goals: Sequence[Goal], result: Result) -> Rank:
    """The result's place in an order of results. The first of all is one that no other dominates."""
    objectives = (value if goal is Goal.MINIMIZE else -value for goal, value in zip(goals, result.values, strict=True))
    return (result.violation, *objectives)


def front(goals: Sequence[Goal], results: Iterable[tuple[int, Result]]) -> list[int]:
    """The numbers of the trials that no other one dominates, ascending. Cost: trials times the length of the front."""
    ranked = sorted((rank_of(goals, result), number) for number, result in results)
    found: list[tuple[Rank, int]] = []
    for rank, number in ranked:
        # Whoever dominates it comes before it in the order, and so does one of the front.
        if not any(_dominates(other, rank) for other, _ in found):
            found.append((rank, number))
    return sorted(number for _, number in found)


def _dominates(one: Rank, other: Rank) -> bool:
    if one[0] != other[0]:
        return one[0] < other[0]
    # Equally far beyond the constraints, neither is better.
    return one[0] == 0 and one != other and all(a <= b for a, b in zip(one[1:], other[1:], strict=True))


def validate_objectives(spec: StudySpec) -> list[FieldViolation]:
    """What is wrong with the study's objectives and constraints. Empty: nothing."""
    return [*_objective_violations(spec), *_constraint_violations(spec)]


def _objective_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    yield from _metric_violations(spec.objective.metric, "study.objective.metric", "optimize")
    seen = {spec.objective.metric}
    for index, each in enumerate(spec.further_objectives):
        field = f"study.further_objectives[{index}].metric"
        yield from _metric_violations(each.metric, field, "optimize")
        if each.metric in seen:
            yield FieldViolation(field, f"is {each.metric!r} like an earlier objective's: give each metric once")
        seen.add(each.metric)
    if len(spec.further_objectives) >= MAX_OBJECTIVES:
        count = len(spec.further_objectives)
        yield FieldViolation("study.further_objectives", f"are {count}: give at most {MAX_OBJECTIVES - 1}")
    if spec.further_objectives and not isinstance(spec.pruning, NoPruning):
        yield FieldViolation(
            "study.pruner", "compares trials by one objective, and there are several: give none, as in no_pruning(...)"
        )


def _constraint_violations(spec: StudySpec) -> Iterator[FieldViolation]:
    seen = {each.metric for each in spec.objectives}
    for index, each in enumerate(spec.constraints):
        field = f"study.constraints[{index}]"
        yield from _metric_violations(each.metric, f"{field}.metric", "constrain")
        if each.metric in seen:
            advice = f"is {each.metric!r}, an objective or constrained already: give each metric once"
            yield FieldViolation(f"{field}.metric", advice)
        seen.add(each.metric)
        if math.isnan(each.min) or each.min == math.inf:
            yield FieldViolation(f"{field}.min", f"is {each.min}: give a finite number")
        elif math.isnan(each.max) or each.max == -math.inf:
            yield FieldViolation(f"{field}.max", f"is {each.max}: give a finite number")
        elif each.min == -math.inf and each.max == math.inf:
            yield FieldViolation(f"{field}.max", "is not set, and neither is min: give one of them")
        elif each.min > each.max:
            yield FieldViolation(f"{field}.min", f"is {each.min:g}, more than max {each.max:g}: swap them")


def _metric_violations(metric: str, field: str, use: str) -> Iterator[FieldViolation]:
    if not 1 <= len(metric) <= MAX_METRIC_CHARACTERS or "\x00" in metric:
        yield FieldViolation(field, f"is {metric[:100]!r}: name the metric to {use}, as in validation_loss")
