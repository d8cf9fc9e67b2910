"""TunerService over a real channel, with a builder that builds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import grpc
import pytest

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2, tuner_service_pb2_grpc
from hydro.api.type.v1 import bundle_pb2, search_space_pb2, task_pb2, verification_pb2
from hydro.kit.channel import open_channel
from hydro.kit.errors import AlreadyExists, InvalidArgument, NotFound
from hydro.kit.interceptors import ServerCalls
from hydro.tuner.building.request import BuildRequest, BuildResult, BuiltArtifact, Check
from hydro.tuner.building.surrogate_cache import SurrogateCache
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.role import Role
from hydro.tuner.server.tuner_servicer import TunerServicer
from hydro.tuner.shrinking.check_figures import CheckFigures, RungFigure, SlopeFigure
from hydro.tuner.shrinking.transfer import Effect, Transfer, TransferKind

RESULT = BuildResult(
    fingerprint="sha256:source",
    width=0.125,
    warnings=("careful",),
    report="64 > 8",
    parameters=10,
    target_parameters=640,
    artifact=BuiltArtifact("/out/a.json", "sha256:2", 12),
    roles={"lr": Role.OPTIMIZER, "batch_size": Role.STRUCTURAL},
    profile=Profile((ProfilePoint(1, 0.01, 100, 0.004), ProfilePoint(8, 0.02, 200, 0.008)), 0.01, 90, 0.003, 0.5, 900),
)
COMPILED = replace(RESULT, profile=replace(RESULT.profile, compiled=CompiledPoint(8, 0.01, 20.0, 4096, 300)))


@dataclass
class InstantBuilder:
    """Gives one result at once, and keeps what it was asked."""

    result: BuildResult = RESULT
    go: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[BuildRequest] = field(default_factory=list)

    async def build(self, request: BuildRequest) -> BuildResult:
        self.requests.append(request)
        await self.go.wait()
        return self.result


@pytest.fixture
def builder() -> InstantBuilder:
    return InstantBuilder()


@pytest.fixture
async def tuner(builder: InstantBuilder) -> AsyncIterator[tuner_service_pb2_grpc.TunerServiceAsyncStub]:
    cache = SurrogateCache(builder)
    server = grpc.aio.server(interceptors=[ServerCalls()])
    tuner_service_pb2_grpc.add_TunerServiceServicer_to_server(TunerServicer(cache), server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with open_channel(f"localhost:{port}") as channel:
        yield tuner_service_pb2_grpc.TunerServiceStub(channel)
    await server.stop(None)
    await cache.close()


def number(value: float) -> search_space_pb2.Value:
    return search_space_pb2.Value(double_value=value)


def whole(value: int) -> search_space_pb2.Value:
    return search_space_pb2.Value(int_value=value)


def space() -> search_space_pb2.SearchSpace:
    rate = search_space_pb2.FloatDomain(min=1e-3, max=1.0, log=True)
    sizes = search_space_pb2.CategoricalDomain(values=[whole(64), whole(128)])
    return search_space_pb2.SearchSpace(
        parameters=[
            search_space_pb2.Parameter(name="lr", float_domain=rate),
            search_space_pb2.Parameter(name="batch_size", categorical_domain=sizes),
        ]
    )


def creation(**changes: object) -> tuner_service_pb2.CreateSurrogateRequest:
    fields: dict[str, object] = {
        "parent": "projects/p",
        "surrogate_id": "digits",
        "task": task_pb2.Task(entry_point="digits:Digits", source_path="/tasks"),
        "width": 0.125,
        "search_space": space(),
        "objective_metric": "validation_loss",
        "artifact_uri": "file:///out",
        "max_lanes": 32,
        "max_steps": 800,
    }
    return tuner_service_pb2.CreateSurrogateRequest(**(fields | changes))  # type: ignore[arg-type]


NAME = "projects/p/surrogates/digits"


async def built(tuner, builder, **changes: object) -> surrogate_pb2.Surrogate:
    builder.go.set()
    await tuner.CreateSurrogate(creation(**changes))
    watched = [each async for each in tuner.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=NAME))]
    return watched[-1]


async def test_a_new_surrogate_is_building(tuner, builder):
    surrogate = await tuner.CreateSurrogate(creation())
    assert (surrogate.name, surrogate.requested_width) == (NAME, 0.125)
    assert surrogate.state == surrogate_pb2.SURROGATE_STATE_BUILDING
    assert surrogate.create_time.seconds > 0


async def test_the_build_gets_what_was_asked_and_values_that_stand_for_each_domain(tuner, builder):
    await built(tuner, builder, depth=0.5)
    (request,) = builder.requests
    assert (request.entry_point, request.source_path) == ("digits:Digits", "/tasks")
    assert request.values == {"lr": (1e-3, 1.0), "batch_size": (64, 128)}
    assert (request.width, request.max_lanes, request.artifact_uri) == (0.125, 32, "file:///out")
    assert (request.max_steps, request.depth) == (800, 0.5)


async def test_a_watch_gives_every_state_to_the_end(tuner, builder):
    await tuner.CreateSurrogate(creation())
    states = []
    async for surrogate in tuner.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=NAME)):
        states.append(surrogate.state)
        builder.go.set()
    assert states == [surrogate_pb2.SURROGATE_STATE_BUILDING, surrogate_pb2.SURROGATE_STATE_READY]


async def test_a_ready_surrogate_tells_all_that_was_found(tuner, builder):
    surrogate = await built(tuner, builder)
    assert surrogate.task.fingerprint == "sha256:source"
    assert surrogate.artifact.digest == "sha256:2"
    assert (surrogate.width, surrogate.parameters, surrogate.target_parameters) == (0.125, 10, 640)
    assert list(surrogate.warnings) == ["careful"]
    assert {each.hyperparameter: each.role for each in surrogate.roles} == {
        "lr": surrogate_pb2.ROLE_OPTIMIZER,
        "batch_size": surrogate_pb2.ROLE_STRUCTURAL,
    }
    assert [point.lanes for point in surrogate.profile.fused] == [1, 8]
    assert surrogate.profile.separate_segment_seconds == 0.003


async def test_checks_are_passed_on_and_their_figures_come_back(tuner, builder):
    builder.result = replace(
        RESULT,
        checks=CheckFigures(
            (SlopeFigure("head", 0.4, 0.1, "fail"),), (RungFigure(0.125, -3.5, ((-4.0, 0.6), (-3.5, 0.5))),)
        ),
    )
    asked = verification_pb2.Verification(checks=[verification_pb2.CHECK_LADDER], accept_failed_checks=True)
    surrogate = await built(tuner, builder, verification=asked, max_steps=100)
    assert builder.requests[0].checks == (Check.LADDER,) and builder.requests[0].accept_failed_checks
    (slope,), (rung,) = surrogate.checks.slopes, surrogate.checks.rungs
    assert (slope.layer, slope.slope, slope.verdict) == ("head", 0.4, surrogate_pb2.CHECK_VERDICT_FAIL)
    assert [(each.lr_log2, each.validation_loss) for each in rung.losses] == [(-4.0, 0.6), (-3.5, 0.5)]


async def test_a_failed_surrogate_tells_why(tuner, builder):
    builder.result = BuildResult(failure="the task raised KeyError: 'depth'")
    surrogate = await built(tuner, builder)
    assert surrogate.state == surrogate_pb2.SURROGATE_STATE_FAILED
    assert "KeyError" in surrogate.state_reason


async def test_the_same_request_twice_builds_once(tuner, builder):
    await tuner.CreateSurrogate(creation(request_id="one"))
    await tuner.CreateSurrogate(creation(request_id="two"))
    assert len(builder.requests) == 1


async def test_another_request_of_the_same_name_is_refused(tuner, builder):
    await tuner.CreateSurrogate(creation())
    with pytest.raises(AlreadyExists):
        await tuner.CreateSurrogate(creation(width=0.25))


async def test_a_deleted_surrogate_is_not_found_and_can_be_made_again(tuner, builder):
    await tuner.CreateSurrogate(creation())
    await tuner.DeleteSurrogate(tuner_service_pb2.DeleteSurrogateRequest(name=NAME))
    with pytest.raises(NotFound):
        await tuner.GetSurrogate(tuner_service_pb2.GetSurrogateRequest(name=NAME))
    await tuner.CreateSurrogate(creation(width=0.25))


async def test_watching_what_is_not_there_is_not_found(tuner):
    with pytest.raises(NotFound, match="create it again"):
        [each async for each in tuner.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=NAME))]


def parameters(*listed: search_space_pb2.Parameter) -> search_space_pb2.SearchSpace:
    return search_space_pb2.SearchSpace(parameters=listed)


def wanted(*checks: int) -> verification_pb2.Verification:
    return verification_pb2.Verification(checks=checks)  # type: ignore[arg-type]


def floats(name: str = "lr", **domain: float) -> search_space_pb2.Parameter:
    return search_space_pb2.Parameter(name=name, float_domain=search_space_pb2.FloatDomain(**domain))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"parent": "digits"}, "parent"),
        ({"surrogate_id": "Digits"}, "surrogate_id"),
        ({"task": task_pb2.Task(entry_point="digits")}, "task.entry_point"),
        ({"width": 0.0}, "width"),
        ({"width": 1.5}, "width"),
        ({"width": float("nan")}, "width"),
        ({"depth": 0.0}, "depth"),
        ({"depth": 0.5, "width": 1.0}, "depth"),
        ({"objective_metric": ""}, "objective_metric"),
        ({"artifact_uri": ""}, "artifact_uri"),
        ({"max_lanes": 0}, "max_lanes"),
        ({"max_steps": -1}, "max_steps"),
        ({"verification": wanted(0)}, "verification.checks[0]"),
        ({"verification": wanted(1, 1)}, "verification.checks[1]"),
        ({"verification": wanted(1), "width": 1.0}, "verification.checks"),
        ({"verification": wanted(2), "max_steps": 0}, "max_steps"),
        ({"search_space": parameters()}, "search_space.parameters"),
        ({"search_space": parameters(floats("9"))}, "search_space.parameters[0].name"),
        ({"search_space": parameters(floats(), floats())}, "search_space.parameters[1].name"),
        ({"search_space": parameters(search_space_pb2.Parameter(name="lr"))}, "search_space.parameters[0]"),
        (
            {"search_space": parameters(floats(min=2.0, max=1.0))},
            "search_space.parameters[0].float_domain.min",
        ),
        (
            {"search_space": parameters(floats(min=0.0, max=1.0, log=True))},
            "search_space.parameters[0].float_domain.min",
        ),
        (
            {"search_space": parameters(floats(min=0.0, max=float("inf")))},
            "search_space.parameters[0].float_domain",
        ),
        (
            {
                "search_space": parameters(
                    search_space_pb2.Parameter(name="a", categorical_domain=search_space_pb2.CategoricalDomain())
                )
            },
            "search_space.parameters[0].categorical_domain.values",
        ),
        (
            {
                "search_space": parameters(
                    search_space_pb2.Parameter(name="a", constant_domain=search_space_pb2.ConstantDomain())
                )
            },
            "search_space.parameters[0].constant_domain.value",
        ),
    ],
)
async def test_a_wrong_field_is_named(tuner, builder, changes, field):
    with pytest.raises(InvalidArgument) as refused:
        await tuner.CreateSurrogate(creation(**changes))
    assert [violation.field for violation in refused.value.violations] == [field]
    assert builder.requests == []


async def test_every_wrong_field_is_named_at_once(tuner):
    with pytest.raises(InvalidArgument) as refused:
        await tuner.CreateSurrogate(tuner_service_pb2.CreateSurrogateRequest())
    assert {violation.field for violation in refused.value.violations} == {
        *("parent", "surrogate_id", "task.entry_point", "width", "objective_metric", "artifact_uri", "max_lanes"),
        "search_space.parameters",
    }


async def test_a_plan_is_made_of_the_request_alone(tuner, builder):
    surrogate = await built(tuner, builder)
    trials = [
        tuner_service_pb2.PlannedTrial(trial=f"t{i}", hyperparameters={"lr": number(i), "batch_size": whole(64)})
        for i in range(3)
    ]
    odd = tuner_service_pb2.PlannedTrial(trial="t3", hyperparameters={"lr": number(0), "batch_size": whole(128)})
    request = tuner_service_pb2.PlanBundlesRequest(
        surrogate=surrogate, trials=[*trials, odd], devices=[tuner_service_pb2.PlannedDevice(device="devices/cpu")]
    )
    large, small = (await tuner.PlanBundles(request)).bundles
    assert list(large.trials) == ["t0", "t1", "t2"]
    assert dict(large.structure) == {"batch_size": whole(64)}
    assert large.execution == bundle_pb2.EXECUTION_FUSED
    assert (large.max_lanes, large.micro_lanes, large.memory_bytes, large.segment_seconds) == (8, 8, 200, 0.008)
    assert dict(small.structure) == {"batch_size": whole(128)}


@pytest.mark.parametrize(
    ("max_steps", "execution"),
    [(100_000, bundle_pb2.EXECUTION_COMPILED), (100, bundle_pb2.EXECUTION_FUSED), (0, bundle_pb2.EXECUTION_COMPILED)],
)
async def test_a_bundle_is_compiled_where_the_steps_of_the_study_pay_for_it(tuner, builder, max_steps, execution):
    builder.result = COMPILED
    surrogate = await built(tuner, builder)
    trials = [tuner_service_pb2.PlannedTrial(trial=f"t{i}", hyperparameters={"lr": number(i)}) for i in range(8)]
    request = tuner_service_pb2.PlanBundlesRequest(surrogate=surrogate, trials=trials, max_steps=max_steps)
    (bundle,) = (await tuner.PlanBundles(request)).bundles
    assert (bundle.execution, bundle.micro_lanes) == (execution, 8)


async def test_a_compiled_form_that_cannot_have_been_measured_is_refused(tuner):
    profile = surrogate_pb2.Profile(compiled=surrogate_pb2.CompiledPoint(lanes=3))
    request = tuner_service_pb2.PlanBundlesRequest(surrogate=surrogate_pb2.Surrogate(profile=profile), max_steps=-1)
    with pytest.raises(InvalidArgument) as refused:
        await tuner.PlanBundles(request)
    assert {violation.field for violation in refused.value.violations} == {
        *(f"surrogate.profile.compiled.{field}" for field in ("lanes", "step_seconds", "bundle_steps")),
        "max_steps",
    }


async def test_a_memory_miss_that_nobody_can_have_met_is_refused(tuner):
    device = tuner_service_pb2.PlannedDevice(memory_misses=[bundle_pb2.MemoryMiss(lanes=0, memory_bytes=-1)])
    with pytest.raises(InvalidArgument) as refused:
        await tuner.PlanBundles(tuner_service_pb2.PlanBundlesRequest(devices=[device]))
    assert {violation.field for violation in refused.value.violations} == {
        f"devices[0].memory_misses[0].{field}" for field in ("lanes", "memory_bytes")
    }


async def test_a_profile_that_cannot_have_been_measured_is_refused(tuner):
    profile = surrogate_pb2.Profile(fused=[surrogate_pb2.ProfilePoint(lanes=0, step_seconds=0)])
    request = tuner_service_pb2.PlanBundlesRequest(surrogate=surrogate_pb2.Surrogate(profile=profile))
    with pytest.raises(InvalidArgument) as refused:
        await tuner.PlanBundles(request)
    assert {violation.field for violation in refused.value.violations} == {
        "surrogate.profile.fused[0].lanes",
        "surrogate.profile.fused[0].step_seconds",
    }


async def test_a_trial_that_is_there_twice_is_refused(tuner):
    trial = tuner_service_pb2.PlannedTrial(trial="t")
    with pytest.raises(InvalidArgument):
        await tuner.PlanBundles(tuner_service_pb2.PlanBundlesRequest(trials=[trial, trial]))


async def test_numbers_of_the_graph_do_not_transfer_and_the_optimizers_do(tuner, builder):
    builder.result = BuildResult(width=0.125, roles={"lr": Role.OPTIMIZER, "dropout": Role.NUMERIC})
    request = tuner_service_pb2.TransferHyperparametersRequest(
        surrogate=await built(tuner, builder), hyperparameters={"lr": number(0.1), "dropout": number(0.2)}
    )
    response = await tuner.TransferHyperparameters(request)
    assert dict(response.hyperparameters) == {"lr": number(0.1)}
    kinds = {each.hyperparameter: each.kind for each in response.transfers}
    assert kinds["dropout"] == surrogate_pb2.TRANSFER_KIND_NOT_TRANSFERABLE
    assert kinds["lr"] == surrogate_pb2.TRANSFER_KIND_RESCALED
    assert all(each.explanation for each in response.transfers)


async def test_a_surrogate_tells_what_will_become_of_each_hyperparameter(tuner, builder):
    told = Transfer("lr", TransferKind.RESCALED, "as the table has it")
    effects = {"lr": Effect(options=("lr",)), "jitter": Effect(changes_data_alone=True)}
    roles = dict.fromkeys(effects, Role.OPTIMIZER)
    builder.result = BuildResult(width=0.125, roles=roles, effects=effects, transfers=(told,), optimizer_family="AdamW")
    surrogate = await built(tuner, builder)
    assert surrogate.transfers[0].kind == surrogate_pb2.TRANSFER_KIND_RESCALED and surrogate.transfers[0].explanation
    assert [(*each.optimizer_options, each.changes_data_alone) for each in surrogate.roles] == [("lr", False), (True,)]


async def test_a_larger_batch_rescales_by_the_optimizers_rule_and_warns(tuner, builder):
    effects, roles = {"lr": Effect(options=("lr",))}, {"lr": Role.OPTIMIZER}
    builder.result = BuildResult(width=0.125, roles=roles, effects=effects, optimizer_family="AdamW")
    request = tuner_service_pb2.TransferHyperparametersRequest(
        surrogate=await built(tuner, builder), hyperparameters={"lr": number(0.1)}, batch_ratio=4
    )
    response = await tuner.TransferHyperparameters(request)
    assert response.hyperparameters["lr"].double_value == pytest.approx(0.2)
    assert "goes with its root" in response.transfers[0].explanation and "4 times" in response.warnings[0]
    request.batch_ratio = -1
    with pytest.raises(InvalidArgument, match="batch_ratio"):
        await tuner.TransferHyperparameters(request)


async def test_what_the_search_space_marks_does_not_transfer(tuner, builder):
    marked = search_space_pb2.Parameter(name="lr", not_transferable=True)
    fidelity = search_space_pb2.Parameter(name="share", constant_domain={"value": number(1)}, not_transferable=True)
    request = tuner_service_pb2.TransferHyperparametersRequest(
        surrogate=await built(tuner, builder),
        search_space=parameters(marked, fidelity),
        hyperparameters={"lr": number(0.1), "share": number(1)},
    )
    assert not (await tuner.TransferHyperparameters(request)).hyperparameters


async def test_only_a_surrogate_that_is_built_transfers(tuner):
    with pytest.raises(InvalidArgument, match="READY"):
        await tuner.TransferHyperparameters(tuner_service_pb2.TransferHyperparametersRequest())
