"""Optuna's backend keeps the laws of the search port, in this process and in one of its own."""

import pytest

from hydro.coordinator.search.conformance import SPACE, SearchBackendConformance, request
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Sampler


class TestOptunaBackend(SearchBackendConformance):
    @pytest.fixture
    def backend(self):
        return OptunaBackend()


class TestOptunaBackendInAProcess(SearchBackendConformance):
    @pytest.fixture
    async def backend(self):
        process = SearchProcess()
        yield process
        await process.close()


async def test_a_process_gives_what_the_backend_gives():
    process = SearchProcess()
    here = OptunaBackend()
    history = await SearchBackendConformance().history(here, 60)
    asked = request(sampler=Sampler.TPE, history=history, count=5, first_index=60)
    assert await process.ask(asked) == await here.ask(asked)
    await process.close()


async def test_tpe_finds_a_better_value_than_random_search():
    space = SearchSpace((Parameter("x", FloatDomain(-5, 5)), Parameter("y", FloatDomain(-5, 5))))

    async def best(sampler, seed):
        history = ()
        for index in range(40):
            asked = request(sampler=sampler, space=space, history=history, seed=seed, first_index=index)
            (point,) = await OptunaBackend().ask(asked)
            cost = (point["x"] - 1) ** 2 + (point["y"] + 2) ** 2
            history += (KnownTrial(index, point, Outcome.SUCCEEDED, cost, 1),)
        return min(trial.value for trial in history)

    wins = [await best(Sampler.TPE, seed) < await best(Sampler.RANDOM, seed) for seed in range(5)]
    assert sum(wins) >= 4


async def test_parallel_asks_spread_out():
    history = await SearchBackendConformance().history(OptunaBackend(), 60)
    asked = request(sampler=Sampler.TPE, history=history, count=16, first_index=60)
    suggestions = await OptunaBackend().ask(asked)
    assert len({suggestion["lr"] for suggestion in suggestions}) == 16
    assert {each.name for each in SPACE.parameters} >= set(suggestions[0])
