"""What a study optimizes, what it holds to, and where its search begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Goal(Enum):
    """Which way is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric that every measurement carries, and which way is better."""

    metric: str
    goal: Goal


@dataclass(frozen=True, slots=True)
class Constraint:
    """Bounds on a metric that a trial has at its end: feasible trials are better than any others."""

    metric: str
    min: float = -math.inf
    max: float = math.inf

    def violation(self, value: float) -> float:
        """How far the value is beyond the bounds; 0 or less: it keeps them."""
        return max(self.min - value, value - self.max)


@dataclass(frozen=True, slots=True)
class Prior:
    """A study whose succeeded trials are history for the search of a new one; `weight` is the share that counts."""

    study: str
    weight: float = 1.0


def minimize(metric: str) -> Objective:
    """The smaller the metric, the better."""
    return Objective(metric, Goal.MINIMIZE)


def maximize(metric: str) -> Objective:
    """The larger the metric, the better."""
    return Objective(metric, Goal.MAXIMIZE)


def at_most(metric: str, limit: float) -> Constraint:
    """The metric must not be more than the limit."""
    return Constraint(metric, max=float(limit))


def at_least(metric: str, limit: float) -> Constraint:
    """The metric must not be less than the limit."""
    return Constraint(metric, min=float(limit))


def prior(study: str, weight: float = 1.0) -> Prior:
    """Begins the search with the trials of another study.

    Args:
        study: "projects/*/studies/*" with the same objectives. Its trials are copied when the new study is created.
        weight: In (0, 1]: the share of them that is taken, at even distances from the best to the worst.
    """
    return Prior(study, float(weight))
