"""Who goes on from whom, and with what: functions of the study's seed, the step and the members."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.evolution.evolve import unfit
from hydro.coordinator.evolution.exploitation import Member, exploits
from hydro.coordinator.evolution.exploration import explore, perturbed
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.pruning_rules import AshaPruning, NoPruning
from hydro.coordinator.search.random_backend import draw
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
from hydro.coordinator.study import Goal, Objective, Population, Sampler, Study, StudySpec, StudyState, Task
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.validation import validate_spec

SPACE = SearchSpace(
    (
        Parameter("momentum", FloatDomain(0, 0.99), (Condition("optimizer", ("sgd",)),)),
        Parameter("optimizer", CategoricalDomain(("sgd", "adam"))),
        Parameter("lr", FloatDomain(1e-4, 1, log=True)),
        Parameter("dropout", FloatDomain(0.05, 0.5, step=0.1)),
        Parameter("shift", FloatDomain(-3, 2)),
        Parameter("warmup", IntDomain(0, 50, step=7)),
        Parameter("clip", ConstantDomain(1.0)),
    )
)
POPULATION = Population(10)
shares = st.floats(0.01, 0.99)


@given(st.integers(0, 2**32), st.integers(0, 2**32), shares, st.sampled_from([0.0, 0.25, 1.0]))
def test_what_is_explored_is_a_trial_of_the_space(first, second, share, resampling):
    population = Population(10, 0.25, resampling, share)
    start = draw(SPACE, Random(first))
    found = explore(SPACE, population, start, Random(second))
    assert validate_hyperparameters(SPACE, found) == []
    assert found == explore(SPACE, population, start, Random(second))


@given(st.floats(0.1, 1), st.booleans())
def test_a_number_is_multiplied(value, up):
    domain = FloatDomain(0.01, 10, log=True)
    assert perturbed(domain, value, 0.2, up=up) == value * (1.2 if up else 0.8)


@given(st.integers(0, 10), st.booleans(), shares)
def test_a_number_on_a_grid_moves_by_one_place_at_least(place, up, share):
    for domain, value in ((FloatDomain(0.0, 1.0, step=0.1), 0.1 * place), (IntDomain(0, 10), place)):
        moved = perturbed(domain, value, share, up=up)
        at_end = place == (10 if up else 0)
        assert (moved > value if up else moved < value) or (at_end and moved == pytest.approx(value))


def test_a_value_of_zero_is_left_by_a_share_of_the_range():
    assert perturbed(FloatDomain(0.0, 0.5), 0.0, 0.2, up=True) == pytest.approx(0.1)
    assert perturbed(FloatDomain(0.0, 0.5), 0.0, 0.2, up=False) == 0.0


def test_a_choice_changes_only_when_it_is_drawn_anew():
    kept = {explore(SPACE, Population(1, 0.25, 0.0), {"optimizer": "sgd"}, Random(n))["optimizer"] for n in range(50)}
    drawn = {explore(SPACE, Population(1, 0.25, 1.0), {"optimizer": "sgd"}, Random(n))["optimizer"] for n in range(50)}
    assert (kept, drawn) == ({"sgd"}, {"sgd", "adam"})


values = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=40)


@given(values, st.floats(0.01, 0.5), st.sampled_from(Goal), st.integers(0, 5))
def test_the_bottom_quantile_goes_on_from_the_top_one(losses, quantile, goal, seed):
    population = replace(POPULATION, quantile=quantile)
    members = {n: Member(loss, {"lr": 0.1, "optimizer": "adam"}) for n, loss in enumerate(losses)}
    found = exploits(population, SPACE, goal, seed, 10, members, members.keys())
    sign = 1 if goal is Goal.MINIMIZE else -1
    ranked = sorted(members, key=lambda n: (sign * losses[n], n))
    count = len(found)
    assert count <= len(losses) // 2 and count >= min(1, len(losses) // 2)
    assert {each.trial for each in found} == set(ranked[len(losses) - count :])
    assert {each.parent for each in found} <= set(ranked[:count])
    assert found == exploits(population, SPACE, goal, seed, 10, dict(reversed(members.items())), members.keys())


def test_only_those_that_are_measured_now_are_replaced():
    members = {n: Member(float(n), {"lr": 0.1}) for n in range(8)}
    found = exploits(POPULATION, SPACE, Goal.MINIMIZE, 0, 10, members, {0, 7})
    assert [each.trial for each in found] == [7]


def test_another_step_and_another_seed_draw_anew():
    members = {n: Member(float(n), {"lr": 0.1, "optimizer": "adam"}) for n in range(32)}
    answers = {
        str(exploits(POPULATION, SPACE, Goal.MINIMIZE, seed, step, members, members.keys()))
        for seed, step in ((0, 10), (0, 20), (1, 10))
    }
    assert len(answers) == 3


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "task.py").write_text("")
    return StudySpec(
        Task("task:Task", str(tmp_path)), SPACE, Objective("loss", Goal.MINIMIZE), Sampler.RANDOM, NoPruning(), 100,
        1.0, 8, 8, 0, population=POPULATION,
    )  # fmt: skip


def test_a_right_population_is_right(spec):
    assert validate_spec(spec) == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"population": Population(0)}, "study.population.interval_steps", "is 0"),
        ({"population": Population(101)}, "study.population.interval_steps", "more than max_steps 100"),
        ({"population": Population(10, 0.6)}, "study.population.quantile", "is 0.6"),
        ({"population": Population(10, resample_probability=2.0)}, "study.population.resample_probability", "is 2.0"),
        ({"population": Population(10, perturbation=1.0)}, "study.population.perturbation", "is 1.0"),
        ({"pruning": AshaPruning(1, 2)}, "study.pruner", "leave it out"),
        ({"max_trials": 1}, "study.max_trials", "2 members or more"),
        ({"parallelism": 4}, "study.parallelism", "give max_trials (8) or more"),
        ({"task": None}, "study.population", "needs a task"),
    ],
)
def test_what_is_wrong_with_a_population_is_named(spec, changes, field, words):
    (found,) = [each for each in validate_spec(replace(spec, **changes)) if each.field == field]
    assert words in found.description


def test_hyperparameters_of_the_structure_are_refused_by_name(spec):
    study = Study(StudyName("p", "s"), spec, StudyState.PREPARING, "", (), None, None, 1, 1, "0", 0, None, None)
    lanes = frozenset({"lr", "dropout", "shift", "warmup", "momentum"})
    surrogate = Surrogate(SurrogateName("p", "s"), SurrogateState.READY, lane_hyperparameters=lanes)
    assert "'optimizer' may change the structure" in unfit(study, surrogate)
    assert unfit(study, replace(surrogate, lane_hyperparameters=lanes | {"optimizer"})) == ""
