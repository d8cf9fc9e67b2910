"""The laws hold for backends of other distributions, and for Hyperopt, through the real search process."""

import pytest

from backends.installing import install_toy
from hydro.coordinator.search.conformance import SearchBackendConformance, request
from hydro.coordinator.search.hyperopt_backend import annealing_backend, tpe_backend
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.study import Sampler
from hydro.kit.errors import Internal


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The toy distribution, where search processes find it."""
    monkeypatch.setenv("PYTHONPATH", install_toy(tmp_path))


class TestHyperoptTpe(SearchBackendConformance):
    samplers = one_objective = (Sampler.EXTERNAL,)

    @pytest.fixture
    def backend(self):
        return tpe_backend()


class TestHyperoptAnnealing(SearchBackendConformance):
    samplers = one_objective = (Sampler.EXTERNAL,)

    @pytest.fixture
    def backend(self):
        return annealing_backend()


class ToyLaws(SearchBackendConformance):
    samplers = constrained = (Sampler.EXTERNAL,)
    external_sampler = "toy"


async def test_the_toy_backend_keeps_every_law_in_the_search_process(installed):
    process, laws = SearchProcess(), ToyLaws()
    names = [name for name in dir(laws) if name.startswith("test_")]
    assert len(names) > 10
    for name in names:
        await getattr(laws, name)(process)
    await process.close()


async def test_the_search_process_finds_hyperopt_by_its_entry_point():
    process = SearchProcess()
    asked = request(sampler=Sampler.EXTERNAL, external_sampler="hyperopt", count=2)
    assert await process.ask(asked) == await tpe_backend().ask(asked)
    await process.close()


async def test_a_backend_that_is_gone_is_an_error_that_names_it():
    process = SearchProcess()
    with pytest.raises(Internal, match="no search backend 'toy'"):
        await process.ask(request(sampler=Sampler.EXTERNAL, external_sampler="toy"))
    await process.close()
