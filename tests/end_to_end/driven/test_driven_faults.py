"""Services, the database and the network fail while clients drive a study: nothing that was answered is lost."""

import asyncio
import signal
import time
from collections import Counter

import asyncpg
import grpc
import pytest

from hazards.tcp_proxy import DOWN, UP
from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.api.coordinator.v1.study_service_pb2_grpc import StudyServiceStub
from hydro.client import Client, TrialState, minimize, uniform
from hydro.kit.channel import USER_RETRY_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_a_coordinator_killed_again_and_again_loses_nothing(running_suite, driven):
    async def fault():
        for pause in (0.0, 0.3, 0.1):
            await asyncio.sleep(pause)
            await asyncio.to_thread(running_suite.kill, "hydro.coordinator")
            await asyncio.sleep(1)

    await driven(running_suite.address, fault, trials=60)


async def test_known_points_are_used_once_though_the_coordinator_is_killed_between_them(running_suite):
    points = [{"x": (number + 1) / 100} for number in range(20)]
    with Client(running_suite.address) as client:
        study = await asyncio.to_thread(
            client.create_study, "points-kill", search_space={"x": uniform(0, 1)}, objective=minimize("loss"),
            known_points=points[:10], trials=24, sampler="tpe",
        )  # fmt: skip
        running = asyncio.create_task(asyncio.to_thread(study.optimize, lambda trial: time.sleep(0.05) or 0.5, jobs=3))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(running_suite.kill, "hydro.coordinator")
        await asyncio.to_thread(study.enqueue, *points[10:])
        await asyncio.to_thread(running_suite.kill, "hydro.coordinator")
        await running
        trials = study.trials
    assert len(trials) == 24
    used = {each.snapshot.known_point: each.hyperparameters for each in trials if each.snapshot.known_point is not None}
    assert used == dict(enumerate(points))


async def test_a_coordinator_told_to_stop_and_started_again_fails_no_call_of_clients_that_retry(running_suite, driven):
    async def fault():
        process = running_suite.process("hydro.coordinator")
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)

    patience = {"retry_seconds": USER_RETRY_SECONDS, "call_seconds": USER_RETRY_SECONDS + 5}
    with Client(running_suite.address) as client:
        study = await asyncio.to_thread(
            client.create_study, "drained", search_space={"x": uniform(0, 1)}, objective=minimize("loss"), trials=20
        )
        # Beside those that call, threads of a script on streams.
        optimizing = asyncio.to_thread(study.optimize, lambda trial: time.sleep(0.5) or 0.5, jobs=2)
        _, driving = await asyncio.gather(optimizing, driven(running_suite.address, fault, trials=60, **patience))
        assert driving.errors == Counter()
        assert [trial.snapshot.state for trial in study.trials] == [TrialState.SUCCEEDED] * 20


async def test_a_coordinator_that_stands_still_for_a_while_loses_nothing(running_suite, driven):
    async def fault():
        process = running_suite.process("hydro.coordinator")
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4)
        process.send_signal(signal.SIGCONT)

    await driven(running_suite.address, fault)


async def test_a_postgres_stopped_at_once_and_started_again_loses_nothing(running_suite, driven):
    async def fault():
        await asyncio.to_thread(running_suite.kill, "postgres", signal.SIGQUIT)

    await driven(running_suite.address, fault)


async def test_killed_database_connections_lose_nothing(running_suite, driven):
    async def fault():
        for _ in range(5):
            await running_suite.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.1)

    await driven(running_suite.address, fault, trials=80)


async def test_a_database_without_a_free_connection_loses_nothing(running_suite, driven):
    async def fault():
        held = []
        await running_suite.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            while True:
                held.append(await asyncpg.connect(running_suite.url))
        except asyncpg.PostgresError:
            await asyncio.sleep(2)
        assert held
        for connection in held:
            await connection.close()

    await driven(running_suite.address, fault, trials=80)


async def test_latency_loses_nothing(proxy, driven):
    proxy.latency_seconds = 0.05
    await driven(proxy.address)


async def test_resets_of_every_connection_lose_nothing(proxy, driven):
    async def fault():
        for _ in range(10):
            proxy.reset()
            await asyncio.sleep(0.05)

    assert (await driven(proxy.address, fault, trials=80)).told


async def test_refused_connections_lose_nothing(proxy, driven):
    async def fault():
        proxy.refuses = True
        proxy.reset()
        await asyncio.sleep(1.5)
        proxy.heal()

    await driven(proxy.address, fault)
    # No caller sees it: it is shorter than the patience of their channel.
    assert proxy.refused


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_blackhole_one_way_loses_nothing(proxy, driven, direction):
    async def fault():
        proxy.blackhole(direction)
        await asyncio.sleep(4)
        proxy.heal()

    assert (await driven(proxy.address, fault)).errors["DeadlineExceeded"]


async def test_connections_that_are_open_on_one_side_alone_lose_nothing(proxy, driven):
    async def fault():
        proxy.half_open()

    assert (await driven(proxy.address, fault)).errors


async def test_ten_times_the_clients_lose_nothing(running_suite, driven):
    await driven(running_suite.address, clients=80, trials=200)


async def test_watchers_that_never_read_take_no_memory_and_hold_nobody_up(running_suite, driven):
    process = running_suite.process("hydro.coordinator")
    before = process.memory_info().rss
    streams = []

    async def fault():
        studies = StudyServiceStub(channel)
        name = (await studies.ListStudies(calls.ListStudiesRequest(parent="projects/faults", page_size=1000))).studies[
            -1
        ]
        for _ in range(50):
            stream = studies.WatchStudy(calls.WatchStudyRequest(name=name.name))
            streams.append(stream)

    async with grpc.aio.insecure_channel(running_suite.address) as channel:
        await driven(running_suite.address, fault, trials=120)
        assert process.memory_info().rss - before < 100 * 2**20
        for stream in streams:
            stream.cancel()
