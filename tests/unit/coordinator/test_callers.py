"""Callers of driven trials that are not heard of any more, and what becomes of their trials."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hydro.coordinator.hot.callers import Callers, Run
from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import MedianPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.stopping import Endurance, Stopping, validate_stopping
from hydro.coordinator.storage.driven_storage import ClaimedStudy, DrivenTrial, StoredTrial
from hydro.coordinator.storage.trial_values import Measured
from hydro.coordinator.study import Goal, Objective, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import Measurement, Retry, TrialState, Verdict
from hydro.kit.clock import ManualClock
from hydro.kit.errors import FailedPrecondition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STUDY, OTHER = StudyName("p", "a"), StudyName("p", "b")
SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    MedianPruning(1), 0, 1.0, 3, 2, 0,
)  # fmt: skip
FIRST, SECOND = Run(0, 0), Run(1, 0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def callers(clock):
    return Callers(clock)


def wait(callers, clock, seconds, running):
    """So long passes, while the coordinator looks once a second."""
    for _ in range(seconds):
        clock.advance(1)
        callers.follow(running)


def test_a_caller_is_silent_when_nothing_was_heard_of_it_for_so_long(callers, clock):
    running = {STUDY: [FIRST, SECOND], OTHER: [FIRST]}
    callers.follow(running)
    wait(callers, clock, 8, running)
    callers.hear(STUDY, SECOND)
    wait(callers, clock, 2, running)
    assert callers.silent(STUDY, 10) == [FIRST] and callers.silent(OTHER, 10) == [FIRST]
    assert callers.silent(STUDY, 11) == []


def test_a_caller_that_was_given_up_does_not_speak_for_the_next_one(callers, clock):
    running = {STUDY: [Run(0, 1)]}
    callers.follow(running)
    wait(callers, clock, 9, running)
    callers.hear(STUDY, Run(0, 0))
    wait(callers, clock, 1, running)
    assert callers.silent(STUDY, 10) == [Run(0, 1)]


def test_runs_that_are_over_are_forgotten_and_unknown_ones_never_kept(callers, clock):
    callers.follow({STUDY: [FIRST]})
    callers.follow({})
    callers.hear(STUDY, FIRST)
    callers.hear(OTHER, FIRST)
    assert callers.silent(STUDY, 0) == [] and callers.silent(OTHER, 0) == []


def test_time_in_which_the_coordinator_stood_still_counts_for_nobody(callers, clock):
    running = {STUDY: [FIRST]}
    callers.follow(running)
    wait(callers, clock, 5, running)
    clock.advance(1000)
    callers.follow(running)
    assert callers.silent(STUDY, 6) == []
    wait(callers, clock, 1, running)
    assert callers.silent(STUDY, 6) == [FIRST]


def stored(number, state, lost_runs=0):
    retries = tuple(Retry("its caller was lost", 0, 1, NOW) for _ in range(lost_runs))
    started = DrivenTrial(number, {"lr": 0.5}, number, f"r{number}")
    return StoredTrial(started, state, None, 0, NOW, 1, (), lost_runs=lost_runs, retries=retries)


def hot_study(*trials, standing=(), state=StudyState.SEARCHING):
    study = Study(STUDY, SPEC, state, "", (), None, None, 1, 1, "uid", len(trials), NOW, None)
    return HotStudy(ClaimedStudy(study, 1, trials, standing))


def test_a_trial_whose_caller_was_lost_is_given_before_new_ones_within_the_parallelism():
    hot = hot_study(stored(0, TrialState.RUNNING), stored(1, TrialState.PENDING, 1), stored(2, TrialState.PENDING, 1))
    changes = hot.changes()
    # The lost caller's own request, sent once more, does not give it the next one's run, now or later.
    assert hot.answered("r1") is None and list(hot.answered("r0")) == [0]
    assert hot.give_again(3, "again", changes) == [1]
    assert changes.changed[1].state is TrialState.RUNNING and changes.changed[1].request_id == "again"
    assert list(hot.answered("again")) == [1] and hot.room == 0
    assert hot.answered("r1") is None
    assert hot.give_again(3, "more", changes) == [] and not hot.is_done
    given = hot.trial(hot.open(1))
    assert (given.hyperparameters, given.seed, given.failures) == ({"lr": 0.5}, 1, 1)


def test_a_lost_caller_that_asks_once_more_gets_its_trial_as_another_run():
    hot = hot_study(stored(0, TrialState.PENDING, 1))
    assert hot.answered("r0") is None
    assert hot.give_again(1, "r0", hot.changes()) == [0] and list(hot.answered("r0")) == [0]
    assert hot.open(0).lost_runs == 1


def test_a_study_that_is_paused_gives_none():
    hot = hot_study(stored(0, TrialState.PENDING, 1), state=StudyState.PAUSED)
    assert hot.give_again(1, "", hot.changes()) == []


def test_a_study_is_not_done_while_a_trial_waits_for_another_caller():
    ended = [stored(number, TrialState.FAILED) for number in range(2)]
    assert not hot_study(*ended, stored(2, TrialState.PENDING, 1)).is_done
    assert hot_study(*ended, stored(2, TrialState.FAILED, 4)).is_done


def test_what_a_lost_run_measured_stands_and_another_value_of_the_next_run_is_no_conflict():
    measured = Measured(0, Measurement(1, {"loss": 0.5}), 0.5, Verdict.CONTINUE)
    hot = hot_study(stored(0, TrialState.PENDING, 1), standing=[measured])
    changes = hot.changes()
    hot.give_again(1, "", changes)
    assert not hot.measure(hot.open(0), Measurement(1, {"loss": 0.75}), changes) and changes.measured == []
    hot.measure(hot.open(0), Measurement(2, {"loss": 0.25}), changes)
    assert [each.measurement.step for each in changes.measured] == [2]


def test_nobody_ends_a_trial_that_waits_for_another_caller():
    hot = hot_study(stored(0, TrialState.PENDING, 1))
    with pytest.raises(FailedPrecondition):
        hot.complete(hot.open(0), Outcome(value=0.5), hot.changes())


@pytest.mark.parametrize(("seconds", "is_driven", "wrong"), [(0, True, 0), (60, True, 0), (0, False, 0), (60, False, 1),
                                                             (0.5, True, 1), (-1, True, 1), (float("nan"), True, 1),
                                                             (1e10, True, 1)])  # fmt: skip
def test_a_timeout_that_cannot_be_is_named(seconds, is_driven, wrong):
    endurance = replace(Endurance(), trial_timeout_seconds=seconds)
    found = list(validate_stopping(Stopping(), endurance, is_driven=is_driven))
    assert [each.field for each in found] == ["study.trial_timeout_seconds"] * wrong
