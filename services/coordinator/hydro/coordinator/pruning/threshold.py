"""The threshold rule."""

from __future__ import annotations

from math import inf

from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import Standing
from hydro.coordinator.pruning_rules import ThresholdPruning


class ThresholdRule:
    """Ends a trial whose value leaves the bounds.

    Source: optuna.pruners.ThresholdPruner, with whose decisions it agrees.
    """

    def __init__(self, rule: ThresholdPruning, minimize: bool) -> None:
        self._rule = rule
        lower = -inf if rule.lower is None else rule.lower
        upper = inf if rule.upper is None else rule.upper
        self._low, self._high = (lower, upper) if minimize else (-upper, -lower)

    def take(self, trial: int, course: Course, step: int) -> None:
        """Does nothing: a trial is judged by itself."""

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step."""
        rule = self._rule
        if not course.is_first_of_interval(step, rule.warmup_steps, rule.measurement_interval_steps):
            return False
        return not self._low <= course.cost(step) <= self._high

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """Does nothing: a trial is judged by itself."""

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Does nothing: a trial is judged by itself."""
