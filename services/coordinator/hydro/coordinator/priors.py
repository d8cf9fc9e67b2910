"""Warm start: what a new study takes over from the trials of others.

A weight says how much a trial of the other study counts against one of the study's own. Samplers know no weights, so
it acts by number: of N trials that fit, round(weight * N) are taken (at least one), at even distances from the best to
the worst, the best one among them. With weight 1 all of them are history, just as if they were the study's own, only
older than all of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydro.coordinator.objectives import missing_metrics, rank_of, result_of
from hydro.coordinator.search_space import ConstantDomain, SearchSpace
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import Prior, Study, StudySpec
from hydro.coordinator.trial import Hyperparameters, Result, Trial, TrialState, Value
from hydro.kit.errors import FieldViolation

MAX_PRIOR_TRIALS = 1000
"""Most trials that one prior gives, after its weight: they are in memory wherever the study is searched."""


_Fitting = tuple[Trial, Hyperparameters, Result]


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a study takes over from one prior: trials, and what its user should know."""

    trials: tuple[PriorTrial, ...]
    warnings: tuple[str, ...]


def validate_prior(spec: StudySpec, prior: Prior, other: Study, field: str) -> Iterator[FieldViolation]:
    """What keeps the other study from being a prior of one with this spec."""
    if not 0 < prior.weight <= 1:
        yield FieldViolation(f"{field}.weight", f"is {prior.weight:g}: give more than 0, and 1 at most")
    if other.spec.objectives != spec.objectives:
        theirs, ours = (", ".join(f"{each.goal.value.lower()} {each.metric}" for each in study.objectives)
                        for study in (other.spec, spec))  # fmt: skip
        yield FieldViolation(
            f"{field}.study", f"{prior.study} has other objectives ({theirs}): give a study that has {ours}"
        )
    shared = {each.name for each in other.spec.search_space.parameters} & _searched(spec.search_space)
    if not shared:
        yield FieldViolation(f"{field}.study", f"{prior.study} has no searched parameter in common with this study")


def adopt(spec: StudySpec, prior: Prior, trials: Sequence[Trial], before: int = 0) -> Adopted:
    """Takes over the prior's succeeded trials in their order, under numbers that end below `before`."""
    succeeded = [each for each in trials if each.state is TrialState.SUCCEEDED]
    fitting: list[_Fitting] = []
    misfits: dict[str, int] = {}
    for trial in succeeded:
        metrics = _metrics(spec, trial)
        misfit = _misfit(spec, trial.hyperparameters, metrics)
        if misfit:
            misfits[misfit] = misfits.get(misfit, 0) + 1
        else:
            shared = _shared(spec.search_space, trial.hyperparameters)
            fitting.append((trial, shared, result_of(spec, metrics)))
    fitting.sort(key=lambda each: (rank_of(spec.goals, each[2]), each[0].name.number))
    taken = sorted(_spread(fitting, prior.weight), key=lambda each: each[0].name.number)
    adopted = tuple(
        PriorTrial(before - len(taken) + index, shared, result, trial.steps)
        for index, (trial, shared, result) in enumerate(taken)
    )
    return Adopted(adopted, tuple(_warnings(prior, len(succeeded), len(adopted), misfits)))


def _warnings(prior: Prior, succeeded: int, taken: int, misfits: dict[str, int]) -> Iterator[str]:
    if not taken:
        yield f"prior {prior.study} gives nothing: none of its {succeeded} succeeded trials fits this study"
    for misfit, count in misfits.items():
        yield f"prior {prior.study}: {count} of {succeeded} trials are left out: {misfit}"


def _searched(space: SearchSpace) -> set[str]:
    return {each.name for each in space.parameters if not isinstance(each.domain, ConstantDomain)}


def _metrics(spec: StudySpec, trial: Trial) -> dict[str, float]:
    metrics = dict(trial.measurements[-1].metrics) if trial.measurements else {}
    if trial.value is not None:
        metrics[spec.objective.metric] = trial.value
    return metrics if trial.result is None else {**metrics, **trial.result.metrics}


def _misfit(spec: StudySpec, hyperparameters: Hyperparameters, metrics: dict[str, float]) -> str:
    """Why a trial says nothing about the study. Empty: it does."""
    for parameter in spec.search_space.active(hyperparameters):
        value = hyperparameters.get(parameter.name)
        if value is not None and not parameter.domain.contains(value):
            return f"a value of {parameter.name!r} is not {parameter.domain}"
    if not _shared(spec.search_space, hyperparameters).keys() & _searched(spec.search_space):
        return "no searched parameter is in common"
    missing = missing_metrics(spec, metrics)
    return f"they lack the metric {missing[0]!r}" if missing else ""


def _shared(space: SearchSpace, hyperparameters: Hyperparameters) -> dict[str, Value]:
    active = {each.name for each in space.active(hyperparameters)}
    return {name: value for name, value in hyperparameters.items() if name in active}


def _spread(ranked: Sequence[_Fitting], weight: float) -> list[_Fitting]:
    """The share of them at even distances, the first among them."""
    count = min(max(1, round(weight * len(ranked))), len(ranked), MAX_PRIOR_TRIALS)
    return [ranked[index * len(ranked) // count] for index in range(count)]
