"""Between the contract's messages and the SDK's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hydro.api.coordinator.v1 import device_service_pb2, study_pb2, study_service_pb2, trial_pb2
from hydro.api.type.v1 import search_space_pb2, task_pb2, verification_pb2
from hydro.client import snapshots
from hydro.client.command_convert import command_message, command_value
from hydro.client.convert_measurement import measurement_of
from hydro.client.convert_objectives import constraint_message, constraint_value, objective_message, objective_value
from hydro.client.convert_pruning import pruner_message, pruner_of
from hydro.client.names import StudyName, TrialName
from hydro.client.objectives import Prior
from hydro.client.populations import Population
from hydro.client.samplers import sampler_name, set_sampler
from hydro.client.spaces import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    Domain,
    FloatDomain,
    IntDomain,
    Scalar,
)
from hydro.client.stopping import Stopping
from hydro.client.surrogates import SurrogateSettings
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.kit.values import value_message, value_of, values_of

# From values to messages.


def study_message(settings: snapshots.StudySettings) -> study_pb2.Study:
    """What CreateStudy takes.

    Raises:
        InvalidArgument: something that no message can hold; everything else is for the service to judge.
    """
    message = study_pb2.Study(
        search_space=search_space_message(settings.search_space),
        objective=objective_message(settings.objective),
        further_objectives=map(objective_message, settings.further_objectives),
        constraints=map(constraint_message, settings.constraints),
        known_points=known_points_message(settings.known_points, "study.known_points"),
        priors=[study_pb2.Prior(study=each.study, weight=each.weight) for each in settings.priors],
        pruner=pruner_message(settings.pruner),
        max_steps=settings.pruner.max_steps,
        surrogate_width=settings.surrogate.width,
        surrogate_depth=settings.surrogate.depth,
        verification=_verification_message(settings.surrogate),
        max_trials=settings.max_trials,
        parallelism=settings.parallelism,
        seed=settings.seed,
        max_retries=settings.retries,
        failure_budget=settings.failure_budget,
        trial_timeout_seconds=settings.trial_timeout_seconds,
        tags=settings.tags,
    )
    if settings.stopping != Stopping():
        message.stopping.CopyFrom(_stopping_message(settings.stopping))
    if settings.population is not None:
        message.population.CopyFrom(_population_message(settings.population))
    set_sampler(message, settings.sampler)
    if settings.entry_point:
        message.task.CopyFrom(task_pb2.Task(entry_point=settings.entry_point, source_path=settings.source_path))
    if settings.command is not None:
        message.command.CopyFrom(command_message(settings.command, settings.source_path))
    return message


def _stopping_message(stopping: Stopping) -> study_pb2.Stopping:
    return study_pb2.Stopping(
        max_duration_seconds=stopping.max_duration_seconds,
        target_value=stopping.target_value,
        max_trials_without_improvement=stopping.max_trials_without_improvement,
    )


def _population_message(population: Population) -> study_pb2.PopulationBasedTraining:
    return study_pb2.PopulationBasedTraining(
        interval_steps=population.interval_steps,
        quantile=population.quantile,
        resample_probability=population.resample_probability,
        perturbation=population.perturbation,
    )


def _population(message: study_pb2.Study) -> Population | None:
    if not message.HasField("population"):
        return None
    found = message.population
    return Population(
        found.interval_steps, message.max_steps, found.quantile, found.resample_probability, found.perturbation
    )


def _verification_message(settings: SurrogateSettings) -> verification_pb2.Verification:
    known = {name.removeprefix("CHECK_").lower(): number for name, number in verification_pb2.Check.items() if number}
    for each in settings.verify:
        if each not in known:
            advice = f"{each!r} is no check: give {' or '.join(known)}"
            raise InvalidArgument.of([FieldViolation("surrogate.verify", advice)])
    return verification_pb2.Verification(
        checks=[known[each] for each in settings.verify], accept_failed_checks=settings.accept_failed_checks
    )


def known_points_message(points: Iterable[Mapping[str, Scalar]], field: str) -> list[study_pb2.KnownPoint]:
    """Hyperparameters to try."""
    return [
        study_pb2.KnownPoint(hyperparameters=checked_values_message(each, f"{field}[{index}].hyperparameters"))
        for index, each in enumerate(points)
    ]


def search_space_message(space: Mapping[str, Domain]) -> search_space_pb2.SearchSpace:
    """The search space, its parameters in the order of the dict."""
    return search_space_pb2.SearchSpace(parameters=[_parameter_message(name, domain) for name, domain in space.items()])


def checked_value_message(value: Scalar, field: str) -> search_space_pb2.Value:
    """A hyperparameter's value.

    Raises:
        InvalidArgument: it is no scalar; the error names `field`.
    """
    if not isinstance(value, Scalar):
        advice = f"{value!r} is a {type(value).__name__}; give a bool, an int, a float or a str"
        raise InvalidArgument.of([FieldViolation(field, advice)])
    return value_message(value)


def checked_values_message(values: Mapping[str, Scalar], field: str) -> dict[str, search_space_pb2.Value]:
    """Hyperparameters by name."""
    return {name: checked_value_message(value, f"{field}[{name}]") for name, value in values.items()}


def device_message(name: str, kind: snapshots.DeviceKind, cpu_cores: Sequence[int]) -> device_service_pb2.Device:
    """A device to register."""
    number = device_service_pb2.DeviceKind.Value(f"DEVICE_KIND_{kind.name}")
    return device_service_pb2.Device(name=name, kind=number, cpu_cores=cpu_cores)


def _parameter_message(name: str, domain: Domain) -> search_space_pb2.Parameter:
    field = f"study.search_space.parameters[{name}]"
    if not isinstance(domain, Domain):
        advice = "use uniform, loguniform, integer, logint, choice or constant"
        raise InvalidArgument.of([FieldViolation(field, f"{domain!r} is no domain; {advice}")])
    message = search_space_pb2.Parameter(name=name, not_transferable=not domain.transfer)
    for condition in domain.conditions:
        values = [checked_value_message(value, f"{field}.conditions") for value in condition.values]
        message.conditions.add(parent=condition.parent, values=values)
    _set_domain(message, domain, field)
    return message


def _set_domain(message: search_space_pb2.Parameter, domain: Domain, field: str) -> None:
    match domain:
        case FloatDomain(min=low, max=high, log=log, step=step):
            message.float_domain.CopyFrom(search_space_pb2.FloatDomain(min=low, max=high, log=log, step=step))
        case IntDomain(min=low, max=high, log=log, step=step):
            message.int_domain.CopyFrom(search_space_pb2.IntDomain(min=low, max=high, log=log, step=step))
        case CategoricalDomain(values=values):
            # An empty list has to arrive as an empty list, for the service to refuse it by name.
            message.categorical_domain.SetInParent()
            message.categorical_domain.values.extend(checked_value_message(each, f"{field}.values") for each in values)
        case ConstantDomain(value=value):
            message.constant_domain.value.CopyFrom(checked_value_message(value, f"{field}.value"))


# From messages to values.


def study_snapshot(message: study_pb2.Study) -> snapshots.StudySnapshot:
    """A study as the coordinator told it."""
    return snapshots.StudySnapshot(
        name=StudyName.parse(message.name),
        etag=message.etag,
        settings=_settings(message),
        state=snapshots.StudyState[_short(study_pb2.StudyState.Name(message.state), "STUDY_STATE_")],
        state_reason=message.state_reason,
        warnings=tuple(message.warnings),
        sampler_reason=message.sampler_reason,
        surrogate=message.surrogate,
        best_trial=TrialName.parse(message.best_trial) if message.best_trial else None,
        statistics=_statistics(message.statistics),
        create_time=_time(message, "create_time", message.create_time),
        end_time=_time(message, "end_time", message.end_time),
        best_trials=tuple(map(TrialName.parse, message.best_trials)),
        tags=dict(message.tags),
    )


def trial_snapshot(message: trial_pb2.Trial) -> snapshots.TrialSnapshot:
    """A trial as the coordinator told it."""
    return snapshots.TrialSnapshot(
        name=TrialName.parse(message.name),
        kind=snapshots.TrialKind[_short(trial_pb2.TrialKind.Name(message.kind), "TRIAL_KIND_")],
        state=snapshots.TrialState[_short(trial_pb2.TrialState.Name(message.state), "TRIAL_STATE_")],
        state_reason=message.state_reason,
        hyperparameters=values_of(message.hyperparameters),
        measurements=tuple(map(measurement_of, message.measurements)),
        value=message.value if message.HasField("value") else None,
        steps=message.steps,
        seed=message.seed,
        device_seconds=message.device_seconds,
        checkpoint=_artifact(message.checkpoint) if message.HasField("checkpoint") else None,
        create_time=_time(message, "create_time", message.create_time),
        end_time=_time(message, "end_time", message.end_time),
        log=message.log,
        values=tuple(message.values),
        metrics=dict(message.metrics),
        feasible=message.feasible if message.HasField("feasible") else None,
        known_point=message.known_point if message.HasField("known_point") else None,
        tags=dict(message.tags),
        retries=tuple(
            snapshots.Retry(each.reason, each.steps, each.lanes, _time(each, "time", each.time))
            for each in message.retries
        ),
        schedule=tuple(map(_change, message.schedule)),
        changes=tuple(map(_change, message.changes)),
        searched=_searched(message.searched_history) if message.HasField("searched_history") else None,
        lost_runs=message.lost_runs,
    )


def _searched(message: trial_pb2.SearchedHistory) -> snapshots.SearchedHistory:
    return snapshots.SearchedHistory(
        message.searched_from, tuple(message.ended), dict(message.paused), dict(message.running)
    )


def _change(message: trial_pb2.HyperparameterChange) -> snapshots.HyperparameterChange:
    parent = TrialName.parse(message.parent).number if message.parent else None
    hyperparameters = values_of(message.hyperparameters)
    return snapshots.HyperparameterChange(message.step, hyperparameters, TrialName.parse(message.trial).number, parent)


def project_snapshot(message: study_service_pb2.Project) -> snapshots.ProjectSnapshot:
    """A project as the coordinator told it."""
    given = message.quota
    quota = snapshots.Quota(given.open_studies, given.trials_per_study, given.reports_per_second)
    return snapshots.ProjectSnapshot(message.name, quota, message.open_studies)


def study_change(message: study_service_pb2.WatchStudyResponse) -> snapshots.StudyChange:
    """One answer of a watch."""
    trials = tuple(trial_snapshot(each) for each in message.trials)
    return snapshots.StudyChange(study_snapshot(message.study), trials, message.resume_token)


def device_snapshot(message: device_service_pb2.Device) -> snapshots.DeviceSnapshot:
    """A device as the coordinator told it."""
    return snapshots.DeviceSnapshot(
        name=message.name,
        kind=snapshots.DeviceKind[_short(device_service_pb2.DeviceKind.Name(message.kind), "DEVICE_KIND_")],
        state=snapshots.DeviceState[_short(device_service_pb2.DeviceState.Name(message.state), "DEVICE_STATE_")],
        model=message.model,
        memory_bytes=message.memory_bytes,
        cpu_cores=tuple(message.cpu_cores),
        duty_cycle=message.duty_cycle,
        bubble_seconds=message.bubble_seconds,
        lease=message.lease,
    )


def _settings(message: study_pb2.Study) -> snapshots.StudySettings:
    return snapshots.StudySettings(
        search_space={each.name: _domain(each) for each in message.search_space.parameters},
        objective=objective_value(message.objective),
        sampler=sampler_name(message),
        pruner=pruner_of(message.pruner, message.max_steps),
        population=_population(message),
        surrogate=_surrogate_settings(message),
        max_trials=message.max_trials,
        parallelism=message.parallelism,
        seed=message.seed,
        entry_point=message.task.entry_point,
        source_path=message.task.source_path or message.command.source_path,
        command=command_value(message.command) if message.HasField("command") else None,
        further_objectives=tuple(map(objective_value, message.further_objectives)),
        constraints=tuple(map(constraint_value, message.constraints)),
        known_points=tuple(values_of(each.hyperparameters) for each in message.known_points),
        priors=tuple(Prior(each.study, each.weight) for each in message.priors),
        stopping=_stopping(message.stopping),
        retries=message.max_retries if message.HasField("max_retries") else None,
        failure_budget=message.failure_budget,
        trial_timeout_seconds=message.trial_timeout_seconds,
        tags=dict(message.tags),
    )


def _stopping(message: study_pb2.Stopping) -> Stopping:
    target = message.target_value if message.HasField("target_value") else None
    return Stopping(message.max_duration_seconds, target, message.max_trials_without_improvement)


def _surrogate_settings(message: study_pb2.Study) -> SurrogateSettings:
    wanted = message.verification
    checks = tuple(_short(verification_pb2.Check.Name(each), "CHECK_").lower() for each in wanted.checks)
    depth = message.surrogate_depth if message.HasField("surrogate_depth") else 1.0
    return SurrogateSettings(message.surrogate_width, checks, wanted.accept_failed_checks, depth)


def _domain(message: search_space_pb2.Parameter) -> Domain:
    conditions = tuple(
        Condition(each.parent, tuple(value_of(value) for value in each.values)) for each in message.conditions
    )
    transfer = not message.not_transferable
    match message.WhichOneof("domain"):
        case "float_domain":
            real = message.float_domain
            return FloatDomain(real.min, real.max, real.log, real.step, conditions=conditions, transfer=transfer)
        case "int_domain":
            whole = message.int_domain
            step = whole.step or 1
            return IntDomain(whole.min, whole.max, whole.log, step, conditions=conditions, transfer=transfer)
        case "categorical_domain":
            choices = tuple(value_of(value) for value in message.categorical_domain.values)
            return CategoricalDomain(choices, conditions=conditions, transfer=transfer)
    return ConstantDomain(value_of(message.constant_domain.value), conditions=conditions, transfer=transfer)


def _statistics(message: study_pb2.StudyStatistics) -> snapshots.StudyStatistics:
    return snapshots.StudyStatistics(
        trials_by_state=dict(message.trials_by_state),
        bundles=message.bundles,
        max_fusion_count=message.max_fusion_count,
        device_seconds=message.device_seconds,
        trial_steps=message.trial_steps,
        slot_trial_steps=message.slot_trial_steps,
        searched_seconds=message.searched_seconds,
    )


def _artifact(message: task_pb2.Artifact) -> snapshots.ArtifactReference:
    return snapshots.ArtifactReference(message.uri, message.digest, message.size_bytes)


def _time(owner: Message, field: str, moment: Timestamp) -> datetime | None:
    return moment.ToDatetime(tzinfo=UTC) if owner.HasField(field) else None


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)
