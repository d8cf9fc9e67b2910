"""Known points come first, each exactly once; points that no trial can have are refused by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.known_points import point_hyperparameters
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search.prefetch import Suggestion
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
    validate_hyperparameters,
)
from hydro.coordinator.storage.driven_storage import ClaimedStudy, StoredTrial
from hydro.coordinator.study import Goal, Objective, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import TrialState
from hydro.coordinator.validation import validate_known_points

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = SearchSpace(
    (
        Parameter("optimizer", CategoricalDomain(("sgd", "adam"))),
        Parameter("lr", FloatDomain(0.0, 1.0)),
        Parameter("layers", IntDomain(1, 8)),
        Parameter("momentum", FloatDomain(0.0, 1.0), (Condition("optimizer", ("sgd",)),)),
        Parameter("epochs", ConstantDomain(10)),
    )
)
POINTS = ({"lr": 0.25, "optimizer": "adam", "layers": 2}, {"lr": 1}, {"optimizer": "sgd", "momentum": 0.5})
SPEC = StudySpec(
    None, SPACE, Objective("loss", Goal.MINIMIZE), Sampler.RANDOM, NoPruning(), 0, 1.0, 10, 10, 3, known_points=POINTS
)


def study(spec=SPEC):
    return Study(StudyName("p", "a"), spec, StudyState.SEARCHING, "", (), None, None, 1, 1, "uid", 0, NOW, None)


def test_a_point_has_its_values_and_what_it_leaves_out_is_drawn_the_same_in_every_replay():
    drawn = [point_hyperparameters(SPACE, point, 3, number) for number, point in enumerate(POINTS)]
    assert drawn == [point_hyperparameters(SPACE, point, 3, number) for number, point in enumerate(POINTS)]
    assert all(validate_hyperparameters(SPACE, each) == [] for each in drawn)
    for point, each in zip(POINTS, drawn, strict=True):
        assert {name: each[name] for name in point} == point
    assert drawn[0] == {"optimizer": "adam", "lr": 0.25, "layers": 2, "epochs": 10}


def test_a_whole_number_for_a_real_parameter_is_a_real_number_in_the_trial():
    assert type(point_hyperparameters(SPACE, {"lr": 1}, 3, 0)["lr"]) is float


def test_what_is_not_searched_is_left_out_of_a_point():
    assert "lr" not in point_hyperparameters(SPACE.without(["lr"]), POINTS[0], 3, 0)


def test_points_come_in_their_order_as_many_as_are_asked_for_and_once():
    hot = HotStudy(ClaimedStudy(study(), 1, [], []))
    assert list(hot.next_points(2)) == [0, 1]
    changes = hot.changes()
    assert hot.start([], "r", changes, hot.next_points(2)) == [0, 1]
    assert [each.known_point for each in changes.started] == [0, 1]
    assert list(hot.next_points(5)) == [2]
    assert hot.answered("r") == [0, 1]


def test_points_that_have_a_trial_are_not_used_again_when_the_study_is_read_anew():
    hot = HotStudy(ClaimedStudy(study(), 1, [], []))
    changes = hot.changes()
    hot.start([Suggestion({"lr": 0.5})], "", changes, {1: hot.next_points(3)[1]})
    stored = [
        StoredTrial(each, TrialState.FAILED, None, 0, NOW, 1, ())  # whatever became of them
        for each in changes.started
    ]
    again = HotStudy(ClaimedStudy(replace(study(), next_trial=2), 2, stored, []))
    assert list(again.next_points(5)) == [0, 2]


@pytest.mark.parametrize(
    ("point", "field"),
    [
        ({"lr": 2.0}, "study.known_points[1].hyperparameters['lr']"),
        ({"gone": 1}, "study.known_points[1].hyperparameters['gone']"),
        ({"optimizer": "adam", "momentum": 0.5}, "study.known_points[1].hyperparameters['momentum']"),
        ({"momentum": 0.5}, "study.known_points[1].hyperparameters['momentum']"),
        ({"epochs": 20}, "study.known_points[1].hyperparameters['epochs']"),
        ({}, "study.known_points[1].hyperparameters"),
    ],
)
def test_a_point_that_no_trial_can_have_is_named(point, field):
    assert [each.field for each in validate_known_points(SPACE, (POINTS[0], point), 5)] == [field]


def test_there_are_no_more_points_than_trials():
    (violation,) = validate_known_points(SPACE, POINTS, 2)
    assert (violation.field, violation.description) == (
        "study.known_points", "are 3: give at most 2, the trials that are left"
    )  # fmt: skip
