"""Between the messages of TunerService and the tuner's values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from google.protobuf.timestamp_pb2 import Timestamp

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2
from hydro.api.type.v1 import bundle_pb2, search_space_pb2, task_pb2, verification_pb2
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.kit.values import value_messages, value_of, values_of
from hydro.tuner.building.request import BuildRequest, Check
from hydro.tuner.building.surrogate import Surrogate
from hydro.tuner.planning.activation import is_equal
from hydro.tuner.planning.plan import PlannedBundle, PlannedTrial, Value
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.role import Role
from hydro.tuner.planning.sizing import PlannedDevice
from hydro.tuner.shrinking.batch_scaling import BatchChange
from hydro.tuner.shrinking.check_figures import CheckFigures
from hydro.tuner.shrinking.transfer import Effect, Transfer, TransferredHyperparameters
from hydro.tuner.training.lane import MemoryMiss


def surrogate_name(request: tuner_service_pb2.CreateSurrogateRequest) -> str:
    """Gives the name of the surrogate that a request asks for."""
    return f"{request.parent}/surrogates/{request.surrogate_id}"


def build_request(request: tuner_service_pb2.CreateSurrogateRequest) -> BuildRequest:
    """Gives what the surrogate is built from."""
    return BuildRequest(
        entry_point=request.task.entry_point,
        source_path=request.task.source_path,
        width=request.width,
        depth=request.depth if request.HasField("depth") else 1.0,
        values={parameter.name: _extremes(parameter) for parameter in request.search_space.parameters},
        conditions={each.name: _conditions(each) for each in request.search_space.parameters if each.conditions},
        objective_metric=request.objective_metric,
        artifact_uri=request.artifact_uri,
        artifact_path=f"{surrogate_name(request)}.json",
        max_lanes=request.max_lanes,
        not_transferable=tuple(sorted(not_transferable(request.search_space))),
        fidelities=tuple(sorted(fidelities(request.search_space))),
        max_steps=request.max_steps,
        threads=request.threads,
        checks=tuple(
            Check(verification_pb2.Check.Name(each).removeprefix("CHECK_")) for each in request.verification.checks
        ),
        accept_failed_checks=request.verification.accept_failed_checks,
    )


def _extremes(parameter: search_space_pb2.Parameter) -> tuple[Value, ...]:
    """Gives values that stand for all of a domain: the ends of a range, every one of a list."""
    match parameter.WhichOneof("domain"):
        case "float_domain":
            return _distinct([parameter.float_domain.min, parameter.float_domain.max])
        case "int_domain":
            return _distinct([parameter.int_domain.min, parameter.int_domain.max])
        case "categorical_domain":
            return _distinct(value_of(each) for each in parameter.categorical_domain.values)
        case _:
            return (value_of(parameter.constant_domain.value),)


def _conditions(parameter: search_space_pb2.Parameter) -> dict[str, tuple[Value, ...]]:
    """Gives the values of each parent under which the parameter is active; several conditions on one hold together."""
    found: dict[str, tuple[Value, ...]] = {}
    for condition in parameter.conditions:
        values = tuple(map(value_of, condition.values))
        allowed = found.get(condition.parent, values)
        found[condition.parent] = tuple(each for each in allowed if any(is_equal(each, other) for other in values))
    return found


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple({(type(each), each): each for each in values}.values())


def profile(message: surrogate_pb2.Profile) -> Profile:
    """Gives a profile."""
    return Profile(
        fused=tuple(
            ProfilePoint(point.lanes, point.step_seconds, point.memory_bytes, point.segment_seconds)
            for point in message.fused
        ),
        separate_step_seconds=message.separate_step_seconds,
        separate_memory_bytes=message.separate_memory_bytes,
        separate_segment_seconds=message.separate_segment_seconds,
        target_step_seconds=message.target_step_seconds,
        target_memory_bytes=message.target_memory_bytes,
        lane_memory_bytes=message.lane_memory_bytes,
        compiled=_compiled(message.compiled) if message.HasField("compiled") else None,
        threads=message.threads,
    )


def _compiled(message: surrogate_pb2.CompiledPoint) -> CompiledPoint:
    return CompiledPoint(
        message.lanes, message.step_seconds, message.compile_seconds, message.bundle_steps, message.memory_bytes
    )


def roles(messages: Iterable[surrogate_pb2.HyperparameterRole]) -> dict[str, Role]:
    """Gives the role of each hyperparameter; one without a role is left out.

    Raises:
        InvalidArgument: a role that this version does not know.
    """
    messages = tuple(messages)
    known = surrogate_pb2.Role.values()
    unknown = [
        FieldViolation(f"surrogate.roles[{index}].role", f"is {message.role}: give one of {known}")
        for index, message in enumerate(messages)
        if message.role not in known
    ]
    if unknown:
        raise InvalidArgument.of(unknown)
    return {
        message.hyperparameter: Role(surrogate_pb2.Role.Name(message.role).removeprefix("ROLE_"))
        for message in messages
        if message.role
    }


def planned_trials(request: tuner_service_pb2.PlanBundlesRequest) -> list[PlannedTrial]:
    """Gives the trials to plan."""
    return [PlannedTrial(trial.trial, values_of(trial.hyperparameters), trial.steps) for trial in request.trials]


def planned_devices(request: tuner_service_pb2.PlanBundlesRequest) -> list[PlannedDevice]:
    """Gives the idle devices."""
    return [
        PlannedDevice(
            device.device,
            device.memory_bytes,
            device.bubble_seconds,
            tuple(MemoryMiss(miss.lanes, miss.memory_bytes, miss.refused) for miss in device.memory_misses),
        )
        for device in request.devices
    ]


def plan_to_message(bundles: Iterable[PlannedBundle]) -> tuner_service_pb2.PlanBundlesResponse:
    """Gives the message of a plan."""
    return tuner_service_pb2.PlanBundlesResponse(bundles=[_bundle_to_message(bundle) for bundle in bundles])


def _bundle_to_message(bundle: PlannedBundle) -> tuner_service_pb2.PlannedBundle:
    return tuner_service_pb2.PlannedBundle(
        trials=bundle.trials,
        execution=bundle_pb2.Execution.Value(f"EXECUTION_{bundle.execution.value}"),
        max_lanes=bundle.max_lanes,
        micro_lanes=bundle.micro_lanes,
        memory_bytes=bundle.memory_bytes,
        segment_seconds=bundle.segment_seconds,
        structure=value_messages(bundle.structure),
        threads=bundle.threads,
    )


def not_transferable(space: search_space_pb2.SearchSpace) -> set[str]:
    """Gives the names that a search space marks as not transferable."""
    return {each.name for each in space.parameters if each.not_transferable and not _is_fidelity(each)}


def fidelities(space: search_space_pb2.SearchSpace) -> set[str]:
    """Gives the names of what makes search trials cheaper: constants that are not transferable."""
    return {each.name for each in space.parameters if _is_fidelity(each)}


def _is_fidelity(parameter: search_space_pb2.Parameter) -> bool:
    return parameter.not_transferable and parameter.WhichOneof("domain") == "constant_domain"


def effects(messages: Iterable[surrogate_pb2.HyperparameterRole]) -> dict[str, Effect]:
    """Gives what each hyperparameter changes; one without a role is left out."""
    given = list(messages)
    found = roles(given)
    return {
        each.hyperparameter: Effect(found[each.hyperparameter], tuple(each.optimizer_options), each.changes_data_alone)
        for each in given
        if each.hyperparameter in found
    }


def batch_change(request: tuner_service_pb2.TransferHyperparametersRequest) -> BatchChange:
    """Gives how the target's batch differs from the surrogate's."""
    return BatchChange(request.batch_ratio or 1.0, request.surrogate.optimizer_family)


def transferred_to_message(
    transferred: TransferredHyperparameters,
) -> tuner_service_pb2.TransferHyperparametersResponse:
    """Gives the message of the target's hyperparameters."""
    return tuner_service_pb2.TransferHyperparametersResponse(
        hyperparameters=value_messages(transferred.hyperparameters),
        transfers=map(_transfer_to_message, transferred.transfers),
        warnings=transferred.warnings,
    )


def _transfer_to_message(transfer: Transfer) -> surrogate_pb2.Transfer:
    return surrogate_pb2.Transfer(
        hyperparameter=transfer.hyperparameter,
        kind=surrogate_pb2.TransferKind.Value(f"TRANSFER_KIND_{transfer.kind.value}"),
        explanation=transfer.explanation,
    )


def surrogate_to_message(surrogate: Surrogate) -> surrogate_pb2.Surrogate:
    """Gives the message of a surrogate, as far as it is built."""
    request, result = surrogate.request, surrogate.result
    created = Timestamp()
    created.FromDatetime(surrogate.create_time)
    message = surrogate_pb2.Surrogate(
        name=surrogate.name,
        state=surrogate_pb2.SurrogateState.Value(f"SURROGATE_STATE_{surrogate.state.value}"),
        state_reason=result.failure,
        task=task_pb2.Task(
            entry_point=request.entry_point, source_path=request.source_path, fingerprint=result.fingerprint
        ),
        requested_width=request.width,
        width=result.width,
        depth=result.depth,
        warnings=result.warnings,
        report=result.report,
        parameters=result.parameters,
        target_parameters=result.target_parameters,
        roles=[_role_to_message(name, role, result.effects.get(name)) for name, role in result.roles.items()],
        transfers=map(_transfer_to_message, result.transfers),
        optimizer_family=result.optimizer_family,
        profile=_profile_to_message(result.profile),
        checks=_checks_to_message(result.checks),
        create_time=created,
    )
    if result.artifact:
        message.artifact.CopyFrom(
            task_pb2.Artifact(
                uri=result.artifact.uri, digest=result.artifact.digest, size_bytes=result.artifact.size_bytes
            )
        )
    return message


def _checks_to_message(checks: CheckFigures) -> surrogate_pb2.CheckFigures:
    return surrogate_pb2.CheckFigures(
        slopes=[
            surrogate_pb2.LayerSlope(
                layer=each.layer,
                slope=each.slope,
                half_width=each.half_width,
                verdict=surrogate_pb2.CheckVerdict.Value(f"CHECK_VERDICT_{each.verdict.upper()}"),
            )
            for each in checks.slopes
        ],
        rungs=[
            surrogate_pb2.LadderRung(
                width=rung.width,
                best_lr_log2=rung.best_lr_log2,
                losses=[surrogate_pb2.LadderPoint(lr_log2=rate, validation_loss=loss) for rate, loss in rung.losses],
            )
            for rung in checks.rungs
        ],
    )


def _role_to_message(name: str, role: Role, effect: Effect | None) -> surrogate_pb2.HyperparameterRole:
    return surrogate_pb2.HyperparameterRole(
        hyperparameter=name,
        role=surrogate_pb2.Role.Value(f"ROLE_{role.value}"),
        optimizer_options=effect.options if effect else (),
        changes_data_alone=bool(effect and effect.changes_data_alone),
    )


def _profile_to_message(profile: Profile) -> surrogate_pb2.Profile:
    compiled = profile.compiled
    return surrogate_pb2.Profile(
        fused=[
            surrogate_pb2.ProfilePoint(
                lanes=point.lanes,
                step_seconds=point.step_seconds,
                memory_bytes=point.memory_bytes,
                segment_seconds=point.segment_seconds,
            )
            for point in profile.fused
        ],
        separate_step_seconds=profile.separate_step_seconds,
        separate_memory_bytes=profile.separate_memory_bytes,
        separate_segment_seconds=profile.separate_segment_seconds,
        target_step_seconds=profile.target_step_seconds,
        target_memory_bytes=profile.target_memory_bytes,
        lane_memory_bytes=profile.lane_memory_bytes,
        compiled=None if compiled is None else surrogate_pb2.CompiledPoint(**asdict(compiled)),
        threads=profile.threads,
    )
