"""The database's disk is full: writes are refused so that callers try again, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal

import asyncpg
import pytest

from hazards.full_disk import FullDisk
from hydro.api.coordinator.v1 import study_pb2
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.kit.errors import Unavailable

from .caller import NAME, Caller, check_history, trials_of

pytestmark = pytest.mark.slow
TRIALS = 400


@pytest.fixture
def disk(new_postgres_server):
    """The server's disk."""
    found = FullDisk(new_postgres_server.folder)
    new_postgres_server.stop(signal.SIGINT)
    new_postgres_server.environment = found.environment
    new_postgres_server.start()
    return found


async def refusal(server):
    """What a writer is told, who would otherwise go on for ever."""
    storage = await PostgresStorage.open(server.url(), retry_seconds=0.1)
    try:
        for number in itertools.count():
            await storage.run(lambda tx, number=number: tx.coordinators.renew(f"writer-{number}", "x" * 500, 1))
    except Unavailable as error:
        return error.message
    finally:
        await storage.close()


async def test_writes_are_refused_while_the_disk_is_full_and_go_on_when_there_is_space(
    disk, new_postgres_server, coordinator_on_own_postgres, driven_study, wait_until
):
    server, coordinator = new_postgres_server, coordinator_on_own_postgres
    await coordinator.studies.CreateStudy(driven_study(max_trials=TRIALS, parallelism=8))
    callers = [Caller(coordinator) for _ in range(4)]
    driving = [asyncio.create_task(caller.drive()) for caller in callers]

    async def until_told(count):
        while sum(len(caller.told) for caller in callers) < count:
            await asyncio.sleep(0.02)

    await until_told(10)
    disk.fill()
    assert "No space left on device" in await refusal(server)
    commits = "group commit failed"
    while commits not in coordinator.log():
        await asyncio.sleep(0.1)
    assert any(not each.done() for each in driving)
    told = sum(len(caller.told) for caller in callers)
    disk.make_space()
    await until_told(told + 50)
    # The log has no space for its next file: Postgres stops itself.
    disk.fill()
    connection = await asyncpg.connect(server.url())
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.execute("SELECT pg_switch_wal()")
    connection.terminate()
    while "PANIC" not in server.log:
        await asyncio.sleep(0.1)
    disk.make_space()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*driving)
    await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_SUCCEEDED)
    trials = await trials_of(coordinator)
    assert len(trials) == TRIALS
    check_history(callers, trials, TRIALS)
