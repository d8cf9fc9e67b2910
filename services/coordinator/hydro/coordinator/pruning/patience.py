"""The patience rule."""

from __future__ import annotations

from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import Standing
from hydro.coordinator.pruning.stopping import StoppingRule
from hydro.coordinator.pruning_rules import PatiencePruning


class PatienceRule:
    """Ends a trial that another rule would end, once its latest values are worse than its best before them.

    Source: optuna.pruners.PatientPruner, with whose decisions it agrees.
    """

    def __init__(self, rule: PatiencePruning, wrapped: StoppingRule | None) -> None:
        self._rule = rule
        self._wrapped = wrapped

    def take(self, trial: int, course: Course, step: int) -> None:
        """Takes in a measurement."""
        if self._wrapped is not None:
            self._wrapped.take(trial, course, step)

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step."""
        if not self._is_worse(course):
            return False
        return self._wrapped is None or self._wrapped.prunes(trial, course, step)

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """The trial has ended."""
        if self._wrapped is not None:
            self._wrapped.end(trial, course, succeeded)

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history."""
        if self._wrapped is not None:
            self._wrapped.restore(trial, course, standing)

    def _is_worse(self, course: Course) -> bool:
        latest = self._rule.patience + 1
        if len(course) <= latest:
            return False
        return course.best_before_last(latest) + self._rule.min_delta < course.best_of_last(latest)
