"""Between the contract's messages and the worker's values."""

from __future__ import annotations

from dataclasses import asdict

from hydro.api.coordinator.v1 import device_service_pb2 as device_pb
from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.type.v1 import bundle_pb2, metric_pb2, task_pb2
from hydro.client.command_convert import command_value
from hydro.kit.artifacts import StoredArtifact
from hydro.kit.values import values_of
from hydro.tuner.training.execution import Execution
from hydro.worker.own_device import OwnDevice
from hydro.worker.recipe import Grant, Lane, LaneChange, Recipe
from hydro.worker.round import Answer, ClonedLane, LaneNews, Round, Verdict

_EXECUTIONS = {
    bundle_pb2.EXECUTION_FUSED: Execution.FUSED,
    bundle_pb2.EXECUTION_COMPILED: Execution.COMPILED,
    bundle_pb2.EXECUTION_SEPARATE: Execution.SEPARATE,
}
_VERDICTS = {
    worker_pb.VERDICT_CONTINUE: Verdict.CONTINUE,
    worker_pb.VERDICT_PAUSE: Verdict.PAUSE,
    worker_pb.VERDICT_PRUNE: Verdict.PRUNE,
    worker_pb.VERDICT_STOP: Verdict.STOP,
}


def from_own_device(device: OwnDevice) -> device_pb.Device:
    """Writes the device that the worker brings."""
    return device_pb.Device(
        name=device.name,
        kind=device_pb.DEVICE_KIND_GPU if device.is_gpu else device_pb.DEVICE_KIND_CPU,
        model=device.model,
        memory_bytes=device.memory_bytes,
        cpu_cores=device.cpu_cores,
        threads=device.threads,
    )


def to_grant(message: worker_pb.Lease) -> Grant:
    """Reads a lease."""
    return Grant(
        name=message.name,
        fencing_token=message.fencing_token,
        duration_seconds=message.duration_seconds,
        recipe=to_recipe(message.recipe),
        gate=message.gate,
        device_memory_bytes=message.device_memory_bytes,
    )


def to_recipe(message: bundle_pb2.BundleRecipe) -> Recipe:
    """Reads a bundle's recipe."""
    return Recipe(
        entry_point=message.task.entry_point,
        source_path=message.task.source_path or message.command.source_path,
        fingerprint=message.task.fingerprint,
        width=message.width,
        surrogate=to_artifact(message.surrogate) if message.HasField("surrogate") else None,
        execution=_EXECUTIONS[message.execution],
        max_lanes=message.max_lanes,
        micro_lanes=message.micro_lanes,
        memory_bytes=message.memory_bytes,
        threads=message.threads,
        lanes=tuple(to_lane(lane) for lane in message.lanes),
        data_seed=message.data_seed,
        measured_steps=tuple(message.measured_steps),
        objective=message.objective.metric,
        artifact_uri=message.artifact_uri,
        checkpoint_interval_seconds=message.checkpoint_interval_seconds,
        command=command_value(message.command) if message.HasField("command") else None,
    )


def to_lane(message: bundle_pb2.Lane) -> Lane:
    """Reads a lane."""
    return Lane(
        trial=message.trial,
        hyperparameters=values_of(message.hyperparameters),
        seed=message.seed,
        checkpoint=to_artifact(message.checkpoint) if message.HasField("checkpoint") else None,
        start_step=message.start_step,
        changes=tuple(LaneChange(each.step, values_of(each.hyperparameters)) for each in message.changes),
    )


def to_artifact(message: task_pb2.Artifact) -> StoredArtifact:
    """Reads where a file is."""
    return StoredArtifact(message.uri, message.digest, message.size_bytes)


def to_answer(message: worker_pb.ReportMeasurementsResponse) -> Answer:
    """Reads the answer to a round."""
    return Answer(
        verdicts={verdict.trial: _VERDICTS[verdict.verdict] for verdict in message.verdicts},
        insertions=tuple(to_lane(lane) for lane in message.insertions),
        clones=tuple(ClonedLane(to_lane(each.lane), each.parent) for each in message.clones),
        release_requested=message.release_requested,
    )


def from_round(grant: Grant, spoken: Round) -> worker_pb.ReportMeasurementsRequest:
    """Writes a round."""
    return worker_pb.ReportMeasurementsRequest(
        lease=grant.name,
        fencing_token=grant.fencing_token,
        sequence=spoken.sequence,
        reports=[_from_news(news) for news in spoken.news],
        free_lanes=spoken.free_lanes,
        device_seconds=spoken.device_seconds,
        fusion_count=spoken.fusion_count,
        memory_misses=[bundle_pb2.MemoryMiss(**asdict(miss)) for miss in spoken.misses],
    )


def _from_news(news: LaneNews) -> worker_pb.LaneReport:
    message = worker_pb.LaneReport(trial=news.trial, steps=news.steps, log=news.log, failure=news.failure)
    message.finished = news.finished
    if news.value is not None:
        message.value = news.value
    if news.metrics is not None:
        message.measurement.CopyFrom(metric_pb2.Measurement(step=news.steps, metrics=news.metrics))
    if news.checkpoint is not None:
        stored = news.checkpoint
        message.checkpoint.CopyFrom(
            task_pb2.Artifact(uri=stored.uri, digest=stored.digest, size_bytes=stored.size_bytes)
        )
    return message
