"""A study as its search sees it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from hydro.coordinator.objectives import violations_of
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import Study, StudySpec
from hydro.coordinator.trial import Hyperparameters, Result, Trial, TrialState


def known_trial(spec: StudySpec, trial: Trial) -> KnownTrial:
    """A trial of the study."""
    found = known(trial.name.number, trial.hyperparameters, trial.state, trial.value, trial.steps, trial.result)
    if trial.result is None and trial.measurements and found.outcome in (Outcome.SUCCEEDED, Outcome.PRUNED):
        return replace(found, violations=violations_of(spec, trial.measurements[-1].metrics))
    return found


def known(
    number: int,
    hyperparameters: Hyperparameters,
    state: TrialState,
    value: float | None,
    steps: int,
    result: Result | None,
) -> KnownTrial:
    """A trial by what it has come to. What an open one has measured so far is not told: only its place counts."""
    outcome = known_outcome(state, value)
    if outcome is Outcome.OPEN:
        return KnownTrial(number, hyperparameters, outcome)
    further = () if result is None else result.values[1:]
    violations = {} if result is None else result.violations
    return KnownTrial(number, hyperparameters, outcome, _finite(value), steps, further, violations)


def prior_known_trial(trial: PriorTrial) -> KnownTrial:
    """A trial of a study before it."""
    first, *further = trial.result.values
    return KnownTrial(
        trial.number,
        trial.hyperparameters,
        Outcome.SUCCEEDED,
        first,
        trial.steps,
        tuple(further),
        trial.result.violations,
    )


def known_outcome(state: TrialState, value: float | None) -> Outcome:
    """How far a trial in the state, with the value, has come."""
    match state:
        case TrialState.PENDING | TrialState.RUNNING:
            return Outcome.OPEN
        case TrialState.SUCCEEDED if _finite(value) is not None:
            return Outcome.SUCCEEDED
        case TrialState.PAUSED | TrialState.PRUNED if _finite(value) is not None:
            return Outcome.PRUNED
        case _:
            return Outcome.FAILED


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def request_of(
    study: Study, space: SearchSpace, history: Iterable[KnownTrial], *, count: int, first_index: int
) -> SearchRequest:
    """A request of the study for so many trials from a number on."""
    spec = study.spec
    return SearchRequest(
        sampler=spec.sampler,
        space=space,
        goal=spec.objective.goal,
        history=tuple(history),
        count=count,
        seed=spec.seed,
        first_index=first_index,
        study=study.uid,
        further_goals=spec.goals[1:],
        max_trials=spec.max_trials,
        external_sampler=spec.external_sampler,
    )
