"""A study's trials as its search sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hydro.coordinator.objectives import violations_of
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import StudySpec
from hydro.coordinator.trial import Trial, TrialState


def known_trial(spec: StudySpec, trial: Trial) -> KnownTrial:
    """A trial of the study."""
    violations: Mapping[str, float] = {}
    if trial.result is not None:
        violations = trial.result.violations
    elif trial.measurements:
        violations = violations_of(spec, trial.measurements[-1].metrics)
    return KnownTrial(
        trial.name.number,
        trial.hyperparameters,
        known_outcome(trial.state, trial.value),
        _finite(trial.value),
        trial.steps,
        () if trial.result is None else trial.result.values[1:],
        violations,
    )


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
