"""What a model of the search is built from when trials stop at rungs: the largest budget of which enough is known.

Source: Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (ICML 2018),
section 3.1: D_b are the configurations measured with budget b, and the model is that of the largest b with
|D_b| >= N_min + 2, N_min = d + 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hydro.coordinator.history import known_trial
from hydro.coordinator.objectives import violations_of
from hydro.coordinator.pruning.pruning_rule import measured_steps
from hydro.coordinator.pruning_rules import HyperbandPruning
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.study import Sampler, StudySpec
from hydro.coordinator.trial import Trial

STARTUP_TRIALS = 10
"""Of fewer Optuna's TPE builds no model."""


def is_modelled_by_budget(spec: StudySpec) -> bool:
    """Whether the study is BOHB: TPE with Hyperband."""
    return spec.sampler is Sampler.TPE and isinstance(spec.pruning, HyperbandPruning)


def search_history(spec: StudySpec, trials: Sequence[Trial]) -> tuple[KnownTrial, ...]:
    """The study's trials as its search sees them; those that callers drive measure where they like."""
    if is_modelled_by_budget(spec) and not spec.is_driven:
        return budget_history(spec, trials)
    return tuple(known_trial(spec, each) for each in trials)


def budget_history(spec: StudySpec, trials: Sequence[Trial]) -> tuple[KnownTrial, ...]:
    """The trials as a model of one budget sees them.

    Those measured at the budget have their objective there, as if they ended there; of the others the open ones are
    open, and the rest is left out. While no budget has enough of them, every trial is as it stands.
    """
    known = [known_trial(spec, trial) for trial in trials]
    courses = [_course(spec, trial) for trial in trials]
    needed = max(len(spec.search_space.searched_names) + 3, STARTUP_TRIALS)
    for budget in reversed(measured_steps(spec.pruning, spec.max_steps)):
        if sum(budget in course for course in courses) >= needed:
            return tuple(
                _at(spec, each, trial, budget, course[budget]) if budget in course else _unmeasured(each)
                for each, trial, course in zip(known, trials, courses, strict=True)
            )
    return tuple(known)


def _at(spec: StudySpec, known: KnownTrial, trial: Trial, budget: int, value: float) -> KnownTrial:
    measured = next(each.metrics for each in trial.measurements if each.step == budget)
    violations = violations_of(spec, measured)
    return replace(known, outcome=Outcome.SUCCEEDED, value=value, steps=budget, violations=violations)


def _unmeasured(trial: KnownTrial) -> KnownTrial:
    return trial if trial.outcome is Outcome.OPEN else replace(trial, outcome=Outcome.FAILED, value=None)


def _course(spec: StudySpec, trial: Trial) -> Mapping[int, float]:
    """The objective by step, where it is a number."""
    metric = spec.objective.metric
    values = {each.step: each.metrics[metric] for each in trial.measurements if metric in each.metrics}
    return {step: value for step, value in values.items() if math.isfinite(value)}
