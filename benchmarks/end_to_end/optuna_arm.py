"""Optuna alone: the target at full width, one trial after the other."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.study import StudyDirection

from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.plain_training import is_finite, train
from benchmarks.end_to_end.subject import EXAMPLES, SEED, Subject
from hydro.client.spaces import CategoricalDomain, ConstantDomain, FloatDomain
from hydro.tuner.task import TrainingTask
from hydro.tuner.task_loading import load_task

Say = Callable[[str], None]


def run(subject: Subject, say: Say) -> Outcome:
    """Searches, then trains the target with the best hyperparameters once per seed."""
    task = load_task(subject.entry_point, str(EXAMPLES))
    start = time.perf_counter()
    study = _study(subject)
    study.optimize(_Objective(subject, task, say), n_trials=subject.trials)
    search_seconds = time.perf_counter() - start
    best = _complete(subject, task, study.best_params)
    measured, seconds = {}, []
    for seed in subject.target_seeds:
        start = time.perf_counter()
        measured[str(seed)] = train(task, best, seed, subject.steps, subject.steps, lambda step, metrics: None)
        seconds.append(time.perf_counter() - start)
        say(f"target, seed {seed}: {subject.metric} {measured[str(seed)][subject.metric]:.4f}")
    return Outcome(
        model=subject.name,
        arm="optuna",
        search_seconds=search_seconds,
        target_seconds=seconds[0],
        best_hyperparameters=study.best_params,
        best_value=study.best_value,
        trials_by_state=dict(Counter(trial.state.name for trial in study.trials)),
        trial_steps=sum(trial.last_step or 0 for trial in study.trials),
        target_metrics=measured,
    )


def _study(subject: Subject) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # As Hydro's own: the two arms differ in what they train, not in how they search.
        sampler = optuna.samplers.TPESampler(seed=SEED, multivariate=True, group=True)
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=subject.startup_trials,
        n_min_trials=subject.startup_trials,
        interval_steps=subject.interval_steps,
    )
    direction = StudyDirection.MAXIMIZE if subject.is_maximized else StudyDirection.MINIMIZE
    return optuna.create_study(sampler=sampler, pruner=pruner, direction=direction)


class _Objective:
    """Trains the target with a trial's hyperparameters."""

    def __init__(self, subject: Subject, task: TrainingTask, say: Say) -> None:
        self._subject = subject
        self._task = task
        self._say = say

    def __call__(self, trial: optuna.Trial) -> float:
        subject = self._subject
        hp = _complete(subject, self._task, _suggested(subject, trial))

        def report(step: int, metrics: Mapping[str, float]) -> None:
            if not is_finite(metrics):
                raise optuna.TrialPruned
            trial.report(metrics[subject.metric], step)
            if step < subject.steps and trial.should_prune():
                raise optuna.TrialPruned

        self._say(f"trial {trial.number} of {subject.trials}")
        return train(self._task, hp, trial.number, subject.steps, subject.interval_steps, report)[subject.metric]


def _complete(subject: Subject, task: TrainingTask, searched: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {name: domain.value for name, domain in subject.space.items() if isinstance(domain, ConstantDomain)}
    return {**task.defaults, **fixed, **searched}


def _suggested(subject: Subject, trial: optuna.Trial) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, domain in subject.space.items():
        match domain:
            case FloatDomain():
                values[name] = trial.suggest_float(name, domain.min, domain.max, log=domain.log)
            case CategoricalDomain():
                values[name] = trial.suggest_categorical(name, domain.values)
    return values
