"""What a study optimizes."""

from __future__ import annotations

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


def minimize(metric: str) -> Objective:
    """The smaller the metric, the better."""
    return Objective(metric, Goal.MINIMIZE)


def maximize(metric: str) -> Objective:
    """The larger the metric, the better."""
    return Objective(metric, Goal.MAXIMIZE)
