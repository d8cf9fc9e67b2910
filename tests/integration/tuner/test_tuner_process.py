"""The tuner as a process: `python -m hydro.tuner` builds for real, and takes its builds with it when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2, tuner_service_pb2_grpc
from hydro.api.type.v1 import search_space_pb2, task_pb2
from hydro.kit.channel import open_channel
from hydro.kit.errors import NotFound

EXAMPLES = Path(__file__).parents[3] / "examples"
NAME = "projects/p/surrogates/s"
HANGING = "import pathlib, os, time\npathlib.Path({path!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def tuner(
    port: int,
) -> AsyncIterator[tuple[tuner_service_pb2_grpc.TunerServiceAsyncStub, subprocess.Popen[bytes]]]:
    environment = {**os.environ, "HYDRO_TUNER_LISTEN_ADDRESS": f"localhost:{port}"}
    process = subprocess.Popen([sys.executable, "-m", "hydro.tuner"], env=environment)
    try:
        async with open_channel(f"localhost:{port}") as channel:
            while channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
                await asyncio.sleep(0.05)
            yield tuner_service_pb2_grpc.TunerServiceStub(channel), process
    finally:
        process.kill()
        process.wait()


def creation(entry_point: str, source_path: Path, artifacts: Path) -> tuner_service_pb2.CreateSurrogateRequest:
    rate = search_space_pb2.FloatDomain(min=1e-3, max=1.0, log=True)
    sizes = search_space_pb2.CategoricalDomain(
        values=[search_space_pb2.Value(int_value=64), search_space_pb2.Value(int_value=128)]
    )
    return tuner_service_pb2.CreateSurrogateRequest(
        parent="projects/p",
        surrogate_id="s",
        task=task_pb2.Task(entry_point=entry_point, source_path=str(source_path)),
        width=0.125,
        search_space=search_space_pb2.SearchSpace(
            parameters=[
                search_space_pb2.Parameter(name="lr", float_domain=rate),
                search_space_pb2.Parameter(name="batch_size", categorical_domain=sizes),
            ]
        ),
        objective_metric="accuracy",
        artifact_uri=str(artifacts),
        max_lanes=8,
    )


def hanging(folder: Path) -> tuner_service_pb2.CreateSurrogateRequest:
    """A task that tells its process and then hangs at import."""
    (folder / "hanging_task.py").write_text(HANGING.format(path=str(folder / "process")))
    return creation("hanging_task:Task", folder, folder / "artifacts")


async def building(folder: Path) -> int:
    while not ((folder / "process").exists() and (folder / "process").read_text()):
        await asyncio.sleep(0.05)
    return int((folder / "process").read_text())


async def gone(process: int) -> None:
    """Waits for a process to end; the test's own limit ends a wait for one that does not."""
    while Path(f"/proc/{process}/stat").exists():
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        await asyncio.sleep(0.02)


async def test_the_digits_example_becomes_a_surrogate(port, tmp_path):
    async with tuner(port) as (stub, _):
        await stub.CreateSurrogate(creation("digits:Digits", EXAMPLES, tmp_path))
        watch = stub.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=NAME))
        *_, surrogate = [each async for each in watch]
        trials = [
            tuner_service_pb2.PlannedTrial(
                trial=f"t{i}", hyperparameters={"batch_size": search_space_pb2.Value(int_value=64)}
            )
            for i in range(4)
        ]
        plan = await stub.PlanBundles(tuner_service_pb2.PlanBundlesRequest(surrogate=surrogate, trials=trials))
    assert surrogate.state == surrogate_pb2.SURROGATE_STATE_READY, surrogate.state_reason
    assert surrogate.parameters < surrogate.target_parameters / 30
    assert Path(surrogate.artifact.uri).is_file()
    assert {each.hyperparameter: each.role for each in surrogate.roles} == {
        "lr": surrogate_pb2.ROLE_OPTIMIZER,
        "batch_size": surrogate_pb2.ROLE_STRUCTURAL,
    }
    assert len(surrogate.profile.fused) > 1
    assert sorted(name for bundle in plan.bundles for name in bundle.trials) == ["t0", "t1", "t2", "t3"]


async def test_a_killed_tuner_takes_its_build_with_it_and_forgets_the_surrogate(port, tmp_path):
    async with tuner(port) as (stub, process):
        await stub.CreateSurrogate(hanging(tmp_path))
        build = await building(tmp_path)
        process.send_signal(signal.SIGKILL)
        await gone(build)
    (tmp_path / "process").unlink()
    async with tuner(port) as (stub, _):
        with pytest.raises(NotFound):
            await stub.GetSurrogate(tuner_service_pb2.GetSurrogateRequest(name=NAME))
        again = await stub.CreateSurrogate(hanging(tmp_path))
        assert again.state == surrogate_pb2.SURROGATE_STATE_BUILDING
        await building(tmp_path)


async def test_a_tuner_that_is_asked_to_end_ends_its_builds(port, tmp_path):
    async with tuner(port) as (stub, process):
        await stub.CreateSurrogate(hanging(tmp_path))
        build = await building(tmp_path)
        process.terminate()
        await gone(build)
        assert await asyncio.to_thread(process.wait) == 0


async def test_a_build_that_dies_fails_its_surrogate_with_its_last_lines(port, tmp_path):
    (tmp_path / "dying_task.py").write_text("import os, sys\nprint('out of luck', file=sys.stderr)\nos._exit(3)\n")
    async with tuner(port) as (stub, _):
        await stub.CreateSurrogate(creation("dying_task:Task", tmp_path, tmp_path))
        watch = stub.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=NAME))
        *_, surrogate = [each async for each in watch]
    assert surrogate.state == surrogate_pb2.SURROGATE_STATE_FAILED
    assert "status 3" in surrogate.state_reason
    assert "out of luck" in surrogate.state_reason
