"""Successive halving that stops: a trial goes on from a rung, or ends there."""

from __future__ import annotations

from collections import defaultdict

from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import Standing
from hydro.coordinator.pruning.ranking import Ranking
from hydro.coordinator.pruning_rules import SuccessiveHalvingPruning


class SuccessiveHalvingRule:
    """Ends a trial that is not among the best 1 / eta of those that have reached its rung so far.

    Of the first eta - 1 at a rung the best one goes on. A trial counts at a rung with its first value there or beyond;
    one that is measured beyond several rungs has to pass one after the other.

    Source: optuna.pruners.SuccessiveHalvingPruner, with whose decisions it agrees; after Li et al., "A System for
    Massively Parallel Hyperparameter Tuning" (MLSys 2020), without its promotions of trials that wait.
    """

    def __init__(self, rule: SuccessiveHalvingPruning) -> None:
        self._rule = rule
        self._first: int = rule.min_steps * rule.eta**rule.min_early_stopping_rate
        self._rungs: defaultdict[int, Ranking] = defaultdict(Ranking)
        self._entered: defaultdict[int, int] = defaultdict(int)
        """By trial: the rungs that it has entered."""
        self._passed: defaultdict[int, int] = defaultdict(int)
        """By trial: the rungs that it went on from."""

    def take(self, trial: int, course: Course, step: int) -> None:
        """Enters the trial at its next rung, if it has come so far."""
        rung = self._passed[trial]
        if self._entered[trial] == rung and step >= self._steps_of(rung):
            self._rungs[rung].add((course.cost(step), trial))
            self._entered[trial] = rung + 1

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step. If not, it goes on from each rung that it has come to."""
        while self._entered[trial] > self._passed[trial]:
            if not self._is_among_best(self._passed[trial], course.cost(step)):
                return True
            self._passed[trial] += 1
            self.take(trial, course, step)
        return False

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """Forgets where it was; its values still count."""
        self._entered.pop(trial, None)
        self._passed.pop(trial, None)

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history: it went on from every rung it reached, or ended at the last one."""
        for step, cost in course.items():
            while step >= self._steps_of(self._entered[trial]):
                self._rungs[self._entered[trial]].add((cost, trial))
                self._entered[trial] += 1
                if standing is Standing.ENDED and step == course.last[0]:
                    break
        self._passed[trial] = self._entered[trial]
        if standing in (Standing.SUCCEEDED, Standing.ENDED):
            self.end(trial, course, standing is Standing.SUCCEEDED)

    def _steps_of(self, rung: int) -> int:
        steps: int = self._first * self._rule.eta**rung
        return steps

    def _is_among_best(self, rung: int, cost: float) -> bool:
        ranking = self._rungs[rung]
        if len(ranking) <= self._rule.bootstrap_count:
            return False
        return cost <= ranking[max(len(ranking) // self._rule.eta - 1, 0)][0]
