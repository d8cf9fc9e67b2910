"""The laws hold for backends of other distributions, and for Hyperopt, through the real search process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydro.coordinator.search.conformance import SearchBackendConformance, request
from hydro.coordinator.search.hyperopt_backend import annealing_backend, tpe_backend
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.study import Sampler
from hydro.kit.errors import Internal

TOY = Path(__file__).parents[2] / "backends" / "toy"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The toy distribution, built and installed by pip into a folder, without a network."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path), str(TOY)], check=True, capture_output=True, text=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))


class TestHyperoptTpe(SearchBackendConformance):
    samplers = (Sampler.EXTERNAL,)

    @pytest.fixture
    def backend(self):
        return tpe_backend()


class TestHyperoptAnnealing(SearchBackendConformance):
    samplers = (Sampler.EXTERNAL,)

    @pytest.fixture
    def backend(self):
        return annealing_backend()


class ToyLaws(SearchBackendConformance):
    samplers = (Sampler.EXTERNAL,)
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
