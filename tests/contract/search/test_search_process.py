"""The search process survives its own death, a slow search and a failing one."""

import asyncio
import os
import signal
import sys

import psutil
import pytest

from hydro.coordinator.search import conformance
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.study import Sampler
from hydro.kit.errors import DeadlineExceeded, Internal, Unavailable

SLOW = (sys.executable, "-c", "import time; time.sleep(60)")
DYING = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(8)")


def request(**changes):
    """A request that needs the process."""
    return conformance.request(**{"sampler": Sampler.TPE, **changes})


@pytest.fixture
async def process():
    process = SearchProcess()
    yield process
    await process.close()


async def test_a_killed_process_is_started_again(process):
    first = await process.ask(request())
    before = process.process_id
    os.kill(before, signal.SIGKILL)
    assert await process.ask(request()) == first
    assert process.process_id != before


async def test_a_process_that_always_dies_is_unavailable():
    with pytest.raises(Unavailable, match="died 2 times"):
        await SearchProcess(command=DYING).ask(request())


async def test_a_slow_search_ends_at_its_deadline_and_leaves_no_process():
    process = SearchProcess(deadline_seconds=0.3, command=SLOW)
    with pytest.raises(DeadlineExceeded, match=r"longer than 0.3 s"):
        await process.ask(request())
    assert process.process_id is None
    assert not [child for child in psutil.Process().children() if "time.sleep(60)" in child.cmdline()]


async def test_an_interrupted_ask_does_not_answer_the_next_one(process):
    await process.ask(request())
    task = asyncio.create_task(process.ask(request(count=500)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await process.ask(request(count=3))) == 3


async def test_a_failing_request_is_an_error_and_the_process_goes_on(process):
    with pytest.raises(Internal, match="the search failed"):
        await process.ask(request(sampler="no sampler"))
    assert len(await process.ask(request())) == 1


async def test_concurrent_asks_get_their_own_answers(process):
    answers = await asyncio.gather(*(process.ask(request(count=count)) for count in range(1, 9)))
    assert [len(answer) for answer in answers] == list(range(1, 9))


async def test_the_process_gets_no_secrets(process, monkeypatch):
    monkeypatch.setenv("HYDRO_DATABASE_URL", "postgresql://user:secret@/db")
    await process.ask(request())
    assert "HYDRO_DATABASE_URL" not in psutil.Process(process.process_id).environ()


async def test_the_process_ends_when_its_pipe_is_closed(process):
    await process.ask(request())
    child = psutil.Process(process.process_id)
    process._process.stdin.close()
    assert await asyncio.to_thread(psutil.wait_procs, [child], 20) == ([child], [])
