"""Pruners: which trials end early, and how long a trial trains. All steps are optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asha:
    """Asynchronous successive halving with pause and promotion (Li et al., MLSys 2020)."""

    min_steps: int
    max_steps: int
    eta: int


@dataclass(frozen=True, slots=True)
class Median:
    """Prunes a trial that is worse than the median of the others at the same step."""

    interval_steps: int
    max_steps: int
    warmup_steps: int
    startup_trials: int


@dataclass(frozen=True, slots=True)
class NoPruning:
    """Trains every trial to the end; `interval_steps` 0 measures at the end alone."""

    max_steps: int
    interval_steps: int


Pruner = Asha | Median | NoPruning


def asha(min_steps: int, max_steps: int, eta: int = 4) -> Asha:
    """Trials pause at rungs of min_steps, min_steps * eta, ...; the best 1 / eta of a rung go on, to max_steps."""
    return Asha(min_steps, max_steps, eta)


def median(interval_steps: int, max_steps: int, *, warmup_steps: int = 0, startup_trials: int = 5) -> Median:
    """Ends a trial that is worse than the median of the others at the same step.

    Args:
        interval_steps: Steps between two measurements.
        max_steps: Steps of a trial that is not pruned.
        warmup_steps: No trial ends before this step.
        startup_trials: No trial ends before so many others have been measured at the step.
    """
    return Median(interval_steps, max_steps, warmup_steps, startup_trials)


def no_pruning(max_steps: int, *, interval_steps: int = 0) -> NoPruning:
    """Trains every trial for max_steps, measuring every interval_steps (0: at the end alone)."""
    return NoPruning(max_steps, interval_steps)
