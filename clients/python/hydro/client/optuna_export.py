"""A study as one of Optuna's, for its plots and its dashboard. The one place that needs optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection

from hydro.client.objectives import Goal
from hydro.client.snapshots import StudySettings, StudySnapshot, TrialSnapshot, TrialState
from hydro.client.spaces import CategoricalDomain, Domain, FloatDomain, IntDomain, Scalar
from hydro.kit.errors import AlreadyExists

_DIRECTIONS = {Goal.MINIMIZE: StudyDirection.MINIMIZE, Goal.MAXIMIZE: StudyDirection.MAXIMIZE}
# A paused trial was left at a rung: in Optuna's words, pruned.
_STATES = {
    TrialState.PENDING: optuna.trial.TrialState.WAITING,
    TrialState.RUNNING: optuna.trial.TrialState.RUNNING,
    TrialState.SUCCEEDED: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.PAUSED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
    TrialState.CANCELLED: optuna.trial.TrialState.FAIL,
}


def optuna_study(study: StudySnapshot, trials: Sequence[TrialSnapshot], storage: str | None) -> optuna.Study:
    """The study with its trials: objectives, constraints, the parameters that are active, intermediate values, states.

    What is no parameter is in the trials' user attributes.

    Raises:
        AlreadyExists: the storage has a study of this name.
    """
    settings = study.settings
    exported = _created(
        study_name=study.name.study,
        directions=[_DIRECTIONS[each.goal] for each in settings.objectives],
        storage=storage,
    )
    with warnings.catch_warnings():  # names of metrics have been called experimental since 2023
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        exported.set_metric_names([each.metric for each in settings.objectives])
    exported.add_trials([_frozen(trial, settings) for trial in trials])
    return exported


def _created(study_name: str, directions: Sequence[StudyDirection], storage: str | None) -> optuna.Study:
    try:
        return optuna.create_study(study_name=study_name, directions=directions, storage=storage)
    except optuna.exceptions.DuplicatedStudyError:
        raise AlreadyExists(f"{storage} has a study {study_name!r}: delete it there, or give another storage") from None


def _frozen(trial: TrialSnapshot, settings: StudySettings) -> optuna.trial.FrozenTrial:
    distributions = {
        name: found
        for name, domain in settings.search_space.items()
        if name in trial.hyperparameters and (found := _distribution(domain)) is not None
    }
    metric = settings.objective.metric
    intermediate = {each.step: each.metrics[metric] for each in trial.measurements if metric in each.metrics}
    state = _STATES[trial.state]
    frozen = optuna.trial.create_trial(
        state=state,
        values=trial.values if trial.state is TrialState.SUCCEEDED else None,
        params={name: _exported(settings.search_space[name], trial.hyperparameters[name]) for name in distributions},
        distributions=distributions,
        intermediate_values=intermediate,
        user_attrs=_attributes(trial, set(distributions)),
        system_attrs=_violations(trial, settings),
    )
    if state is not optuna.trial.TrialState.WAITING:
        frozen.datetime_start = _naive(trial.create_time)
    if state.is_finished():
        frozen.datetime_complete = _naive(trial.end_time)
    return frozen


def _violations(trial: TrialSnapshot, settings: StudySettings) -> dict[str, list[float]]:
    """How far each constrained metric is beyond its bounds, if all are known, where both Optuna and its dashboard look.

    The dashboard does not read constraints that have names (`trial.set_constraint`).
    """
    last = trial.measurements[-1].metrics if trial.measurements else {}
    metrics = {**last, **trial.metrics}
    is_known = all(each.metric in metrics for each in settings.constraints)
    if not settings.constraints or not is_known or not _STATES[trial.state].is_finished():
        return {}
    return {"constraints": [each.violation(metrics[each.metric]) for each in settings.constraints]}


def _distribution(domain: Domain) -> BaseDistribution | None:
    match domain:
        case FloatDomain(min=low, max=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step or None)
        case IntDomain(min=low, max=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=1 if log else step)
        case CategoricalDomain(values=values):
            return CategoricalDistribution([_exported(domain, each) for each in values])
    return None


def _exported(domain: Domain, value: Scalar) -> Scalar:
    """The value as Optuna has it: it finds a choice by `==`, and in Python 1 equals True.

    Of a domain with both it gets every value as Python writes it.
    """
    if isinstance(domain, CategoricalDomain) and len(set(domain.values)) < len(domain.values):
        return repr(value)
    return value


def _attributes(trial: TrialSnapshot, searched: set[str]) -> dict[str, Any]:
    fixed = {name: value for name, value in trial.hyperparameters.items() if name not in searched}
    ended = {f"metric {name}": value for name, value in trial.metrics.items()}
    reason = {"state_reason": trial.state_reason} if trial.state_reason else {}
    return {
        "steps": trial.steps,
        "seed": trial.seed,
        "device_seconds": trial.device_seconds,
        **reason,
        **ended,
        **fixed,
    }


def _naive(moment: datetime | None) -> datetime:
    # Optuna writes local times without a zone, and wants an end also for a trial that only paused.
    return (moment or datetime.now(UTC)).astimezone().replace(tzinfo=None)
