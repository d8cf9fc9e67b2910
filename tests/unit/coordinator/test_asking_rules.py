"""How many trials a study may have, and what the search sees of them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.asking import allowance, room, searched_space, trial_seed
from hydro.coordinator.history import known_trial
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.search.search_backend import Outcome
from hydro.coordinator.search_space import Condition, ConstantDomain, FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Population
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.trial import Measurement, Trial, TrialKind, TrialState

NAME = StudyName("p", "s")


def trial(state, number=0, value=None, steps=0):
    measured = (Measurement(steps, {"loss": 1.0}),) if steps else ()
    return Trial(
        NAME.trial(number),
        TrialKind.SEARCH,
        state,
        {},
        0,
        datetime.now(UTC),
        value=value,
        steps=steps,
        measurements=measured,
    )


def study(max_trials=64, parallelism=32, population=None):
    return SimpleNamespace(spec=SimpleNamespace(max_trials=max_trials, parallelism=parallelism, population=population))


def test_a_new_study_may_have_a_quarter_of_its_trials():
    assert allowance(study(), []) == 16


def test_a_population_begins_together():
    assert allowance(study(max_trials=32, population=Population(10)), []) == 32


def test_measured_trials_make_room_for_the_next_generation():
    waiting = [trial(TrialState.PENDING)] * 6
    paused = [trial(TrialState.PAUSED, steps=5)] * 10
    assert allowance(study(), waiting + paused) == 10


def test_parallelism_limits_open_trials():
    assert room(study(parallelism=4), [trial(TrialState.RUNNING, steps=5)] * 3) == 1


@given(
    st.integers(1, 100),
    st.integers(1, 100),
    st.lists(st.tuples(st.sampled_from(TrialState), st.integers(0, 3)), max_size=100),
)
def test_limits_are_never_exceeded(max_trials, parallelism, made):
    trials = [trial(state, steps=steps) for state, steps in made[:max_trials]]
    more = allowance(study(max_trials, parallelism), trials)
    active = sum(each.state in (TrialState.PENDING, TrialState.RUNNING) for each in trials)
    assert more == 0 or (len(trials) + more <= max_trials and active + more <= parallelism)


def test_a_study_whose_trials_are_all_measured_is_never_stuck():
    assert allowance(study(max_trials=1, parallelism=1), []) == 1


@pytest.mark.parametrize(
    ("state", "value", "outcome"),
    [
        (TrialState.SUCCEEDED, 0.5, Outcome.SUCCEEDED),
        (TrialState.PAUSED, 0.5, Outcome.PRUNED),
        (TrialState.PRUNED, 0.5, Outcome.PRUNED),
        (TrialState.PRUNED, None, Outcome.FAILED),
        (TrialState.PENDING, None, Outcome.OPEN),
        (TrialState.RUNNING, 0.5, Outcome.OPEN),
        (TrialState.FAILED, 0.5, Outcome.FAILED),
        (TrialState.CANCELLED, 0.5, Outcome.FAILED),
    ],
)
def test_the_search_sees_how_far_a_trial_came(state, value, outcome):
    spec = SimpleNamespace(constraints=())
    assert known_trial(spec, trial(state, value=value)).outcome is outcome


def test_a_fidelity_of_search_trials_stays_in_their_space():
    space = SearchSpace((Parameter("data_fraction", ConstantDomain(0.25), not_transferable=True),))
    narrow = Surrogate(SurrogateName("p", "s"), SurrogateState.READY, width=0.125)
    assert searched_space(space, narrow) == space


def test_what_does_not_transfer_is_not_searched_on_a_narrow_surrogate():
    space = SearchSpace(
        (
            Parameter("lr", FloatDomain(0, 1)),
            Parameter("dropout", FloatDomain(0, 1), not_transferable=True),
            Parameter("rate", FloatDomain(0, 1), (Condition("dropout", (0.5,)),)),
        )
    )

    def names(width):
        surrogate = Surrogate(SurrogateName("p", "s"), SurrogateState.READY, width=width)
        return [parameter.name for parameter in searched_space(space, surrogate).parameters]

    assert names(0.125) == ["lr"]
    assert names(1.0) == ["lr", "dropout", "rate"]


def test_a_trial_has_the_same_seed_in_every_replay_and_another_than_its_neighbours():
    seeds = [trial_seed(3, number) for number in range(100)]
    assert seeds == [trial_seed(3, number) for number in range(100)]
    assert len(set(seeds)) == 100 and all(0 <= seed < 2**31 for seed in seeds)
