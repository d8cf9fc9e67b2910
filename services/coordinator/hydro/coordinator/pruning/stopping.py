"""Pruners that end trials, and pause none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from hydro.coordinator.pruning.clock import Clock, by_steps
from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.trial import Verdict


class StoppingRule(Protocol):
    """Says which trials end before their last step. Costs: a smaller one is better. Steps: places by the clock."""

    def take(self, trial: int, course: Course, step: int) -> None:
        """Takes in that the trial was measured at the step, which its course has by now."""
        ...

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step that was taken in."""
        ...

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """The trial has ended, for whatever reason."""
        ...

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history; not PAUSED ones."""
        ...


class StoppingPruner:
    """Ends the trials of which its rule says so, and those that reach the last step."""

    def __init__(
        self,
        rule: StoppingRule,
        max_steps: int,
        minimize: bool,
        history: Iterable[MeasuredTrial] = (),
        clock: Clock = by_steps,
    ) -> None:
        self._rule = rule
        self._clock = clock
        self._max_steps = max_steps
        self._sign = 1.0 if minimize else -1.0
        self._courses: defaultdict[int, Course] = defaultdict(Course)
        self._ended: dict[int, Verdict] = {}
        for trial in history:
            self._restore(trial)

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """Takes in the reports, then gives the verdict of each."""
        for report in reports:
            self._take_in(report)
        return [self._verdict(report) for report in reports]

    def promotable(self) -> list[int]:
        """None: nothing pauses under this rule."""
        return []

    def promote(self, trial: int) -> None:
        """Does nothing: nothing pauses under this rule."""

    def end(self, trial: int, succeeded: bool) -> None:
        """The trial has ended."""
        if trial not in self._ended:
            self._ended[trial] = Verdict.STOP if succeeded else Verdict.PRUNE
            self._rule.end(trial, self._courses.pop(trial, Course()), succeeded)

    def last_resort(self) -> int | None:
        """None: nothing pauses under this rule."""
        return None

    def _take_in(self, report: Report) -> None:
        if report.trial in self._ended:
            return
        course = self._courses[report.trial]
        place = self._clock(report.step, report.seconds)
        if course.take(place, self._sign * report.value):
            self._rule.take(report.trial, course, place)

    def _verdict(self, report: Report) -> Verdict:
        trial = report.trial
        if trial in self._ended:
            return self._ended[trial]
        if 0 < self._max_steps <= report.step:
            self.end(trial, succeeded=True)
        elif self._rule.prunes(trial, self._courses[trial], self._clock(report.step, report.seconds)):
            self.end(trial, succeeded=False)
        return self._ended.get(trial, Verdict.CONTINUE)

    def _restore(self, trial: MeasuredTrial) -> None:
        course = Course()
        for place, value in trial.placed(self._clock):
            course.take(place, self._sign * value)
        self._rule.restore(trial.trial, course, trial.standing)
        match trial.standing:
            case Standing.SUCCEEDED:
                self._ended[trial.trial] = Verdict.STOP
            case Standing.ENDED:
                self._ended[trial.trial] = Verdict.PRUNE
            case Standing.OPEN | Standing.PAUSED:
                self._courses[trial.trial] = course
