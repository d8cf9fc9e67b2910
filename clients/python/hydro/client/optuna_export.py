"""A study as one of Optuna's, for its plots and its dashboard. The one place that needs optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hydro.client.objectives import Goal
from hydro.client.snapshots import StudySnapshot, TrialSnapshot, TrialState
from hydro.client.spaces import CategoricalDomain, Domain, FloatDomain, IntDomain

# A paused trial was left at a rung: in Optuna's words, pruned. Open trials have no counterpart and are left out.
_STATES = {
    TrialState.SUCCEEDED: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.PAUSED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
    TrialState.CANCELLED: optuna.trial.TrialState.FAIL,
}


def optuna_study(study: StudySnapshot, trials: Sequence[TrialSnapshot], storage: str | None) -> optuna.Study:
    """The study with those of its trials that run no more; what is no parameter is in their user attributes."""
    settings = study.settings
    exported = optuna.create_study(
        study_name=study.name.study,
        direction="maximize" if settings.objective.goal is Goal.MAXIMIZE else "minimize",
        storage=storage,
    )
    for trial in trials:
        if trial.state in _STATES:
            exported.add_trial(_frozen(trial, settings.search_space, settings.objective.metric))
    return exported


def _frozen(trial: TrialSnapshot, space: Mapping[str, Domain], metric: str) -> optuna.trial.FrozenTrial:
    distributions = {
        name: found
        for name, domain in space.items()
        if name in trial.hyperparameters and (found := _distribution(domain)) is not None
    }
    intermediate = {each.step: each.metrics[metric] for each in trial.measurements if metric in each.metrics}
    completes = trial.state is TrialState.SUCCEEDED
    frozen = optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=trial.value if completes else None,
        params={name: trial.hyperparameters[name] for name in distributions},
        distributions=distributions,
        intermediate_values=intermediate,
        user_attrs=_attributes(trial, set(distributions)),
    )
    frozen.datetime_start, frozen.datetime_complete = _naive(trial.create_time), _naive(trial.end_time)
    return frozen


def _distribution(domain: Domain) -> BaseDistribution | None:
    match domain:
        case FloatDomain(min=low, max=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step or None)
        case IntDomain(min=low, max=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=1 if log else step)
        case CategoricalDomain(values=values):
            return CategoricalDistribution(values)
    return None


def _attributes(trial: TrialSnapshot, searched: set[str]) -> dict[str, Any]:
    fixed = {name: value for name, value in trial.hyperparameters.items() if name not in searched}
    return {"steps": trial.steps, "seed": trial.seed, "device_seconds": trial.device_seconds, **fixed}


def _naive(moment: datetime | None) -> datetime:
    # Optuna writes local times without a zone, and wants an end also for a trial that only paused.
    return (moment or datetime.now(UTC)).astimezone().replace(tzinfo=None)
