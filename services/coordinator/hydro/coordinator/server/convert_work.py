"""Between the messages of WorkerService and DeviceService and the coordinator's values."""

from __future__ import annotations

import math

from hydro.api.coordinator.v1 import device_service_pb2, worker_service_pb2
from hydro.api.type.v1 import bundle_pb2
from hydro.coordinator.bundle import MemoryMiss
from hydro.coordinator.command_messages import command_message
from hydro.coordinator.device import REGISTERED, Device, DeviceKind
from hydro.coordinator.judgement import LaneReport
from hydro.coordinator.messages import (
    artifact_message,
    artifact_of,
    measurement_of,
    objective_message,
    task_message,
)
from hydro.coordinator.names import DeviceName, LeaseName, TrialName
from hydro.coordinator.recipe import Grant, Recipe
from hydro.coordinator.reporting import ReportAnswer, ReportMessage
from hydro.coordinator.server.convert import timestamp
from hydro.coordinator.trial import MAX_STEPS, Trial, TrialKind
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.kit.values import value_messages

_KINDS = {
    device_service_pb2.DEVICE_KIND_CPU: DeviceKind.CPU,
    device_service_pb2.DEVICE_KIND_GPU: DeviceKind.GPU,
}


def lease_message(
    grant: Grant, lease_seconds: float, artifact_uri: str, checkpoint_seconds: float
) -> worker_service_pb2.Lease:
    """The message of a lease with its bundle's recipe."""
    recipe = recipe_message(grant.recipe, artifact_uri)
    recipe.checkpoint_interval_seconds = checkpoint_seconds
    return worker_service_pb2.Lease(
        name=str(grant.lease.name),
        fencing_token=grant.lease.fencing_token,
        expire_time=timestamp(grant.lease.expire_time),
        duration_seconds=lease_seconds,
        recipe=recipe,
        gate=grant.gate,
        device_memory_bytes=grant.device_memory_bytes,
    )


def recipe_message(recipe: Recipe, artifact_uri: str) -> bundle_pb2.BundleRecipe:
    """The message of a bundle's recipe."""
    message = bundle_pb2.BundleRecipe(
        task=None if recipe.task is None else task_message(recipe.task),
        command=None if recipe.command is None else command_message(recipe.command),
        artifact_uri=artifact_uri and artifact_uri.rstrip("/") + recipe.artifact_path,
        width=recipe.width,
        execution=bundle_pb2.Execution.Value(f"EXECUTION_{recipe.execution.name}"),
        max_lanes=recipe.max_lanes,
        micro_lanes=recipe.micro_lanes,
        memory_bytes=recipe.memory_bytes,
        threads=recipe.threads,
        lanes=map(lane_message, recipe.lanes),
        data_seed=recipe.data_seed,
        measured_steps=recipe.measured_steps,
        objective=objective_message(recipe.objective),
    )
    if recipe.surrogate is not None:
        message.surrogate.CopyFrom(artifact_message(recipe.surrogate))
    return message


def lane_message(trial: Trial) -> bundle_pb2.Lane:
    """The message of a trial that becomes a lane. A target goes through the schedule that it was given."""
    hyperparameters, changes = trial.hyperparameters, trial.schedule[:0]
    if trial.kind is TrialKind.TARGET and trial.schedule:
        done = [each for each in trial.schedule if each.step <= trial.checkpoint_steps]
        hyperparameters, changes = done[-1].hyperparameters, trial.schedule[len(done) :]
    message = bundle_pb2.Lane(
        trial=str(trial.name),
        hyperparameters=value_messages(hyperparameters),
        seed=trial.seed,
        start_step=trial.checkpoint_steps,
        changes=[
            bundle_pb2.LaneChange(step=each.step, hyperparameters=value_messages(each.hyperparameters))
            for each in changes
        ],
    )
    if trial.checkpoint is not None:
        message.checkpoint.CopyFrom(artifact_message(trial.checkpoint))
    return message


def report_message(request: worker_service_pb2.ReportMeasurementsRequest) -> ReportMessage:
    """What a worker reports."""
    violations = []
    if not (math.isfinite(request.device_seconds) and request.device_seconds >= 0):
        violations.append(
            FieldViolation("device_seconds", f"is {request.device_seconds}: give a finite one, 0 or more")
        )
    if request.sequence < 1:
        violations.append(FieldViolation("sequence", f"is {request.sequence}: count a lease's messages from 1"))
    for index, report in enumerate(request.reports):
        if not (0 <= report.steps <= MAX_STEPS and 0 <= report.measurement.step <= MAX_STEPS):
            violations.append(FieldViolation(f"reports[{index}].steps", f"is not in [0, {MAX_STEPS}]"))
        if report.finished and report.HasField("measurement"):
            said = "excludes a measurement: send it before"
            violations.append(FieldViolation(f"reports[{index}].finished", said))
    for index, miss in enumerate(request.memory_misses):
        if miss.lanes < 1 or miss.memory_bytes < 0:
            said = f"has {miss.lanes} lanes and {miss.memory_bytes} bytes: give 1 lane or more, and 0 bytes or more"
            violations.append(FieldViolation(f"memory_misses[{index}]", said))
    if violations:
        raise InvalidArgument.of(violations)
    return ReportMessage(
        lease=LeaseName.parse(request.lease),
        fencing_token=request.fencing_token,
        sequence=request.sequence,
        reports=tuple(map(_lane_report, request.reports)),
        free_lanes=request.free_lanes,
        device_seconds=request.device_seconds,
        fusion_count=request.fusion_count,
        misses=tuple(MemoryMiss(miss.lanes, miss.memory_bytes, miss.refused) for miss in request.memory_misses),
    )


def _lane_report(message: worker_service_pb2.LaneReport) -> LaneReport:
    return LaneReport(
        trial=TrialName.parse(message.trial, "reports.trial"),
        steps=message.steps,
        measurement=measurement_of(message.measurement) if message.HasField("measurement") else None,
        checkpoint=artifact_of(message.checkpoint) if message.HasField("checkpoint") else None,
        log=message.log,
        failure=message.failure,
        finished=message.finished,
        value=message.value if message.HasField("value") else None,
    )


def answer_message(answer: ReportAnswer) -> worker_service_pb2.ReportMeasurementsResponse:
    """The message of what a report's lanes do next."""
    verdicts = [
        worker_service_pb2.LaneVerdict(
            trial=str(trial), verdict=worker_service_pb2.Verdict.Value(f"VERDICT_{verdict.name}")
        )
        for trial, verdict in answer.verdicts
    ]
    return worker_service_pb2.ReportMeasurementsResponse(
        sequence=answer.sequence,
        verdicts=verdicts,
        insertions=map(lane_message, answer.insertions),
        clones=[
            worker_service_pb2.LaneClone(lane=lane_message(each.trial), parent=str(each.parent))
            for each in answer.clones
        ],
        expire_time=timestamp(answer.expire_time),
        release_requested=answer.release_requested,
    )


def device_of(message: device_service_pb2.Device) -> Device:
    """A device that its own worker registers."""
    violations = []
    name = DeviceName.parse(message.name, "device.name")
    if message.kind not in _KINDS or "/slots/" in message.name:
        violations.append(FieldViolation("device.kind", "is not CPU or GPU: give one; slots come from their squeezer"))
    if message.memory_bytes < 0:
        violations.append(FieldViolation("device.memory_bytes", f"is {message.memory_bytes}: give 0 (unknown) or more"))
    if message.threads < 0:
        violations.append(FieldViolation("device.threads", f"is {message.threads}: give 0 (unknown) or more"))
    if violations:
        raise InvalidArgument.of(violations)
    return Device(
        name=name,
        kind=_KINDS[message.kind],
        model=message.model,
        memory_bytes=message.memory_bytes,
        cpu_cores=tuple(message.cpu_cores),
        gpu_index=message.gpu_index if message.HasField("gpu_index") else None,
        threads=message.threads,
        source=REGISTERED,
    )


def device_message(device: Device) -> device_service_pb2.Device:
    """The message of a device."""
    message = device_service_pb2.Device(
        name=str(device.name),
        kind=device_service_pb2.DeviceKind.Value(f"DEVICE_KIND_{device.kind.name}"),
        state=device_service_pb2.DeviceState.Value(f"DEVICE_STATE_{device.state.name}"),
        model=device.model,
        memory_bytes=device.memory_bytes,
        cpu_cores=device.cpu_cores,
        duty_cycle=device.duty_cycle,
        bubble_seconds=device.bubble_seconds,
        lease=str(device.lease or ""),
        threads=device.threads,
    )
    if device.gpu_index is not None:
        message.gpu_index = device.gpu_index
    if device.update_time is not None:
        message.update_time.CopyFrom(timestamp(device.update_time))
    return message
