"""Optuna's arm: its own samplers in the caller's process, with the settings that ours have."""

from __future__ import annotations

import warnings
from collections import deque

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from benchmarks.search.cells import Cell
from benchmarks.search.subjects import subject


def regret(cell: Cell, seed: int) -> float:
    """Runs a study to its end, `parallelism` trials at a time, which end in the order of their starts."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    what = subject(cell.subject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=_sampler(cell.sampler, seed))
    running: deque[optuna.Trial] = deque()
    asked = 0
    while asked < cell.trials or running:
        while asked < cell.trials and len(running) < cell.parallelism:
            running.append(study.ask({axis.name: axis.distribution for axis in what.axes}))
            asked += 1
        trial = running.popleft()
        study.tell(trial, what.value(trial.params, seed))
    return float(study.best_value) - what.least


def _sampler(name: str, seed: int) -> BaseSampler:
    match name:
        case "random":
            return RandomSampler(seed=seed)
        case "tpe":
            return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        case _:
            return GPSampler(seed=seed)
