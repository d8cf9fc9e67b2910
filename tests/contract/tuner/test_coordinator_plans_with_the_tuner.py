"""The coordinator's client of the tuner against the tuner's own service, and on to what a worker reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest

from hydro.api.tuner.v1 import tuner_service_pb2_grpc
from hydro.coordinator import bundle as coordinator_bundle
from hydro.coordinator.device import Device, DeviceKind, DeviceState
from hydro.coordinator.lease import Lease, LeaseState
from hydro.coordinator.names import DeviceName, LeaseName, StudyName, SurrogateName, TrialName
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.recipe import Grant, Recipe
from hydro.coordinator.reconcile.prepare import least_threads
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.server.convert_work import lease_message
from hydro.coordinator.study import Goal, Objective, Sampler, Study, StudySpec, StudyState, Task
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import Trial, TrialKind, TrialState
from hydro.coordinator.tuner_client import TunerClient
from hydro.kit.channel import open_channel
from hydro.kit.interceptors import ServerCalls
from hydro.tuner.building.request import BuildRequest, BuildResult
from hydro.tuner.building.surrogate_cache import SurrogateCache
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.role import Role
from hydro.tuner.server.tuner_servicer import TunerServicer
from hydro.tuner.training.execution import Execution
from hydro.worker.convert import to_grant
from hydro.worker.recipe import Recipe as WorkerRecipe

STUDY, NOW = StudyName("p", "s"), datetime(2026, 1, 1, tzinfo=UTC)
DEVICE = Device(DeviceName("devices/0"), DeviceKind.CPU)
POINTS = (ProfilePoint(1, 0.01, 100, 0.004), ProfilePoint(8, 0.02, 200, 0.008))
PROFILE = Profile(POINTS, 0.01, 90, compiled=CompiledPoint(8, 0.01, 20.0, 65_536, 300), threads=3)


class KnownBuilder:
    """Gives one profile, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[BuildRequest] = []

    async def build(self, request: BuildRequest) -> BuildResult:
        self.requests.append(request)
        return BuildResult(width=0.5, roles={"lr": Role.OPTIMIZER}, profile=PROFILE)


@pytest.fixture
def builder() -> KnownBuilder:
    return KnownBuilder()


@pytest.fixture
async def client(builder: KnownBuilder) -> AsyncIterator[TunerClient]:
    cache = SurrogateCache(builder)
    server = grpc.aio.server(interceptors=[ServerCalls()])
    tuner_service_pb2_grpc.add_TunerServiceServicer_to_server(TunerServicer(cache), server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with open_channel(f"localhost:{port}") as channel:
        yield TunerClient(channel, max_lanes=8)
    await server.stop(None)
    await cache.close()


def study(max_steps: int) -> Study:
    space = SearchSpace((Parameter("lr", FloatDomain(0, 1)),))
    spec = StudySpec(
        Task("m:C"), space, Objective("loss", Goal.MINIMIZE), Sampler.RANDOM, NoPruning(1), max_steps, 0.5, 8, 8, 0
    )
    return Study(STUDY, spec, StudyState.SEARCHING, "", (), None, None, 1, 1, "0" * 32, 0, NOW, None)


def trials(count: int) -> list[Trial]:
    return [
        Trial(TrialName(STUDY, number), TrialKind.SEARCH, TrialState.PENDING, {"lr": 0.1}, number, NOW)
        for number in range(count)
    ]


async def ready_surrogate(client: TunerClient, asked: Study) -> Surrogate:
    name = SurrogateName("p", "s")
    await client.create_surrogate(name, asked.spec, "/out")
    await client.until_built(name)
    return await client.create_surrogate(name, asked.spec, "/out")


def read_by_a_worker(plan: coordinator_bundle.PlannedBundle, asked: Study) -> WorkerRecipe:
    recipe = Recipe(
        task=asked.spec.task or Task("m:C"),
        width=0.5,
        surrogate=None,
        execution=plan.execution,
        max_lanes=plan.max_lanes,
        micro_lanes=plan.micro_lanes,
        memory_bytes=plan.memory_bytes,
        threads=plan.threads,
        lanes=(),
        data_seed=0,
        measured_steps=(1,),
        objective=asked.spec.objective,
    )
    lease = Lease(LeaseName(1), 1, DEVICE.name, "w", LeaseState.ACTIVE, NOW)
    return to_grant(lease_message(Grant(lease, recipe), 1.0, "/out", 1.0)).recipe


@pytest.mark.parametrize(
    ("max_steps", "execution"), [(100_000, Execution.COMPILED), (100, Execution.FUSED)], ids=["long", "short"]
)
async def test_a_study_long_enough_has_its_bundles_compiled_by_the_worker(client, builder, max_steps, execution):
    asked = study(max_steps)
    surrogate = await ready_surrogate(client, asked)
    assert {request.max_steps for request in builder.requests} == {max_steps}
    (plan,) = await client.plan_bundles(surrogate, asked, trials(8), [DEVICE], {})
    assert plan.execution is coordinator_bundle.Execution[execution.name]
    assert read_by_a_worker(plan, asked).execution is execution


async def test_a_plan_stays_under_what_the_device_refused(client, builder):
    asked = study(100)
    surrogate = await ready_surrogate(client, asked)
    misses = {DEVICE.name: [coordinator_bundle.MemoryMiss(8, 500, refused=True)]}
    plans = await client.plan_bundles(surrogate, asked, trials(8), [DEVICE], misses)
    assert {plan.micro_lanes for plan in plans} == {4}
    other = Device(DeviceName("devices/1"), DeviceKind.CPU)
    (plan,) = await client.plan_bundles(surrogate, asked, trials(8), [other], misses)
    assert plan.micro_lanes == 8


@pytest.mark.parametrize("execution", list(coordinator_bundle.Execution))
def test_a_worker_reads_every_execution_that_the_coordinator_knows(execution):
    plan = coordinator_bundle.PlannedBundle(STUDY, TrialKind.SEARCH, (0,), execution)
    assert read_by_a_worker(plan, study(1)).execution is Execution[execution.name]


async def test_a_bundle_runs_with_the_threads_that_its_profile_was_measured_with(client, builder):
    asked, name = study(100), SurrogateName("p", "s")
    await client.create_surrogate(name, asked.spec, "/out", threads=3)
    # A device with fewer threads has come meanwhile: it is the same surrogate all the same.
    await client.until_built(name)
    surrogate = await client.create_surrogate(name, asked.spec, "/out", threads=2)
    assert [request.threads for request in builder.requests] == [3]
    (plan,) = await client.plan_bundles(surrogate, asked, trials(8), [DEVICE], {})
    assert read_by_a_worker(plan, asked).threads == PROFILE.threads == 3


def test_a_profile_is_measured_with_the_threads_that_every_device_gives():
    devices = [replace(DEVICE, threads=threads) for threads in (4, 0, 2)]
    assert least_threads(devices) == 2
    assert least_threads([*devices, replace(DEVICE, threads=1, state=DeviceState.GONE)]) == 2
    assert least_threads([DEVICE]) == 0
