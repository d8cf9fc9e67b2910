"""The tuner over the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import grpc

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2, tuner_service_pb2_grpc
from hydro.api.type.v1 import bundle_pb2
from hydro.coordinator.bundle import Execution, MemoryMiss, PlannedBundle
from hydro.coordinator.device import Device
from hydro.coordinator.messages import (
    artifact_of,
    search_space_message,
    task_message,
    verification_message,
)
from hydro.coordinator.names import DeviceName, SurrogateName, TrialName
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Study, StudySpec
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.trial import Hyperparameters, Trial, TrialKind
from hydro.kit.errors import InvalidArgument, NotFound
from hydro.kit.values import value_messages, values_of

_STATES = {
    surrogate_pb2.SURROGATE_STATE_BUILDING: SurrogateState.BUILDING,
    surrogate_pb2.SURROGATE_STATE_READY: SurrogateState.READY,
    surrogate_pb2.SURROGATE_STATE_FAILED: SurrogateState.FAILED,
}
_EXECUTIONS = {
    bundle_pb2.EXECUTION_FUSED: Execution.FUSED,
    bundle_pb2.EXECUTION_COMPILED: Execution.COMPILED,
    bundle_pb2.EXECUTION_SEPARATE: Execution.SEPARATE,
}
_IN_THE_GRAPH = (surrogate_pb2.ROLE_STRUCTURAL, surrogate_pb2.ROLE_UNSPECIFIED)
DEADLINE_SECONDS = 20.0


class TunerClient:
    """The port `Tuner`, over a channel."""

    def __init__(self, channel: grpc.aio.Channel, max_lanes: int) -> None:
        self._stub = tuner_service_pb2_grpc.TunerServiceStub(channel)
        self._max_lanes = max_lanes

    async def create_surrogate(
        self, name: SurrogateName, spec: StudySpec, artifact_uri: str, threads: int = 0
    ) -> Surrogate:
        """Starts to make the surrogate, or gives the one of that name as it stands."""
        if spec.task is None:
            raise InvalidArgument(f"{name}: a study without a task has no surrogate")
        message = await self._stub.CreateSurrogate(
            tuner_service_pb2.CreateSurrogateRequest(
                parent=f"projects/{name.project}",
                surrogate_id=name.surrogate,
                task=task_message(spec.task),
                width=spec.surrogate_width,
                depth=spec.surrogate_depth,
                search_space=search_space_message(spec.search_space),
                objective_metric=spec.objective.metric,
                artifact_uri=artifact_uri,
                request_id=str(name),
                max_lanes=min(self._max_lanes, spec.parallelism),
                verification=verification_message(spec.verification),
                max_steps=spec.max_steps,
                threads=threads,
            ),
            timeout=DEADLINE_SECONDS,
        )
        return surrogate_of(message)

    async def until_built(self, name: SurrogateName) -> None:
        """Returns once the surrogate is built, or never will be, or the tuner does not know it any more."""
        with contextlib.suppress(NotFound):
            async for surrogate in self._stub.WatchSurrogate(tuner_service_pb2.WatchSurrogateRequest(name=str(name))):
                if surrogate.state != surrogate_pb2.SURROGATE_STATE_BUILDING:
                    return

    async def plan_bundles(
        self,
        surrogate: Surrogate,
        study: Study,
        trials: Sequence[Trial],
        devices: Sequence[Device],
        misses: Mapping[DeviceName, Sequence[MemoryMiss]],
    ) -> Sequence[PlannedBundle]:
        """Puts each trial into one bundle, for these idle devices."""
        request = tuner_service_pb2.PlanBundlesRequest(surrogate=_record(surrogate), max_steps=study.spec.max_steps)
        for trial in trials:
            request.trials.add(
                trial=str(trial.name),
                hyperparameters=value_messages(trial.hyperparameters),
                steps=trial.checkpoint_steps,
            )
        for device in devices:
            request.devices.add(
                device=str(device.name),
                memory_bytes=device.memory_bytes,
                bubble_seconds=device.bubble_seconds,
                memory_misses=[bundle_pb2.MemoryMiss(**asdict(miss)) for miss in misses.get(device.name, ())],
            )
        answer = await self._stub.PlanBundles(request, timeout=DEADLINE_SECONDS)
        return [_bundle_of(study, each) for each in answer.bundles]

    async def transfer(
        self, surrogate: Surrogate, space: SearchSpace, hyperparameters: Hyperparameters, batch_ratio: float = 1.0
    ) -> Hyperparameters:
        """What becomes of the surrogate's hyperparameters on the target."""
        request = tuner_service_pb2.TransferHyperparametersRequest(
            surrogate=_record(surrogate),
            search_space=search_space_message(space),
            hyperparameters=value_messages(hyperparameters),
            batch_ratio=batch_ratio,
        )
        answer = await self._stub.TransferHyperparameters(request, timeout=DEADLINE_SECONDS)
        return values_of(answer.hyperparameters)


def surrogate_of(message: surrogate_pb2.Surrogate) -> Surrogate:
    """The surrogate, with the whole message as its record."""
    return Surrogate(
        name=SurrogateName.parse(message.name),
        state=_STATES[message.state],
        state_reason=message.state_reason,
        width=message.width or message.requested_width,
        warnings=tuple(message.warnings),
        fingerprint=message.task.fingerprint,
        lane_hyperparameters=frozenset(each.hyperparameter for each in message.roles if each.role not in _IN_THE_GRAPH),
        artifact=artifact_of(message.artifact) if message.HasField("artifact") else None,
        record=message.SerializeToString(),
    )


def _record(surrogate: Surrogate) -> surrogate_pb2.Surrogate:
    return surrogate_pb2.Surrogate.FromString(surrogate.record)


def _bundle_of(study: Study, message: tuner_service_pb2.PlannedBundle) -> PlannedBundle:
    return PlannedBundle(
        study=study.name,
        kind=TrialKind.SEARCH,
        trials=tuple(TrialName.parse(name, "trials").number for name in message.trials),
        execution=_EXECUTIONS.get(message.execution, Execution.SEPARATE),
        max_lanes=message.max_lanes,
        micro_lanes=message.micro_lanes,
        memory_bytes=message.memory_bytes,
        segment_seconds=message.segment_seconds,
        structure=values_of(message.structure),
        threads=message.threads,
    )
