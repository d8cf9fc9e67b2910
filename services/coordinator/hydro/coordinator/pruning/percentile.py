"""The percentile rule, of which the median rule is the one at 50."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import Standing
from hydro.coordinator.pruning.ranking import Ranking
from hydro.coordinator.pruning_rules import PercentilePruning


class PercentileRule:
    """Ends a trial whose best value so far is worse than a percentile of the finished trials' values at the same step.

    Only trials trained to the end count. Against running ones too, half of the lanes of a bundle would end at every
    measurement, whatever their number.

    Source: optuna.pruners.PercentilePruner, with whose decisions it agrees; `n_min_trials` there is `startup_trials`
    here.
    """

    def __init__(self, rule: PercentilePruning, minimize: bool) -> None:
        self._rule = rule
        self._minimize = minimize
        self._finished: defaultdict[int, Ranking] = defaultdict(Ranking)

    def take(self, trial: int, course: Course, step: int) -> None:
        """Does nothing: a trial counts once it has finished."""

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step."""
        rule = self._rule
        if not course.is_first_of_interval(step, rule.warmup_steps, rule.measurement_interval_steps):
            return False
        finished = self._finished.get(step)
        if finished is None or len(finished) < max(1, rule.startup_trials):
            return False
        return course.best > self._limit(finished)

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """From now on the trial's values count, if it succeeded."""
        if succeeded:
            for step, cost in course.items():
                self._finished[step].add((cost, trial))

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history."""
        self.end(trial, course, standing is Standing.SUCCEEDED)

    def _limit(self, finished: Ranking) -> float:
        """The cost at the percentile. Counted from the smallest value, as numpy does, whichever end is the better."""
        last = len(finished) - 1
        if self._minimize:
            return _percentile(lambda rank: finished[rank][0], len(finished), self._rule.percentile)
        return -_percentile(lambda rank: -finished[last - rank][0], len(finished), 100 - self._rule.percentile)


def _percentile(ascending: Callable[[int], float], count: int, percent: float) -> float:
    """The percentile of values in ascending order, with the rounding of `numpy.percentile`."""
    place = (count - 1) * (percent / 100)
    below = int(place)
    low, high, share = ascending(below), ascending(min(below + 1, count - 1)), place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
