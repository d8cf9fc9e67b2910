"""What suggestions had known is told by what was new, and makes up the trials as they were then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from hydro.coordinator.budget_history import search_history
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import AshaPruning, HyperbandPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.searched_history import Seen, searched_history
from hydro.coordinator.storage.documents import searched_document, searched_of
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, Task
from hydro.coordinator.trial import Measurement, SearchedHistory, Trial, TrialKind, TrialState

SPACE = SearchSpace((Parameter("lr", FloatDomain(0.0, 1.0)),))
ENDS = (TrialState.SUCCEEDED, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED)


def spec(pruning):
    return StudySpec(
        Task("toy:Toy"), SPACE, Objective("loss", Goal.MINIMIZE), Sampler.TPE, pruning, 8, 1.0, 99, 8, 0
    )  # fmt: skip


def new_trial(number, searched):
    name = StudyName("p", "s").trial(number)
    now = datetime.now(UTC)
    return Trial(name, TrialKind.SEARCH, TrialState.PENDING, {"lr": number / 100}, 0, now, searched=searched)


def moved(trial, dice):
    """Some step of a trial's life: it measures, pauses at what it measured, goes on, or ends."""
    if trial.state.has_ended:
        return trial
    if trial.state is TrialState.PAUSED:
        return replace(trial, state=dice.choice([TrialState.PENDING, TrialState.PRUNED]))
    if trial.steps == 8 or dice.random() < 0.15:
        return replace(trial, state=dice.choice(ENDS))
    step = max(1, 2 * trial.steps)
    value = dice.random()
    state = dice.choice([TrialState.PAUSED, TrialState.RUNNING])
    measurements = (*trial.measurements, Measurement(step, {"loss": value}))
    return replace(trial, state=state, measurements=measurements, value=value, steps=step)


@pytest.mark.parametrize("pruning", [AshaPruning(1, 2), HyperbandPruning(1, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_the_histories_up_to_a_suggestion_make_up_the_trials_that_it_knew(pruning, seed):
    dice, trials, known = Random(seed), [], []
    for _ in range(30):
        first = len(trials)
        history = searched_history(spec(pruning), trials, first)
        seen = search_history(spec(pruning), trials)
        for number in range(first, first + dice.randrange(1, 4)):
            trials.append(new_trial(number, history if number == first else SearchedHistory(first)))
            known.append(seen)
        for _ in range(3):
            trials = [moved(trial, dice) if dice.random() < 0.4 else trial for trial in trials]
    # Looked at when all is over, from what is stored.
    for number, trial in enumerate(trials):
        up_to = Seen(trials[: number + 1])
        before = [up_to.of(each, "loss") for each in trials[: trial.searched.searched_from]]
        assert search_history(spec(pruning), before) == known[number]


def test_an_ended_trial_is_named_once_however_many_suggestions_follow():
    trials = [new_trial(0, None)]
    trials[0] = replace(trials[0], state=TrialState.SUCCEEDED)
    for number in range(1, 6):
        trials.append(new_trial(number, searched_history(spec(AshaPruning(1, 2)), trials, number)))
    assert [each.searched.ended for each in trials[1:]] == [(0,), (), (), (), ()]


@pytest.mark.parametrize("history", [None, SearchedHistory(0), SearchedHistory(7, (1, 2), {3: 40}, {5: 0})])
def test_a_history_is_the_same_as_a_document(history):
    assert searched_of(searched_document(history)) == history
