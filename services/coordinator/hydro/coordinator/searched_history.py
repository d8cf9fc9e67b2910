"""What a suggestion had known, noted with its trial.

A history is told by what is new in it, so that each trial is named a few times in all, however long its study is. From
the first suggestion up to one, these make up what that one followed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hydro.coordinator.budget_history import is_modelled_by_budget
from hydro.coordinator.study import StudySpec
from hydro.coordinator.trial import SearchedHistory, Trial, TrialState


class Seen:
    """What the suggestions of some trials have known, all together: the last word on each trial counts."""

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self.ended: set[int] = set()
        self.paused: dict[int, int] = {}
        self.running: dict[int, int] = {}
        for each in trials:
            if each.searched is not None:
                self._add(each.searched)

    def of(self, trial: Trial, metric: str) -> Trial:
        """The trial as it was known: as it ended, or with what it had measured in its steps."""
        number = trial.name.number
        if number in self.ended:
            return trial
        is_paused = number in self.paused
        steps = self.paused[number] if is_paused else self.running.get(number, 0)
        measured = tuple(each for each in trial.measurements if each.step <= steps)
        values = [each.metrics[metric] for each in measured if metric in each.metrics]
        return replace(
            trial,
            state=TrialState.PAUSED if is_paused else TrialState.RUNNING,
            hyperparameters=trial.own_changes[0].hyperparameters,
            measurements=measured,
            value=next((value for value in reversed(values) if math.isfinite(value)), None),
            steps=steps,
            result=None,
        )

    def _add(self, history: SearchedHistory) -> None:
        for number in (*history.ended, *history.paused, *history.running):
            self.paused.pop(number, None)
            self.running.pop(number, None)
        self.ended.update(history.ended)
        self.paused.update(history.paused)
        self.running.update(history.running)


def searched_history(spec: StudySpec, trials: Sequence[Trial], first_index: int) -> SearchedHistory:
    """What a search that begins with a number, and knows the trials as they are, knows beyond all before it."""
    seen = Seen(trials)
    ended: list[int] = []
    paused: dict[int, int] = {}
    running: dict[int, int] = {}
    for trial in trials:
        number = trial.name.number
        if trial.state.has_ended:
            ended += [] if number in seen.ended else [number]
        elif trial.state is TrialState.PAUSED:
            paused |= {} if seen.paused.get(number) == trial.steps else {number: trial.steps}
        elif number in seen.paused or seen.running.get(number, 0) != _modelled_steps(spec, trial):
            running[number] = _modelled_steps(spec, trial)
    return SearchedHistory(first_index, tuple(ended), paused, running)


def _modelled_steps(spec: StudySpec, trial: Trial) -> int:
    """The steps in which an open trial has measured what matters to the search; 0: only its place does."""
    return trial.measurements[-1].step if trial.measurements and is_modelled_by_budget(spec) else 0
