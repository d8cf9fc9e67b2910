"""Surrogates by name, and their states."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hydro.kit.errors import AlreadyExists, NotFound
from hydro.tuner.building.request import BuildRequest, BuildResult
from hydro.tuner.building.surrogate import Surrogate, SurrogateState
from hydro.tuner.building.surrogate_cache import SurrogateCache

NAME = "projects/p/surrogates/s"
REQUEST = BuildRequest("m:C", "", 0.5, {"lr": (0.1,)}, "loss", "/out", "a.json", 8)


class HeldBuilder:
    """Builds nothing until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.started = 0
        self.cancelled = 0
        self.outcome: BuildResult | Exception = BuildResult(width=0.5)

    async def build(self, request: BuildRequest) -> BuildResult:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def states(cache: SurrogateCache) -> list[SurrogateState]:
    return [surrogate.state async for surrogate in cache.watch(NAME)]


async def test_a_surrogate_is_built_once_however_often_it_is_asked_for():
    builder = HeldBuilder()
    cache = SurrogateCache(builder)
    first = cache.create(NAME, REQUEST)
    assert first == cache.create(NAME, REQUEST)
    builder.go.set()
    assert await states(cache) == [SurrogateState.BUILDING, SurrogateState.READY]
    assert cache.create(NAME, REQUEST).state is SurrogateState.READY
    assert builder.started == 1


async def test_a_name_does_not_stand_for_two_surrogates():
    cache = SurrogateCache(HeldBuilder())
    cache.create(NAME, REQUEST)
    with pytest.raises(AlreadyExists, match="another task, width or search space"):
        cache.create(NAME, replace(REQUEST, width=0.25))
    await cache.close()


async def test_a_failed_build_ends_with_its_reason():
    builder = HeldBuilder()
    builder.outcome = BuildResult(failure="the task raised")
    builder.go.set()
    cache = SurrogateCache(builder)
    cache.create(NAME, REQUEST)
    assert await states(cache) == [SurrogateState.BUILDING, SurrogateState.FAILED]
    assert cache.get(NAME).result.failure == "the task raised"


async def test_a_fault_of_the_builder_fails_the_surrogate_and_keeps_no_one_waiting():
    builder = HeldBuilder()
    builder.outcome = RuntimeError("fork failed")
    builder.go.set()
    cache = SurrogateCache(builder)
    cache.create(NAME, REQUEST)
    assert await states(cache) == [SurrogateState.BUILDING, SurrogateState.FAILED]
    assert "fork failed" in cache.get(NAME).result.failure


async def test_deleting_a_surrogate_ends_its_build_and_its_watches():
    builder = HeldBuilder()
    cache = SurrogateCache(builder)
    cache.create(NAME, REQUEST)
    watch = asyncio.create_task(states(cache))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await cache.delete(NAME)
    assert builder.cancelled == 1
    with pytest.raises(NotFound):
        await watch
    with pytest.raises(NotFound):
        cache.get(NAME)


async def test_an_unknown_name_is_not_found():
    cache = SurrogateCache(HeldBuilder())
    with pytest.raises(NotFound, match="create it again"):
        cache.get(NAME)
    with pytest.raises(NotFound):
        await cache.delete(NAME)
    with pytest.raises(NotFound):
        await states(cache)


@pytest.mark.parametrize("first", [BuildResult(width=1.0), BuildResult(failure="no")])
def test_a_surrogate_gets_one_result(first):
    surrogate = Surrogate(NAME, REQUEST, datetime.now(UTC)).built(first)
    with pytest.raises(ValueError, match="only a surrogate that is BUILDING"):
        surrogate.built(BuildResult(width=1.0))
