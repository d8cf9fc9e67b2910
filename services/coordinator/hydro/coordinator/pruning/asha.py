"""Asynchronous successive halving that pauses and promotes.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), Algorithm 2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import takewhile

from hydro.coordinator.pruning.clock import Clock, by_steps
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.ranking import Entry, Ranking
from hydro.coordinator.trial import Verdict


class Rung:
    """The trials measured at one step, and those of them that wait to be promoted."""

    def __init__(self, eta: int) -> None:
        self._eta = eta
        self._all = Ranking()
        self._waiting = Ranking()
        self._entries: dict[int, Entry] = {}

    def __contains__(self, trial: int) -> bool:
        return trial in self._entries

    def __len__(self) -> int:
        return len(self._all)

    def add(self, trial: int, cost: float) -> None:
        """Takes in a trial that waits here. Its first cost stands."""
        if trial not in self._entries:
            self._entries[trial] = entry = (cost, trial)
            self._all.add(entry)
            self._waiting.add(entry)

    def leave(self, trial: int) -> None:
        """The trial no longer waits here: it was promoted, or ended. Its cost still counts."""
        if trial in self._entries:
            self._waiting.remove(self._entries[trial])

    def waits(self, trial: int) -> bool:
        """Whether the trial is here and was neither promoted nor ended."""
        if trial not in self._entries:
            return False
        entry = self._entries[trial]
        rank = self._waiting.rank(entry)
        return rank < len(self._waiting) and self._waiting[rank] == entry

    def is_promotable(self, trial: int) -> bool:
        """Whether the trial waits among the best 1 / eta of the rung."""
        return self.waits(trial) and self._is_among_best(self._entries[trial])

    def promotable(self) -> list[int]:
        """Every trial that waits among the best 1 / eta of the rung, best first."""
        waiting = (self._waiting[rank] for rank in range(len(self._waiting)))
        return [trial for _, trial in takewhile(self._is_among_best, waiting)]

    def best_waiting(self) -> Entry | None:
        """The best trial that waits, among the best 1 / eta or not, with its cost."""
        return self._waiting[0] if len(self._waiting) else None

    def _is_among_best(self, entry: Entry) -> bool:
        return self._all.rank(entry) < len(self._all) // self._eta


class AshaPruner:
    """A trial pauses at each rung; the best 1 / eta of a rung go on, each once, however late it enters them.

    A report between two rungs counts for the lower one, if the trial has none there: loops that drive themselves
    measure where they like. Steps are places by the clock.
    """

    def __init__(
        self,
        eta: int,
        steps: Sequence[int],
        minimize: bool,
        history: Iterable[MeasuredTrial] = (),
        clock: Clock = by_steps,
    ) -> None:
        self._clock = clock
        self._steps = tuple(steps)
        self._sign = 1.0 if minimize else -1.0
        self._rungs = [Rung(eta) for _ in self._steps]
        for trial in history:
            self._restore(trial)

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """Takes in the reports, then gives the verdict of each."""
        for report in reports:
            self._take_in(report.trial, self._clock(report.step, report.seconds), report.value)
        return [self._verdict(report) for report in reports]

    def promotable(self) -> list[int]:
        """Paused trials that may go on, from the highest rung down, the best of a rung first."""
        return [trial for rung in reversed(self._rungs[:-1]) for trial in rung.promotable()]

    def promote(self, trial: int) -> None:
        """The trial goes on from its rung."""
        for rung in self._rungs:
            rung.leave(trial)

    def end(self, trial: int, succeeded: bool) -> None:
        """The trial can no longer be promoted."""
        self.promote(trial)

    def last_resort(self) -> int | None:
        """The best trial of the highest rung where one waits, if none has reached the last step."""
        best = None if self.has_finished else self.best_waiting()
        return None if best is None else best[1][1]

    @property
    def has_finished(self) -> bool:
        """Whether a trial has reached the last step."""
        return len(self._rungs[-1]) > 0

    def best_waiting(self) -> tuple[int, Entry] | None:
        """The best trial of the highest rung where one waits, with the rung's steps and its cost there."""
        for steps, rung in zip(reversed(self._steps), reversed(self._rungs), strict=True):
            best = rung.best_waiting()
            if best is not None:
                return steps, best
        return None

    def _take_in(self, trial: int, step: int, value: float) -> int:
        """Gives the rung that the step counts for: -1 below the first."""
        index = bisect_right(self._steps, step) - 1
        if index >= 0 and trial not in self._rungs[index]:
            for rung in self._rungs[:index]:
                rung.leave(trial)
            self._rungs[index].add(trial, self._sign * value)
        return index

    def _verdict(self, report: Report) -> Verdict:
        index = bisect_right(self._steps, self._clock(report.step, report.seconds)) - 1
        if index == len(self._steps) - 1:
            return Verdict.STOP
        if index < 0 or not self._rungs[index].waits(report.trial):
            return Verdict.CONTINUE
        if self._rungs[index].is_promotable(report.trial):
            self._rungs[index].leave(report.trial)
            return Verdict.CONTINUE
        return Verdict.PAUSE

    def _restore(self, trial: MeasuredTrial) -> None:
        for place, value in trial.placed(self._clock):
            self._take_in(trial.trial, place, value)
        if trial.standing is not Standing.PAUSED:
            self.promote(trial.trial)
