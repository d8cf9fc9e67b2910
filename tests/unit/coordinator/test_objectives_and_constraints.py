"""Which trials are better with several objectives and with constraints, and what a study in memory makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.hot.outcome import Outcome as Told
from hydro.coordinator.names import StudyName
from hydro.coordinator.objectives import front, rank_of, result_of
from hydro.coordinator.pruning_rules import AshaPruning, NoPruning
from hydro.coordinator.search.prefetch import Suggestion
from hydro.coordinator.search.search_backend import Outcome
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.driven_storage import ClaimedStudy, Committed
from hydro.coordinator.study import Constraint, Goal, Objective, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import Measurement, Result, TrialState
from hydro.coordinator.validation import validate_spec
from hydro.kit.errors import FailedPrecondition, InvalidArgument

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    NoPruning(), 0, 1.0, 100, 50, 0,
)  # fmt: skip
TWO = replace(ONE, further_objectives=(Objective("accuracy", Goal.MAXIMIZE),))
BOUND = replace(ONE, constraints=(Constraint("memory", max=8.0),))
GOALS = (Goal.MINIMIZE, Goal.MAXIMIZE)


def hot_study(spec):
    study = Study(StudyName("p", "a"), spec, StudyState.SEARCHING, "", (), None, None, 1, 1, "uid", 0, NOW, None)
    return HotStudy(ClaimedStudy(study, 1, [], []))


def open_trial(hot):
    changes = hot.changes()
    (number,) = hot.start([Suggestion({"lr": 0.5})], "", changes)
    hot.settle(changes, Committed(1, NOW).revision, NOW)
    return hot.open(number)


def told(hot, trial, value, **metrics):
    hot.complete(trial, Told(value=value, metrics=metrics), hot.changes())
    return trial


def test_a_front_holds_what_no_other_trial_is_better_than_in_everything():
    values = {0: (1.0, 0.5), 1: (2.0, 0.9), 2: (2.0, 0.5), 3: (1.0, 0.5), 4: (0.5, 0.1)}
    results = [(number, Result(each)) for number, each in values.items()]
    assert front(GOALS, results) == [0, 1, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(-2, 2)), max_size=30))
def test_a_front_is_exactly_what_is_not_dominated(drawn):
    results = {number: Result((a, b), {"m": float(beyond)}) for number, (a, b, beyond) in enumerate(drawn)}

    def dominates(one, other):
        if one.violation != other.violation:
            return one.violation < other.violation
        better = one.values[0] <= other.values[0] and one.values[1] >= other.values[1]
        return one.violation == 0 and better and one.values != other.values

    expected = [number for number, each in results.items() if not any(dominates(one, each) for one in results.values())]
    assert front(GOALS, results.items()) == expected
    if results:
        best = min(results, key=lambda number: rank_of(GOALS, results[number]))
        assert best in expected


def test_a_trial_that_keeps_its_constraints_is_better_than_any_that_does_not():
    feasible, beyond, further = (result_of(BOUND, {"loss": loss, "memory": memory})
                                 for loss, memory in ((9.0, 8.0), (1.0, 8.5), (0.5, 9.0)))  # fmt: skip
    goals = BOUND.goals
    assert rank_of(goals, feasible) < rank_of(goals, beyond) < rank_of(goals, further)
    assert feasible.violations == {"memory": 0.0} and beyond.violations == {"memory": 0.5}


def test_a_bound_may_have_two_sides():
    band = Constraint("ratio", min=0.5, max=2.0)
    assert [band.violation(each) for each in (0.25, 0.5, 1.0, 3.0)] == [0.25, 0.0, -0.5, 1.0]


def test_a_study_in_memory_prefers_feasible_trials():
    hot = hot_study(BOUND)
    trials = [open_trial(hot) for _ in range(3)]
    for trial, loss, memory in zip(trials, (0.1, 0.5, 0.4), (9.0, 8.0, 7.0), strict=True):
        told(hot, trial, loss, memory=memory)
    assert hot.changes().best_trial == 2
    assert hot.known_trial(0).violations == {"memory": 1.0}


def test_metrics_of_the_last_measurement_need_not_be_told_again():
    hot = hot_study(BOUND)
    trial = open_trial(hot)
    hot.measure(trial, Measurement(1, {"loss": 0.5, "memory": 4.0}), hot.changes())
    told(hot, trial, 0.25)
    assert trial.result == Result((0.25,), {"memory": -4.0}, {"loss": 0.25, "memory": 4.0})


def test_what_is_missing_at_the_end_is_named_and_the_trial_stays_open():
    hot = hot_study(TWO)
    trial = open_trial(hot)
    with pytest.raises(InvalidArgument, match=r"metrics\['accuracy'\]: is missing"):
        told(hot, trial, 0.5)
    assert trial.state is TrialState.RUNNING
    assert told(hot, trial, 0.5, accuracy=0.9).state is TrialState.SUCCEEDED
    assert hot.known_trial(0).further_values == (0.9,) and hot.known_trial(0).outcome is Outcome.SUCCEEDED


def test_an_objective_told_twice_must_be_the_same():
    hot = hot_study(TWO)
    with pytest.raises(InvalidArgument, match=r"metrics\['loss'\]: is not the value 0.5"):
        told(hot, open_trial(hot), 0.5, loss=0.25, accuracy=0.9)


def test_a_further_objective_that_is_not_finite_fails_its_trial():
    hot = hot_study(TWO)
    trial = told(hot, open_trial(hot), 0.5, accuracy=float("nan"))
    assert (trial.state, trial.state_reason) == (TrialState.FAILED, "metric 'accuracy' is nan")


def test_an_end_that_is_told_again_must_be_the_same_in_every_metric():
    name = StudyName("p", "a").trial(0)
    ended = (TrialState.SUCCEEDED, 0.5, Result((0.5, 0.9), {}, {"loss": 0.5, "accuracy": 0.9}))
    Told(0.5, metrics={"accuracy": 0.9}).check(name, *ended)
    with pytest.raises(FailedPrecondition):
        Told(0.5, metrics={"accuracy": 0.8}).check(name, *ended)


def test_a_pruned_trial_keeps_how_far_it_was_beyond_its_bounds():
    hot = hot_study(BOUND)
    trial = open_trial(hot)
    hot.measure(trial, Measurement(1, {"loss": 0.5, "memory": 10.0}), hot.changes())
    hot.complete(trial, Told(), hot.changes())
    assert trial.result == Result((), {"memory": 2.0}) and hot.known_trial(0).violations == {"memory": 2.0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"further_objectives": (Objective("loss", Goal.MINIMIZE),)}, "study.further_objectives[0].metric"),
        ({"further_objectives": (Objective("", Goal.MINIMIZE),)}, "study.further_objectives[0].metric"),
        ({"further_objectives": tuple(Objective(str(i), Goal.MINIMIZE) for i in range(8))}, "study.further_objectives"),
        ({"further_objectives": (Objective("b", Goal.MINIMIZE),), "pruning": AshaPruning(1, 2), "max_steps": 8},
         "study.pruner"),
        ({"constraints": (Constraint("loss", max=1.0),)}, "study.constraints[0].metric"),
        ({"constraints": (Constraint("memory"),)}, "study.constraints[0].max"),
        ({"constraints": (Constraint("memory", min=2.0, max=1.0),)}, "study.constraints[0].min"),
        ({"constraints": (Constraint("memory", max=float("nan")),)}, "study.constraints[0].max"),
        ({"constraints": (Constraint("memory", max=1.0), Constraint("memory", min=0.0))},
         "study.constraints[1].metric"),
    ],
)  # fmt: skip
def test_wrong_objectives_and_constraints_are_named(change, field):
    assert [violation.field for violation in validate_spec(replace(ONE, **change))] == [field]
