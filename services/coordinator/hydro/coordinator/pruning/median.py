"""The median rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.ranking import Entry, Ranking
from hydro.coordinator.study import MedianPruning
from hydro.coordinator.trial import Verdict


@dataclass(slots=True)
class Course:
    """What one running trial has measured: costs by step, the best of them, and the two highest steps."""

    costs: dict[int, float] = field(default_factory=dict)
    best: float = inf
    last_step: int = -1
    step_before: int = -1

    def take(self, step: int, cost: float) -> None:
        """Takes in a measurement. The first one of a step stands."""
        if step in self.costs:
            return
        self.costs[step] = cost
        self.best = min(self.best, cost)
        if step > self.last_step:
            self.last_step, self.step_before = step, self.last_step
        else:
            self.step_before = max(self.step_before, step)

    def previous(self, step: int) -> int:
        """The highest step measured beside this one, -1 if there is none."""
        return self.step_before if step == self.last_step else self.last_step


class MedianPruner:
    """Prunes a trial whose best value so far is worse than the median of the finished trials' values at the same step.

    Only trials trained to the end count. Against running ones too, half of the lanes of a bundle would end at every
    measurement, whatever their number.

    Source: optuna.pruners.MedianPruner, with whose decisions it agrees; `n_min_trials` there is `startup_trials` here.
    """

    def __init__(
        self, rule: MedianPruning, max_steps: int, minimize: bool, history: Iterable[MeasuredTrial] = ()
    ) -> None:
        self._rule = rule
        self._max_steps = max_steps
        self._sign = 1.0 if minimize else -1.0
        self._finished: defaultdict[int, Ranking] = defaultdict(Ranking)
        self._running: defaultdict[int, Course] = defaultdict(Course)
        self._ended: dict[int, Verdict] = {}
        finished: defaultdict[int, list[Entry]] = defaultdict(list)
        for trial in history:
            self._restore(trial, finished)
        for step, entries in finished.items():
            self._finished[step] = Ranking(entries)

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """Takes in the reports, then gives the verdict of each."""
        for report in reports:
            self._take_in(report.trial, report.step, report.value)
        return [self._verdict(report.trial, report.step) for report in reports]

    def promotable(self) -> list[int]:
        """None: nothing pauses under this rule."""
        return []

    def promote(self, trial: int) -> None:
        """Does nothing: nothing pauses under this rule."""

    def end(self, trial: int, succeeded: bool) -> None:
        """From now on the trial's values count, if it succeeded."""
        if trial in self._ended:
            return
        self._ended[trial] = Verdict.STOP if succeeded else Verdict.PRUNE
        course = self._running.pop(trial, Course())
        if succeeded:
            for step, cost in course.costs.items():
                self._finished[step].add((cost, trial))

    def last_resort(self) -> int | None:
        """None: nothing pauses under this rule."""
        return None

    def _take_in(self, trial: int, step: int, value: float) -> None:
        if trial not in self._ended:
            self._running[trial].take(step, self._sign * value)

    def _verdict(self, trial: int, step: int) -> Verdict:
        if trial in self._ended:
            return self._ended[trial]
        if 0 < self._max_steps <= step:
            self.end(trial, succeeded=True)
        elif self._judges(trial, step) and self._running[trial].best > self._median(step):
            self.end(trial, succeeded=False)
        return self._ended.get(trial, Verdict.CONTINUE)

    def _judges(self, trial: int, step: int) -> bool:
        """Whether the step is the trial's first of an interval after the warm-up."""
        warmup, interval = self._rule.warmup_steps, self._rule.measurement_interval_steps
        if step < warmup:
            return False
        interval_start = (step - warmup) // interval * interval + warmup
        return self._running[trial].previous(step) < interval_start

    def _median(self, step: int) -> float:
        """The finished trials' median cost at the step; infinite while they are too few to prune by."""
        finished = self._finished.get(step, ())
        count = len(finished)
        if count < max(1, self._rule.startup_trials):
            return inf
        lower, upper = finished[(count - 1) // 2][0], finished[count // 2][0]
        return upper - (upper - lower) * 0.5

    def _restore(self, trial: MeasuredTrial, finished: defaultdict[int, list[Entry]]) -> None:
        match trial.standing:
            case Standing.SUCCEEDED:
                self._ended[trial.trial] = Verdict.STOP
                for step, value in trial.measurements:
                    finished[step].append((self._sign * value, trial.trial))
            case Standing.ENDED:
                self._ended[trial.trial] = Verdict.PRUNE
            case Standing.OPEN | Standing.PAUSED:
                for step, value in trial.measurements:
                    self._take_in(trial.trial, step, value)
