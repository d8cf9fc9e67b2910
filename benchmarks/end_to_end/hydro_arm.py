"""Hydro: a suite from nothing, the surrogate's search, and the target with what was transferred."""

from __future__ import annotations

import time

from benchmarks.end_to_end.optuna_arm import Say
from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.subject import EXAMPLES, SEED, Subject
from hydro.client import Client, Study, maximize, median, minimize, surrogate

WIDTH = 1 / 8


def run(subject: Subject, say: Say) -> Outcome:
    """Starts a suite, searches, then trains the target once per seed."""
    start = time.perf_counter()
    with Client.local() as client:
        say(f"suite ready after {time.perf_counter() - start:.1f} s")
        study = _search(client, subject)
        search_seconds = time.perf_counter() - start
        say(f"search ended after {search_seconds:.1f} s")
        first, *others = subject.target_seeds
        start = time.perf_counter()
        trained = {first: study.train_target(seed=first)}
        target_seconds = time.perf_counter() - start
        trained |= {seed: study.train_target(seed=seed, wait=False) for seed in others}
        measured = {}
        for seed, target in trained.items():
            measured[str(seed)] = dict(target.metrics)
            say(f"target, seed {seed}: {subject.metric} {target.value:.4f}")
        statistics, best = study.statistics, study.best_trial
    return Outcome(
        model=subject.name,
        arm="hydro",
        search_seconds=search_seconds,
        target_seconds=target_seconds,
        best_hyperparameters=dict(best.hyperparameters),
        best_value=float(best.value or 0.0),
        trials_by_state=dict(statistics.trials_by_state),
        trial_steps=statistics.trial_steps,
        target_metrics=measured,
    )


def _search(client: Client, subject: Subject) -> Study:
    study = client.create_study(
        subject.name.replace("_", "-"),
        task=subject.entry_point,
        source_path=str(EXAMPLES),
        search_space=subject.space,
        objective=maximize(subject.metric) if subject.is_maximized else minimize(subject.metric),
        sampler="tpe",
        pruner=median(subject.interval_steps, subject.steps, startup_trials=subject.startup_trials),
        surrogate=surrogate(WIDTH),
        trials=subject.trials,
        parallelism=subject.parallelism,
        seed=SEED,
    )
    study.wait()
    return study
