"""The points of finite spaces are numbered once each, and shuffled without a list of them."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydro.coordinator.search.conformance import request
from hydro.coordinator.search.grid import grid_of
from hydro.coordinator.search.permutation import Permutation
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search.study_search import GridSearch
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
    identity,
    validate_hyperparameters,
)

NESTED = SearchSpace(
    (
        Parameter("depth", IntDomain(1, 5, step=2), (Condition("kind", ("deep",)),)),
        Parameter("kind", CategoricalDomain(("plain", "deep", True, 1))),
        Parameter("skip", CategoricalDomain((0.5, "half")), (Condition("depth", (3, 5)), Condition("kind", ("deep",)))),
        Parameter("rate", FloatDomain(0.1, 0.4, step=0.1)),
        Parameter("epochs", ConstantDomain(3)),
    )
)


def keys_of(points):
    return {frozenset((name, identity(value)) for name, value in each.items()) for each in points}


def test_a_grid_has_every_combination_of_active_parameters_once():
    grid = grid_of(NESTED)
    points = [grid.point(number) for number in range(grid.size)]
    # Of a kind: three are bare; deep ones have depth 1, or 3 and 5 with two ways to skip. Four rates.
    assert grid.size == (3 + 1 + 2 * 2) * 4
    assert len(keys_of(points)) == grid.size
    assert [validate_hyperparameters(NESTED, each) for each in points if validate_hyperparameters(NESTED, each)] == []


def test_steps_are_exact_decimals():
    grid = grid_of(SearchSpace((Parameter("rate", FloatDomain(0.1, 0.7, step=0.1)),)))
    assert [grid.point(number)["rate"] for number in range(grid.size)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_a_continuum_has_no_grid():
    assert grid_of(SearchSpace((Parameter("lr", FloatDomain(0.1, 1.0)),))) is None


def test_hundreds_of_parameters_are_counted_at_once_and_tangled_conditions_are_not():
    many = [Parameter(f"p{number}", CategoricalDomain((0, 1))) for number in range(200)]
    assert grid_of(SearchSpace(tuple(many))).size == 2**200
    tangled = Parameter("last", IntDomain(1, 2), tuple(Condition(each.name, (1,)) for each in many[:40]))
    assert grid_of(SearchSpace((*many[:40], tangled))) is None


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32))
def test_a_permutation_gives_every_number_once(size, seed):
    order = Permutation(size, seed)
    assert sorted(order[place] for place in range(size)) == list(range(size))


def test_orders_of_different_seeds_differ():
    orders = {tuple(Permutation(50, seed)[place] for place in range(50)) for seed in range(20)}
    assert len(orders) == 20
    assert tuple(range(50)) not in orders
    with pytest.raises(IndexError):
        Permutation(50, 0)[50]


def test_nothing_of_a_permutation_is_near_to_what_was_near():
    order = Permutation(10_000, 7)
    steps = [abs(one - other) for one, other in itertools.pairwise(order[place] for place in range(1_000))]
    assert 2_500 < sum(steps) / len(steps) < 4_200


def test_what_another_study_has_tried_is_still_a_point_of_the_grid():
    space = SearchSpace((Parameter("rate", FloatDomain(0.1, 0.3, step=0.1)),))
    search = GridSearch(space, 0)
    search.learn([KnownTrial(-1, {"rate": 0.1}, Outcome.SUCCEEDED, 1.0), KnownTrial(0, {"rate": 0.2}, Outcome.OPEN)])
    found = search.suggest(replace(request(), space=space, count=5))
    assert sorted(each["rate"] for each in found) == [0.1, 0.3]
