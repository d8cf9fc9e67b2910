"""The local executor keeps the laws of its port, with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hydro.coordinator.executor.conformance import SLEEPER, ExecutorConformance, appears, exits
from hydro.coordinator.executor.executor import WorkerPlace
from hydro.coordinator.executor.local_executor import LocalExecutor, worker_environment
from hydro.kit.errors import Unavailable

PARENT = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {sleeper!r}])
pathlib.Path({path!r} + ".part").write_text(str(child.pid))
os.rename({path!r} + ".part", {path!r})
{then}
"""
PINNED = """
import os, pathlib
pathlib.Path({path!r}).write_text(f"{{os.sched_getaffinity(0)}} {{os.environ['OMP_NUM_THREADS']}}")
"""
COORDINATOR = """
import asyncio, pathlib, sys
from hydro.coordinator.executor.executor import WorkerPlace
from hydro.coordinator.executor.local_executor import LocalExecutor

async def main():
    executor = LocalExecutor(pathlib.Path({folder!r}), {{}}, command=[sys.executable, "-c", {sleeper!r}])
    await executor.start(WorkerPlace("devices/here"))
    (worker,) = executor._workers.values()
    part = pathlib.Path({folder!r}, "worker.part")
    part.write_text(str(worker.process.pid))
    part.rename(pathlib.Path({folder!r}, "worker"))
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
async def start_executor(tmp_path):
    started = []

    def start(program):
        command = [sys.executable, "-c", program]
        started.append(LocalExecutor(tmp_path / "logs", {"CHOSEN": "1"}, command=command, grace_seconds=1.0))
        return started[-1]

    yield start
    for executor in started:
        await executor.close()
        await executor.poll()
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


class TestLocalExecutor(ExecutorConformance):
    pass


async def gone(process_id):
    """Waits until the process is neither running nor a zombie of ours."""
    async with asyncio.timeout(30):
        while psutil.pid_exists(process_id) and psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)
    return True


async def test_what_a_worker_started_does_not_outlive_it(start_executor, folder):
    program = PARENT.format(sleeper=SLEEPER, path=str(folder / "child"), then="")
    executor = start_executor(program)
    await executor.start(WorkerPlace("devices/here"))
    await exits(executor)
    assert await gone(int((folder / "child").read_text()))


async def test_stop_ends_what_a_worker_started(start_executor, folder):
    program = PARENT.format(sleeper=SLEEPER, path=str(folder / "child"), then="time.sleep(600)")
    executor = start_executor(program)
    worker = await executor.start(WorkerPlace("devices/here"))
    child = int((await appears(folder / "child")).read_text())
    await executor.stop(worker)
    assert await gone(child)


async def test_workers_die_with_a_killed_coordinator(folder):
    program = COORDINATOR.format(folder=str(folder), sleeper=SLEEPER)
    with subprocess.Popen([sys.executable, "-c", program]) as coordinator:
        try:
            worker = int((await appears(folder / "worker")).read_text())
            assert psutil.pid_exists(worker)
        finally:
            coordinator.kill()
    assert await gone(worker)


async def test_a_worker_is_pinned_to_its_cores(start_executor, folder):
    core = min(os.sched_getaffinity(0))
    report = folder / "cores"
    executor = start_executor(PINNED.format(path=str(report)))
    await executor.start(WorkerPlace("devices/here", cpu_cores=(core,)))
    await exits(executor)
    assert report.read_text() == f"{{{core}}} 1"


async def test_a_program_that_cannot_start_is_an_exit_with_the_reason(tmp_path):
    executor = LocalExecutor(tmp_path, {}, command=["/nowhere/worker"])
    await executor.start(WorkerPlace("devices/here"))
    (ended,) = await exits(executor)
    assert ended.exit_code != 0
    assert "No such file" in ended.log_tail


async def test_a_log_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    executor = LocalExecutor(tmp_path / "file" / "logs", {})
    with pytest.raises(Unavailable, match="devices/here could not be started"):
        await executor.start(WorkerPlace("devices/here"))
    assert executor.running() == {}


async def test_each_worker_has_its_own_log(start_executor, folder):
    executor = start_executor("print('hello')")
    workers = [await executor.start(WorkerPlace("devices/gpu0/slots/1")) for _ in range(2)]
    await exits(executor, count=2)
    logs = [Path(folder / "logs" / f"{worker}.log").read_text() for worker in workers]
    assert logs == ["hello\n", "hello\n"]


async def test_a_worker_killed_from_outside_ends_with_the_signal(start_executor):
    executor = start_executor(SLEEPER)
    await executor.start(WorkerPlace("devices/here"))
    (worker,) = executor._workers.values()
    os.kill(worker.process.pid, signal.SIGKILL)
    (ended,) = await exits(executor)
    assert ended.exit_code == -signal.SIGKILL


def test_the_environment_is_an_allowlist():
    where = {"PATH": "/bin", "DOCKER_HOST": "unix:///run/user/1000/docker.sock"}
    inherited = {**where, "HYDRO_DATABASE_URL": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    chosen = {"HYDRO_COORDINATOR_ADDRESS": "localhost:7400"}
    environment = worker_environment(WorkerPlace("devices/a", (2, 3), gpu_index=1), chosen, inherited)
    assert environment == {
        **where,
        "PYTHONUNBUFFERED": "1",
        "HYDRO_COORDINATOR_ADDRESS": "localhost:7400",
        "HYDRO_WORKER_DEVICE": "devices/a",
        "HYDRO_WORKER_CORES": "2,3",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "1",
    }


def test_a_worker_without_a_gpu_sees_none():
    assert worker_environment(WorkerPlace("devices/a"), {}, {})["CUDA_VISIBLE_DEVICES"] == ""
