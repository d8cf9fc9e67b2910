"""What a study takes over from another: which trials, which of their parameters, how many by weight."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hydro.coordinator.history import prior_known_trial
from hydro.coordinator.names import StudyName
from hydro.coordinator.priors import adopt, validate_prior
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search.conformance import request
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search_space import ConstantDomain, FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Objective, Prior, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import Trial, TrialKind, TrialState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = StudyName("p", "before")
SPACE = SearchSpace((Parameter("x", FloatDomain(0.0, 1.0)), Parameter("epochs", ConstantDomain(10))))
SPEC = StudySpec(
    None, SPACE, Objective("loss", Goal.MINIMIZE), Sampler.TPE, NoPruning(), 0, 1.0, 100, 50, 0
)  # fmt: skip


def trial(number, value=None, state=TrialState.SUCCEEDED, **hyperparameters):
    found = {"x": 0.5, "epochs": 10, **hyperparameters}
    return Trial(OTHER.trial(number), TrialKind.SEARCH, state, found, 0, NOW, value=value, steps=7)


def adopted(trials, weight=1.0, spec=SPEC):
    return adopt(spec, Prior(OTHER, weight), trials)


def test_with_weight_one_every_succeeded_trial_is_history_older_than_the_studys_own():
    found = adopted([trial(0, 3.0), trial(1, state=TrialState.FAILED), trial(2, 1.0), trial(3, 2.0)])
    assert [(each.number, each.result.values) for each in found.trials] == [(-3, (3.0,)), (-2, (1.0,)), (-1, (2.0,))]
    assert found.warnings == ()


@pytest.mark.parametrize(("weight", "count"), [(1.0, 20), (0.5, 10), (0.25, 5), (0.01, 1)])
def test_a_weight_is_the_share_of_trials_at_even_distances_from_the_best_on(weight, count):
    found = adopted([trial(number, float((7 * number) % 20)) for number in range(20)], weight)
    values = sorted(each.result.values[0] for each in found.trials)
    assert values == [rank * 20 // count for rank in range(count)]


def test_only_shared_parameters_are_taken_over():
    found = adopted([trial(0, 1.0, gone=3)])
    assert found.trials[0].hyperparameters == {"x": 0.5, "epochs": 10}


def test_trials_with_a_value_outside_of_the_space_are_left_out_with_a_warning():
    found = adopted([trial(0, 1.0), trial(1, 1.0, x=2.0), trial(2, 1.0, epochs=20)])
    assert [each.number for each in found.trials] == [-1]
    assert found.warnings == (
        "prior projects/p/studies/before: 1 of 3 trials are left out: "
        "a value of 'x' is not a number from 0.0 to 1.0",
        "prior projects/p/studies/before: 1 of 3 trials are left out: a value of 'epochs' is not 10",
    )  # fmt: skip


def test_a_prior_that_gives_nothing_says_so():
    found = adopted([trial(0, 1.0, x=2.0)])
    assert found.trials == () and "gives nothing: none of its 1 succeeded trials fits" in found.warnings[0]


def test_trials_without_a_wanted_metric_are_left_out():
    spec = replace(SPEC, further_objectives=(Objective("accuracy", Goal.MAXIMIZE),))
    assert "they lack the metric 'accuracy'" in adopted([trial(0, 1.0)], spec=spec).warnings[1]


def test_a_prior_must_have_the_same_objectives_a_parameter_in_common_and_a_weight():
    other = Study(OTHER, SPEC, StudyState.SUCCEEDED, "", (), None, None, 1, 1, "uid", 0, NOW, NOW)

    def fields(prior, **changes):
        return [each.field for each in validate_prior(replace(SPEC, **changes), prior, other, "prior")]

    assert fields(Prior(OTHER, 1.0)) == []
    assert fields(Prior(OTHER, 0.0)) == fields(Prior(OTHER, 1.5)) == ["prior.weight"]
    assert fields(Prior(OTHER, 1.0), objective=Objective("loss", Goal.MAXIMIZE)) == ["prior.study"]
    alone = SearchSpace((Parameter("y", FloatDomain(0, 1)), Parameter("epochs", ConstantDomain(10))))
    assert fields(Prior(OTHER, 1.0), search_space=alone) == ["prior.study"]


async def test_the_search_begins_where_the_prior_was_good():
    found = adopted([trial(number, (number / 40 - 0.2) ** 2, x=number / 40) for number in range(40)])
    history = tuple(map(prior_known_trial, found.trials))
    asked = request(sampler=Sampler.TPE, space=SPACE, count=9, history=history)
    near = [abs(float(each["x"]) - 0.2) for each in await OptunaBackend().ask(asked)]
    far = [abs(float(each["x"]) - 0.2) for each in await OptunaBackend().ask(replace(asked, history=()))]
    assert sorted(near)[4] < 0.5 * sorted(far)[4]
