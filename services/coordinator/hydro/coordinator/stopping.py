"""When a study ends before all of its trials have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from hydro.kit.errors import FieldViolation

MAX_RETRIES = 100
DEFAULT_RETRIES = 3
MAX_DURATION_SECONDS = 3e9
"""A hundred years: a number above is a mistake."""
MIN_TRIAL_TIMEOUT_SECONDS = 1.0
"""Callers say three times in it that they live."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """What ends the search early; the first that holds does. Units: seconds of search, by the database's clock."""

    max_duration_seconds: float = 0.0
    """0: no limit."""
    target_value: float | None = None
    max_trials_without_improvement: int = 0
    """0: no limit."""

    @property
    def is_set(self) -> bool:
        """Whether anything does."""
        return self != Stopping()


@dataclass(frozen=True, slots=True)
class Endurance:
    """How often a trial is run again after a run that was not ended by itself, how many failed
    trials are borne, and how long a caller may say nothing.
    """

    max_retries: int = DEFAULT_RETRIES
    failure_budget: int = 0
    """0: any number."""
    trial_timeout_seconds: float = 0.0
    """Of a driven trial: after so long without a word of its caller it is given to another. 0: never."""


@dataclass(frozen=True, slots=True)
class SearchStanding:
    """How far a search has come. `best` is the value of the best trial; `first_failures` are reasons, oldest first."""

    searched_seconds: float
    best: float | None
    trials_without_improvement: int
    failed: int
    first_failures: Sequence[str] = ()


class Ending(Enum):
    """How a study ends early."""

    SUCCEED = "SUCCEED"
    FAIL = "FAIL"


def ending(
    stopping: Stopping, endurance: Endurance, standing: SearchStanding, *, minimizes: bool
) -> tuple[Ending, str] | None:
    """How the study ends now, and why. None: it goes on.

    A target that is reached counts before a budget that is used up: what was searched for has been found.
    """
    target, best = stopping.target_value, standing.best
    if target is not None and best is not None and (best <= target if minimizes else best >= target):
        return Ending.SUCCEED, f"the target value {target:g} was reached: the best trial has {best:g}"
    if 0 < endurance.failure_budget <= standing.failed:
        reasons = "\n".join(f"- {each}" for each in standing.first_failures)
        said = f"{standing.failed} trials failed, and failure_budget is {endurance.failure_budget}; the first ones:"
        return Ending.FAIL, f"{said}\n{reasons}"
    limit = stopping.max_trials_without_improvement
    if 0 < limit <= standing.trials_without_improvement:
        return Ending.SUCCEED, f"no trial of the last {standing.trials_without_improvement} was better than the best"
    if 0 < stopping.max_duration_seconds <= standing.searched_seconds:
        searched = f"{standing.searched_seconds:.1f} s of {stopping.max_duration_seconds:g} s"
        return Ending.SUCCEED, f"the time is over: it has searched {searched}"
    return None


def validate_stopping(stopping: Stopping, endurance: Endurance, *, is_driven: bool = True) -> Iterator[FieldViolation]:
    """What is wrong with them."""
    seconds, target = stopping.max_duration_seconds, stopping.target_value
    if not 0 <= seconds <= MAX_DURATION_SECONDS:
        description = f"is {seconds:g}: give seconds, up to {MAX_DURATION_SECONDS:g}, or 0 for no limit"
        yield FieldViolation("study.stopping.max_duration_seconds", description)
    if target is not None and not math.isfinite(target):
        yield FieldViolation("study.stopping.target_value", f"is {target}: give a number, or none")
    if stopping.max_trials_without_improvement < 0:
        description = f"is {stopping.max_trials_without_improvement}: give 1 or more, or 0 for no limit"
        yield FieldViolation("study.stopping.max_trials_without_improvement", description)
    if not 0 <= endurance.max_retries <= MAX_RETRIES:
        yield FieldViolation("study.max_retries", f"is {endurance.max_retries}: give 0 to {MAX_RETRIES}")
    if endurance.failure_budget < 0:
        description = f"is {endurance.failure_budget}: give 1 or more, or 0 for any number"
        yield FieldViolation("study.failure_budget", description)
    timeout = endurance.trial_timeout_seconds
    if timeout and not is_driven:
        description = f"is {timeout:g}, and workers train its trials, under leases of the service's own: give 0"
        yield FieldViolation("study.trial_timeout_seconds", description)
    elif timeout and not MIN_TRIAL_TIMEOUT_SECONDS <= timeout <= MAX_DURATION_SECONDS:
        bounds = f"{MIN_TRIAL_TIMEOUT_SECONDS:g} to {MAX_DURATION_SECONDS:g}"
        yield FieldViolation("study.trial_timeout_seconds", f"is {timeout:g}: give {bounds}, or 0 for no limit")
