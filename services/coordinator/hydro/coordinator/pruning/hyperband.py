"""Hyperband: successive halving in brackets that begin to halve at different steps.

Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (JMLR 2018), Algorithm 1;
asynchronous within each bracket as in Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020),
Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hydro.coordinator.pruning.asha import AshaPruner
from hydro.coordinator.pruning.brackets import Brackets
from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.successive_halving import SuccessiveHalvingRule
from hydro.coordinator.pruning_rules import HyperbandPruning, SuccessiveHalvingPruning
from hydro.coordinator.trial import Verdict


class HyperbandPruner:
    """Pauses and promotes in each bracket as ASHA does. `steps` are bracket 0's rungs; bracket b skips b of them."""

    def __init__(
        self,
        rule: HyperbandPruning,
        steps: Sequence[int],
        minimize: bool,
        history: Iterable[MeasuredTrial] = (),
    ) -> None:
        self._of = Brackets(rule.min_steps, steps[-1], rule.eta)
        of_bracket: list[list[MeasuredTrial]] = [[] for _ in range(len(self._of))]
        for trial in history:
            of_bracket[self._of.of(trial.trial)].append(trial)
        self._brackets = [
            AshaPruner(rule.eta, steps[bracket:], minimize, known) for bracket, known in enumerate(of_bracket)
        ]

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """Takes in the reports, then gives the verdict of each. Only trials of one bracket are compared."""
        verdicts: dict[Report, Verdict] = {}
        for number, bracket in enumerate(self._brackets):
            own = [report for report in reports if self._of.of(report.trial) == number]
            verdicts |= zip(own, bracket.decide(own), strict=True)
        return [verdicts[report] for report in reports]

    def promotable(self) -> list[int]:
        """Paused trials that may go on, bracket by bracket."""
        return [trial for bracket in self._brackets for trial in bracket.promotable()]

    def promote(self, trial: int) -> None:
        """The trial goes on from its rung."""
        self._brackets[self._of.of(trial)].promote(trial)

    def end(self, trial: int, succeeded: bool) -> None:
        """The trial can no longer be promoted."""
        self._brackets[self._of.of(trial)].end(trial, succeeded)

    def last_resort(self) -> int | None:
        """The best of the trials that wait at the highest step, if none has reached the last step."""
        if any(bracket.has_finished for bracket in self._brackets):
            return None
        waiting = [best for bracket in self._brackets if (best := bracket.best_waiting()) is not None]
        if not waiting:
            return None
        return min(waiting, key=lambda each: (-each[0], each[1]))[1][1]


class HyperbandRule:
    """Ends trials in each bracket as successive halving does: for trials that cannot wait.

    Source: optuna.pruners.HyperbandPruner, with whose decisions in a bracket it agrees; which trial is in which bracket
    is a hash there.
    """

    def __init__(self, rule: HyperbandPruning, max_steps: int) -> None:
        self._of = Brackets(rule.min_steps, max_steps, rule.eta)
        self._brackets = [
            SuccessiveHalvingRule(SuccessiveHalvingPruning(rule.min_steps, rule.eta, min_early_stopping_rate=bracket))
            for bracket in range(len(self._of))
        ]

    def take(self, trial: int, course: Course, step: int) -> None:
        """Takes in a measurement."""
        self._bracket(trial).take(trial, course, step)

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step."""
        return self._bracket(trial).prunes(trial, course, step)

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """The trial has ended."""
        self._bracket(trial).end(trial, course, succeeded)

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history."""
        self._bracket(trial).restore(trial, course, standing)

    def _bracket(self, trial: int) -> SuccessiveHalvingRule:
        return self._brackets[self._of.of(trial)]
