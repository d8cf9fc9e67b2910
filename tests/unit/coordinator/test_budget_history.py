"""BOHB's model is that of the largest budget of which enough is known (Falkner et al., 2018, section 3.1)."""

from datetime import UTC, datetime

import pytest

from hydro.coordinator.budget_history import budget_history, is_modelled_by_budget
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import AshaPruning, HyperbandPruning
from hydro.coordinator.search.search_backend import Outcome
from hydro.coordinator.search_space import ConstantDomain, FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec
from hydro.coordinator.trial import Measurement, Trial, TrialKind, TrialState

RUNGS = (1, 3, 9, 27)
HYPERBAND = HyperbandPruning(1, 3)


def spec(dimensions=2, pruning=HYPERBAND, sampler=Sampler.TPE):
    searched = [Parameter(f"x{index}", FloatDomain(0.0, 1.0)) for index in range(dimensions)]
    space = SearchSpace((*searched, Parameter("c", ConstantDomain(1))))
    return StudySpec(None, space, Objective("loss", Goal.MINIMIZE), sampler, pruning, 27, 1.0, 99, 8, 0)


def trial(number, reached, state=TrialState.PAUSED):
    """Its loss at a rung is the rung's steps plus a hundredth of its number."""
    steps = [step for step in RUNGS if step <= reached]
    measurements = tuple(Measurement(step, {"loss": step + number / 100}) for step in steps)
    value = measurements[-1].metrics["loss"] if measurements else None
    now = datetime.now(UTC)
    return Trial(
        StudyName("p", "s").trial(number), TrialKind.SEARCH, state, {"x0": 0.5, "c": 1}, 0, now,
        measurements=measurements, value=value, steps=reached,
    )  # fmt: skip


def history(*counts, dimensions=2, more=()):
    """So many trials whose last rung is each of them."""
    trials = [rung for rung, count in zip(RUNGS, counts, strict=False) for _ in range(count)]
    made = [trial(number, reached) for number, reached in enumerate(trials)]
    return budget_history(spec(dimensions), [*made, *more])


def test_the_largest_budget_with_enough_trials_is_the_model():
    found = history(20, 8, 2, 1)
    used = [each for each in found if each.outcome is Outcome.SUCCEEDED]
    assert [each.number for each in used] == list(range(20, 31)) and {each.steps for each in used} == {3}


def test_a_trial_that_went_on_counts_with_what_it_had_at_the_budget():
    found = history(20, 8, 2, 1)
    assert found[30].value == pytest.approx(3.30)  # though it was trained to 27 steps since
    assert found[0].outcome is Outcome.FAILED and found[0].value is None


def test_a_higher_budget_takes_over_when_it_has_enough():
    assert {each.steps for each in history(20, 8, 9, 1) if each.outcome is Outcome.SUCCEEDED} == {9}
    assert {each.steps for each in history(0, 0, 0, 10) if each.outcome is Outcome.SUCCEEDED} == {27}


def test_more_dimensions_need_more_trials():
    assert {each.steps for each in history(20, 0, 12, dimensions=9) if each.outcome is Outcome.SUCCEEDED} == {9}
    assert {each.steps for each in history(20, 0, 12, dimensions=10) if each.outcome is Outcome.SUCCEEDED} == {1}


def test_open_trials_stay_open_until_they_are_measured_at_the_budget():
    running = [trial(50, 1, TrialState.RUNNING), trial(51, 3, TrialState.RUNNING), trial(52, 0, TrialState.PENDING)]
    found = {each.number: each for each in history(20, 10, more=running)}
    assert [found[number].outcome for number in (50, 51, 52)] == [Outcome.OPEN, Outcome.SUCCEEDED, Outcome.OPEN]


def test_while_no_budget_has_enough_every_trial_is_as_it_stands():
    found = history(5, 2, 1)
    assert {each.outcome for each in found} == {Outcome.PRUNED}
    assert [each.steps for each in found] == [1] * 5 + [3] * 2 + [9]


def test_only_tpe_with_hyperband_is_modelled_by_budget():
    assert is_modelled_by_budget(spec())
    assert not is_modelled_by_budget(spec(pruning=AshaPruning(1, 3)))
    assert not is_modelled_by_budget(spec(sampler=Sampler.RANDOM))
