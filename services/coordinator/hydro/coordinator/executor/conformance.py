# ruff: noqa: D102  the name of a test is its sentence
"""The laws of the executor port as tests: an executor's own tests subclass the suite and give two fixtures.

`start_executor(program)` gives an executor whose workers run that Python program, and closes it after the test;
`folder` is a folder that the workers can write to and the test can read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from hydro.coordinator.executor.executor import Executor, WorkerExit, WorkerPlace
from hydro.kit.errors import NotFound

StartExecutor = Callable[[str], Executor]

PLACE = WorkerPlace("devices/here")
SLEEPER = "import time; time.sleep(600)"
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({ready!r}).touch()
time.sleep(600)
"""
ENVIRONMENT = "import os, pathlib; pathlib.Path({path!r}).write_text(chr(10).join(os.environ))"


async def exits(executor: Executor, count: int = 1, deadline_seconds: float = 30.0) -> list[WorkerExit]:
    """Polls until so many workers have ended."""
    found: list[WorkerExit] = []
    async with asyncio.timeout(deadline_seconds):
        while len(found) < count:
            found += await executor.poll()
            await asyncio.sleep(0.02)
    return found


async def appears(path: Path, deadline_seconds: float = 30.0) -> Path:
    """Waits until the file is there and has been written."""
    async with asyncio.timeout(deadline_seconds):
        while not path.exists():  # noqa: ASYNC110  another process makes it
            await asyncio.sleep(0.02)
    return path


class ExecutorConformance:
    """Laws of Executor."""

    async def test_a_worker_that_ends_is_polled_once_with_its_code_and_output(
        self, start_executor: StartExecutor
    ) -> None:
        executor = start_executor("import sys; print('no such module'); sys.exit(3)")
        worker = await executor.start(PLACE)
        (ended,) = await exits(executor)
        assert (ended.worker, ended.device, ended.exit_code) == (worker, "devices/here", 3)
        assert "no such module" in ended.log_tail
        assert await executor.poll() == []

    async def test_running_names_the_device_of_each_worker_until_its_end_is_polled(
        self, start_executor: StartExecutor
    ) -> None:
        executor = start_executor(SLEEPER)
        workers = [await executor.start(WorkerPlace(f"devices/{name}")) for name in "ab"]
        assert executor.running() == {workers[0]: "devices/a", workers[1]: "devices/b"}
        await executor.stop(workers[0])
        assert [each.worker for each in await exits(executor)] == [workers[0]]
        assert executor.running() == {workers[1]: "devices/b"}

    async def test_names_of_workers_differ_also_on_one_device(self, start_executor: StartExecutor) -> None:
        executor = start_executor("pass")
        assert await executor.start(PLACE) != await executor.start(PLACE)
        await exits(executor, count=2)

    async def test_a_worker_that_does_not_listen_is_killed_after_the_grace(
        self, start_executor: StartExecutor, folder: Path
    ) -> None:
        executor = start_executor(STUBBORN.format(ready=str(folder / "ready")))
        worker = await executor.start(PLACE)
        await appears(folder / "ready")
        await executor.stop(worker)
        (ended,) = await exits(executor)
        assert ended.exit_code != 0

    async def test_a_worker_may_be_stopped_twice_and_after_its_end(self, start_executor: StartExecutor) -> None:
        executor = start_executor(SLEEPER)
        worker = await executor.start(PLACE)
        await asyncio.gather(executor.stop(worker), executor.stop(worker))
        await executor.stop(worker)
        assert [each.worker for each in await exits(executor)] == [worker]

    async def test_stopping_an_unknown_worker_is_not_found(self, start_executor: StartExecutor) -> None:
        with pytest.raises(NotFound, match="nobody"):
            await start_executor(SLEEPER).stop("nobody")

    async def test_close_stops_every_worker(self, start_executor: StartExecutor) -> None:
        executor = start_executor(SLEEPER)
        workers = {await executor.start(PLACE) for _ in range(3)}
        await executor.close()
        assert {each.worker for each in await executor.poll()} == workers

    async def test_a_worker_sees_its_device_but_not_the_database(
        self, start_executor: StartExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HYDRO_DATABASE_URL", "postgresql://user:secret@/db")
        monkeypatch.setenv("HYDRO_CONFIG", "with-the-url.toml")
        monkeypatch.setenv("SOMEBODYS_TOKEN", "secret")
        executor = start_executor(ENVIRONMENT.format(path=str(folder / "names")))
        await executor.start(PLACE)
        assert [each.exit_code for each in await exits(executor)] == [0]
        names = (folder / "names").read_text().split("\n")
        assert "HYDRO_WORKER_DEVICE" in names
        assert not {"HYDRO_DATABASE_URL", "HYDRO_CONFIG", "SOMEBODYS_TOKEN"} & set(names)
