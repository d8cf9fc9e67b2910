"""A service's process, from outside: health, reflection, an end by SIGTERM that loses no call."""

import asyncio
import re
import signal
import sys
import textwrap
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hydro.api.coordinator.v1 import study_service_pb2, study_service_pb2_grpc
from hydro.kit.channel import open_channel

SERVICE = textwrap.dedent("""
    import asyncio
    from hydro.api.coordinator.v1 import study_pb2, study_service_pb2_grpc
    from hydro.kit.logging import configure_logging
    from hydro.kit.server import serve
    from hydro.kit.settings import ServerSettings

    class Studies(study_service_pb2_grpc.StudyServiceServicer):
        async def GetStudy(self, request, context):
            await asyncio.sleep(0.5)
            return study_pb2.Study(name=request.name)

    configure_logging("example")
    register = lambda server: study_service_pb2_grpc.add_StudyServiceServicer_to_server(Studies(), server)
    settings = ServerSettings(listen_address="127.0.0.1:0")
    asyncio.run(serve(settings, register, service_names=["hydro.api.coordinator.v1.StudyService"]))
""")  # fmt: skip


@pytest.fixture
async def process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    started = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, stderr=asyncio.subprocess.PIPE)
    assert started.stderr is not None
    line = (await started.stderr.readline()).decode()
    port = re.search(r'"port": (\d+)', line)
    assert port, line
    yield started, f"127.0.0.1:{port[1]}"
    if started.returncode is None:
        started.kill()
    await started.communicate()


async def test_sigterm_lets_running_calls_end(process: tuple[asyncio.subprocess.Process, str]) -> None:
    started, address = process
    async with open_channel(address) as channel:
        call = asyncio.ensure_future(
            study_service_pb2_grpc.StudyServiceStub(channel).GetStudy(study_service_pb2.GetStudyRequest(name="a"))
        )
        await asyncio.sleep(0.2)
        started.send_signal(signal.SIGTERM)
        assert (await call).name == "a"
    assert await started.wait() == 0


async def test_it_says_that_it_is_healthy(process: tuple[asyncio.subprocess.Process, str]) -> None:
    async with grpc.aio.insecure_channel(process[1]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
