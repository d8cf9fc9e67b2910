"""The table of docs/objectives.md: which samplers search where a study's constraints are kept."""

from dataclasses import replace

import pytest

from hydro.coordinator.search.conformance import request
from hydro.coordinator.search.hyperopt_backend import annealing_backend, tpe_backend
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.random_backend import RandomBackend
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Sampler

SPACE = SearchSpace((Parameter("lr", FloatDomain(0.0, 1.0)), Parameter("momentum", FloatDomain(0.0, 1.0))))


async def suggestions(backend, sampler, limit, trials=60):
    """After trials that are best where lr is small, and keep their constraint where it is above the limit."""
    points = await RandomBackend().ask(request(space=SPACE, count=trials, seed=9))
    history = tuple(
        KnownTrial(number, each, Outcome.SUCCEEDED, each["lr"], 1, violations={"memory": limit - each["lr"]})
        for number, each in enumerate(points)
    )
    asked = request(sampler=sampler, space=SPACE, history=history, count=4, first_index=trials, max_trials=200)
    return await backend.ask(replace(asked, study=str(limit)))


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.NSGA2])
async def test_these_search_where_the_constraints_are_kept(sampler):
    unbound, bound = [await suggestions(OptunaBackend(), sampler, limit) for limit in (-1.0, 0.7)]
    assert sum(each["lr"] for each in bound) > sum(each["lr"] for each in unbound) + 0.5


async def test_a_gaussian_process_searches_where_the_constraints_are_kept():
    (unbound, *_), (bound, *_) = [await suggestions(OptunaBackend(), Sampler.GP, limit, 12) for limit in (-1.0, 0.7)]
    assert unbound["lr"] < 0.5 < bound["lr"]


@pytest.mark.parametrize("backend", [OptunaBackend(), tpe_backend(), annealing_backend()])
async def test_these_do_not_see_them(backend):
    sampler = Sampler.CMA_ES if isinstance(backend, OptunaBackend) else Sampler.EXTERNAL
    assert await suggestions(backend, sampler, -1.0) == await suggestions(backend, sampler, 0.7)
