"""Between the messages of the coordinator's services and its values."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.coordinator.command_messages import command_message, command_of, unknown_sources
from hydro.coordinator.hot.callers import Run
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.messages import (
    artifact_message,
    constraint_message,
    constraint_of,
    measurement_message,
    objective_message,
    search_space_message,
    search_space_of,
    task_message,
    task_of,
    unknown_checks,
    verification_message,
    verification_of,
)
from hydro.coordinator.names import ProjectName, StudyName, TrialName
from hydro.coordinator.quotas import Allowance
from hydro.coordinator.server.convert_pruning import pruner_message, pruning_of, pruning_violations
from hydro.coordinator.server.pages import place_of
from hydro.coordinator.server.unset_values import unset_values
from hydro.coordinator.stopping import DEFAULT_RETRIES, Endurance, Stopping
from hydro.coordinator.storage.trial_values import TrialOrder, TrialQuery
from hydro.coordinator.study import Check, Goal, Objective, Population, Prior, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import (
    HyperparameterChange,
    Hyperparameters,
    Retry,
    SearchedHistory,
    Trial,
    TrialKind,
    TrialState,
)
from hydro.coordinator.watching import StudyChange
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.kit.values import value_messages, values_of

_GOALS = {metric_pb2.GOAL_MINIMIZE: Goal.MINIMIZE, metric_pb2.GOAL_MAXIMIZE: Goal.MAXIMIZE}
_SAMPLERS: dict[study_pb2.Sampler.ValueType, Sampler] = {
    study_pb2.Sampler.Value(f"SAMPLER_{each.name}"): each for each in Sampler if each is not Sampler.EXTERNAL
}
_SAMPLER_NUMBERS: dict[Sampler, study_pb2.Sampler.ValueType] = {each: number for number, each in _SAMPLERS.items()}
_KINDS = {trial_pb2.TRIAL_KIND_SEARCH: TrialKind.SEARCH, trial_pb2.TRIAL_KIND_TARGET: TrialKind.TARGET}
_ORDERS = {
    study_service_pb2.TRIAL_ORDER_UNSPECIFIED: TrialOrder.NUMBER,
    study_service_pb2.TRIAL_ORDER_NUMBER_DESCENDING: TrialOrder.NUMBER_DESCENDING,
    study_service_pb2.TRIAL_ORDER_VALUE_ASCENDING: TrialOrder.VALUE_ASCENDING,
    study_service_pb2.TRIAL_ORDER_VALUE_DESCENDING: TrialOrder.VALUE_DESCENDING,
}


def timestamp(time: datetime) -> Timestamp:
    """The message of a time."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def study_spec(message: study_pb2.Study) -> tuple[StudySpec, list[FieldViolation]]:
    """What the caller chose, and what no value can hold of it."""
    violations = []
    if message.objective.goal not in _GOALS:
        violations.append(FieldViolation("study.objective.goal", "is not set: give MINIMIZE or MAXIMIZE"))
    for index, objective in enumerate(message.further_objectives):
        if objective.goal not in _GOALS:
            field = f"study.further_objectives[{index}].goal"
            violations.append(FieldViolation(field, "is not set: give MINIMIZE or MAXIMIZE"))
    if message.external_sampler and message.sampler:
        violations.append(FieldViolation("study.external_sampler", "is set beside sampler: give one of them"))
    elif not message.external_sampler and message.sampler not in _SAMPLERS:
        known = ", ".join(each.name for each in _SAMPLERS.values())
        advice = f"is not set, or not known here: give one of {known}, or an external_sampler"
        violations.append(FieldViolation("study.sampler", advice))
    violations += pruning_violations(message.pruner)
    for check in unknown_checks(message.verification):
        known = " or ".join(f"CHECK_{each.value}" for each in Check)
        violations.append(FieldViolation("study.verification.checks", f"{check} is not known here: give {known}"))
    violations += unknown_sources(message.command)
    for index, parameter in enumerate(message.search_space.parameters):
        if parameter.WhichOneof("domain") is None:
            field = f"study.search_space.parameters[{index}]"
            violations.append(FieldViolation(field, f"{parameter.name!r} has no domain: give the values it may take"))
    violations += unset_values(message.search_space, "study.search_space")
    for index, point in enumerate(message.known_points):
        violations += unset_values(point, f"study.known_points[{index}]")
    return (
        StudySpec(
            task=task_of(message.task) if message.HasField("task") else None,
            search_space=search_space_of(message.search_space),
            objective=Objective(message.objective.metric, _GOALS.get(message.objective.goal, Goal.MINIMIZE)),
            sampler=Sampler.EXTERNAL if message.external_sampler else _SAMPLERS.get(message.sampler, Sampler.RANDOM),
            pruning=pruning_of(message.pruner),
            population=_population_of(message.population) if message.HasField("population") else None,
            max_steps=message.max_steps,
            surrogate_width=message.surrogate_width,
            surrogate_depth=message.surrogate_depth if message.HasField("surrogate_depth") else 1.0,
            max_trials=message.max_trials,
            parallelism=message.parallelism,
            seed=message.seed,
            verification=verification_of(message.verification),
            external_sampler=message.external_sampler,
            further_objectives=tuple(
                Objective(each.metric, _GOALS.get(each.goal, Goal.MINIMIZE)) for each in message.further_objectives
            ),
            constraints=tuple(map(constraint_of, message.constraints)),
            known_points=known_points(message.known_points),
            priors=_priors(message, violations),
            command=command_of(message.command) if message.HasField("command") else None,
            stopping=_stopping(message.stopping),
            endurance=_endurance(message),
        ),
        violations,
    )


def _priors(message: study_pb2.Study, violations: list[FieldViolation]) -> tuple[Prior, ...]:
    found = []
    for index, each in enumerate(message.priors):
        try:
            found.append(Prior(StudyName.parse(each.study), each.weight))
        except InvalidArgument:
            advice = f"is {each.study!r}: give a study's name, as in projects/default/studies/digits"
            violations.append(FieldViolation(f"study.priors[{index}].study", advice))
    return tuple(found)


def _stopping(message: study_pb2.Stopping) -> Stopping:
    target = message.target_value if message.HasField("target_value") else None
    return Stopping(message.max_duration_seconds, target, message.max_trials_without_improvement)


def _endurance(message: study_pb2.Study) -> Endurance:
    retries = message.max_retries if message.HasField("max_retries") else DEFAULT_RETRIES
    return Endurance(retries, message.failure_budget, message.trial_timeout_seconds)


def _stopping_message(stopping: Stopping) -> study_pb2.Stopping:
    return study_pb2.Stopping(
        max_duration_seconds=stopping.max_duration_seconds,
        target_value=stopping.target_value,
        max_trials_without_improvement=stopping.max_trials_without_improvement,
    )


def known_points(messages: Iterable[study_pb2.KnownPoint]) -> tuple[Hyperparameters, ...]:
    """The points, right or wrong."""
    return tuple(values_of(each.hyperparameters) for each in messages)


def study_message(study: Study) -> study_pb2.Study:
    """The message of a study."""
    spec, counts = study.spec, study.statistics
    message = study_pb2.Study(
        name=str(study.name),
        etag=study.etag,
        search_space=search_space_message(spec.search_space),
        objective=objective_message(spec.objective),
        sampler=_SAMPLER_NUMBERS.get(spec.sampler, study_pb2.SAMPLER_UNSPECIFIED),
        external_sampler=spec.external_sampler,
        sampler_reason=spec.sampler_reason,
        pruner=pruner_message(spec.pruning),
        max_steps=spec.max_steps,
        surrogate_width=spec.surrogate_width,
        surrogate_depth=spec.surrogate_depth,
        max_trials=spec.max_trials,
        parallelism=spec.parallelism,
        seed=spec.seed,
        verification=verification_message(spec.verification),
        further_objectives=map(objective_message, spec.further_objectives),
        constraints=map(constraint_message, spec.constraints),
        known_points=[study_pb2.KnownPoint(hyperparameters=value_messages(each)) for each in spec.known_points],
        priors=[study_pb2.Prior(study=str(each.study), weight=each.weight) for each in spec.priors],
        best_trials=map(str, study.best_trials),
        state=study_pb2.StudyState.Value(f"STUDY_STATE_{study.state.name}"),
        state_reason=study.state_reason,
        warnings=study.warnings,
        surrogate=str(study.surrogate or ""),
        best_trial=str(study.best_trial or ""),
        statistics=study_pb2.StudyStatistics(
            trials_by_state=counts.trials_by_state,
            bundles=counts.bundles,
            max_fusion_count=counts.max_fusion_count,
            device_seconds=counts.device_seconds,
            trial_steps=counts.trial_steps,
            slot_trial_steps=counts.slot_trial_steps,
            searched_seconds=counts.searched_seconds,
        ),
        create_time=timestamp(study.create_time),
        max_retries=spec.endurance.max_retries,
        failure_budget=spec.endurance.failure_budget,
        trial_timeout_seconds=spec.endurance.trial_timeout_seconds,
        tags=study.tags,
    )
    if spec.stopping.is_set:
        message.stopping.CopyFrom(_stopping_message(spec.stopping))
    if spec.population is not None:
        message.population.CopyFrom(study_pb2.PopulationBasedTraining(**asdict(spec.population)))
    if spec.task is not None:
        message.task.CopyFrom(task_message(spec.task))
    if spec.command is not None:
        message.command.CopyFrom(command_message(spec.command))
    if study.end_time is not None:
        message.end_time.CopyFrom(timestamp(study.end_time))
    return message


def project_message(project: ProjectName, allowance: Allowance) -> study_service_pb2.Project:
    """A project with its quota."""
    quota = study_service_pb2.Quota(**asdict(allowance.quota))
    return study_service_pb2.Project(name=str(project), quota=quota, open_studies=allowance.open_studies)


def trial_message(trial: Trial) -> trial_pb2.Trial:
    """The message of a trial."""
    message = trial_pb2.Trial(
        name=str(trial.name),
        etag=trial.etag,
        kind=trial_pb2.TrialKind.Value(f"TRIAL_KIND_{trial.kind.name}"),
        state=trial_pb2.TrialState.Value(f"TRIAL_STATE_{trial.state.name}"),
        state_reason=trial.state_reason,
        hyperparameters=value_messages(trial.hyperparameters),
        measurements=map(measurement_message, trial.measurements),
        steps=trial.steps,
        seed=trial.seed,
        lost_runs=trial.failures,
        device_seconds=trial.device_seconds,
        create_time=timestamp(trial.create_time),
        log=trial.log,
        tags=trial.tags,
        retries=map(_retry_message, trial.retries),
        schedule=[_change_message(trial.name.study, each) for each in trial.schedule],
        changes=[_change_message(trial.name.study, each) for each in trial.changes],
    )
    if trial.value is not None:
        message.value = trial.value
    if trial.searched is not None:
        message.searched_history.CopyFrom(_searched_message(trial.searched))
    if trial.known_point is not None:
        message.known_point = trial.known_point
    if trial.state is TrialState.SUCCEEDED:
        _set_result(message, trial)
    if trial.checkpoint is not None:
        message.checkpoint.CopyFrom(artifact_message(trial.checkpoint))
    if trial.end_time is not None:
        message.end_time.CopyFrom(timestamp(trial.end_time))
    return message


def _set_result(message: trial_pb2.Trial, trial: Trial) -> None:
    if trial.result is None:
        message.values.extend([] if trial.value is None else [trial.value])
        return
    message.values.extend(trial.result.values)
    message.metrics.update(trial.result.metrics)
    if trial.result.violations:
        message.feasible = trial.result.violation == 0


def _searched_message(history: SearchedHistory) -> trial_pb2.SearchedHistory:
    return trial_pb2.SearchedHistory(
        searched_from=history.searched_from, ended=history.ended, paused=history.paused, running=history.running
    )


def _retry_message(retry: Retry) -> trial_pb2.Retry:
    return trial_pb2.Retry(reason=retry.reason, steps=retry.steps, lanes=retry.lanes, time=timestamp(retry.time))


def _change_message(study: StudyName, change: HyperparameterChange) -> trial_pb2.HyperparameterChange:
    return trial_pb2.HyperparameterChange(
        step=change.step,
        hyperparameters=value_messages(change.hyperparameters),
        trial=str(study.trial(change.trial)),
        parent="" if change.parent is None else str(study.trial(change.parent)),
    )


def _population_of(message: study_pb2.PopulationBasedTraining) -> Population:
    return Population(message.interval_steps, message.quantile, message.resample_probability, message.perturbation)


def change_message(change: StudyChange) -> study_service_pb2.WatchStudyResponse:
    """The message of what changed in a study."""
    return study_service_pb2.WatchStudyResponse(
        study=study_message(change.study),
        trials=map(trial_message, change.trials),
        resume_token=change.resume_token,
    )


def study_states(request: study_service_pb2.ListStudiesRequest) -> list[StudyState]:
    """The states to list; none: all."""
    states = {study_pb2.StudyState.Value(f"STUDY_STATE_{state.name}"): state for state in StudyState}
    _check_states(request.states, states, ", ".join(each.name for each in StudyState))
    return [states[each] for each in request.states]


def trial_query(request: study_service_pb2.ListTrialsRequest, limit: int) -> TrialQuery:
    """Which trials to list."""
    states = {trial_pb2.TrialState.Value(f"TRIAL_STATE_{state.name}"): state for state in TrialState}
    _check_states(request.states, states, ", ".join(each.name for each in TrialState))
    if request.order not in _ORDERS:
        known = ", ".join(study_service_pb2.TrialOrder.keys())
        raise InvalidArgument.of([FieldViolation("order", f"{request.order} is not known here: give one of {known}")])
    return TrialQuery(
        limit,
        _KINDS.get(request.kind),
        tuple(states[each] for each in request.states),
        dict(request.tags),
        _ORDERS[request.order],
        place_of(request.page_token),
    )


def _check_states(given: Iterable[int], known: Collection[int], names: str) -> None:
    violations = [
        FieldViolation("states", f"{each} is no state: give some of {names}") for each in given if each not in known
    ]
    if violations:
        raise InvalidArgument.of(violations)


def outcome(request: study_service_pb2.CompleteTrialRequest) -> Outcome:
    """How a trial ended."""
    match request.WhichOneof("outcome"):
        case "value":
            return Outcome(value=request.value, metrics=dict(request.metrics))
        case "failure":
            return Outcome(failure=request.failure or "no reason was given")
        case "pruned" if request.pruned:
            return Outcome()
        case _:
            raise InvalidArgument.of([FieldViolation("outcome", "is not set: give value, failure, or pruned = true")])


def renewed_runs(request: study_service_pb2.RenewTrialsRequest, study: StudyName) -> list[Run]:
    """The runs of the study whose callers live."""
    names = [TrialName.parse(each.name, f"trials[{index}].name") for index, each in enumerate(request.trials)]
    violations = [
        FieldViolation(f"trials[{index}].name", f"is {name}: give trials of {study}")
        for index, name in enumerate(names)
        if name.study != study
    ]
    if violations:
        raise InvalidArgument.of(violations)
    return [Run(name.number, each.lost_runs) for name, each in zip(names, request.trials, strict=True)]
