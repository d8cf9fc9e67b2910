"""One suite of real processes for all faults of a module: each test drives a study of its own in it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import psutil
import pytest

from hazards.tcp_proxy import TcpProxy
from hydro.client.suite.child import log_tail
from hydro.client.suite.local import LocalSuite
from hydro.client.suite.postgres import prepare_postgres

from .driving import Driving, Watching


class RunningSuite:
    """The suite's processes, and its database."""

    def __init__(self, **environment: str) -> None:
        self.suite = LocalSuite.start({"HYDRO_COORDINATOR_DEVICES": "", "OMP_NUM_THREADS": "1", **environment})
        self.address = self.suite.coordinator_address
        self.url = prepare_postgres(self.suite.data_directory / "postgres").url

    def process(self, word: str) -> psutil.Process:
        """The child of the supervisor with this word in its command line."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for each in psutil.Process(self.suite.process.pid).children():
                try:
                    if any(word in part.split("/")[-1] for part in each.cmdline()):
                        return each
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.05)
        raise AssertionError(f"there is no {word}")

    def kill(self, word: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Kills a process of the suite, which is started again."""
        self.process(word).send_signal(how)

    async def sql(self, statement: str) -> list[Any]:
        """Rows of a statement, straight from the database."""
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def stop(self) -> None:
        """Ends it, and shows its logs."""
        for log in sorted((self.suite.data_directory / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log_tail(log, lines=30)}")
        self.suite.stop()


@pytest.fixture(scope="module")
def running_suite() -> Iterator[RunningSuite]:
    suite = RunningSuite()
    yield suite
    suite.stop()


@pytest.fixture
async def proxy(running_suite: RunningSuite) -> AsyncIterator[TcpProxy]:
    found = TcpProxy(running_suite.address)
    found.address = await found.start()
    yield found
    await found.close()


@pytest.fixture
def driven() -> Callable[..., Awaitable[Driving]]:
    """Drives a study while a fault happens, and holds the end against all that was answered."""

    async def drive(address: str, fault: Callable[[], Awaitable[None]] | None = None, **options: Any) -> Driving:
        driving = Driving(address, **options)
        try:
            await driving.create()
            watching = Watching(driving)
            running = asyncio.create_task(driving.run())
            if fault is not None:
                while len(driving.told) < 3 and not running.done():
                    await asyncio.sleep(0.01)
                assert not running.done(), "the study was over before the fault"
                await fault()
            await running
            await asyncio.gather(*getattr(driving.way, "late", ()))
            await driving.check_end()
            await watching.check()
        finally:
            await driving.close()
        return driving

    return drive
