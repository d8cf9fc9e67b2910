"""Between the messages of hydro.api.type.v1 and the coordinator's values: for its servers and for its clients."""

from __future__ import annotations

import math
from typing import assert_never

from hydro.api.type.v1 import metric_pb2, search_space_pb2, task_pb2, verification_pb2
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    Domain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.study import Check, Constraint, Goal, Objective, Task, Verification
from hydro.coordinator.trial import Artifact, Measurement
from hydro.kit.values import value_message, value_of

_CHECKS = {verification_pb2.Check.Value(f"CHECK_{check.value}"): check for check in Check}


def search_space_of(message: search_space_pb2.SearchSpace) -> SearchSpace:
    """The search space, right or wrong."""
    return SearchSpace(tuple(_parameter_of(each) for each in message.parameters))


def _parameter_of(message: search_space_pb2.Parameter) -> Parameter:
    conditions = tuple(Condition(each.parent, tuple(map(value_of, each.values))) for each in message.conditions)
    return Parameter(message.name, _domain_of(message), conditions, message.not_transferable)


def _domain_of(message: search_space_pb2.Parameter) -> Domain:
    match message.WhichOneof("domain"):
        case "float_domain":
            real = message.float_domain
            return FloatDomain(real.min, real.max, real.log, real.step)
        case "int_domain":
            whole = message.int_domain
            return IntDomain(whole.min, whole.max, whole.log, whole.step or 1)
        case "constant_domain":
            return ConstantDomain(value_of(message.constant_domain.value))
        case _:
            # A parameter without a domain has no value to take, and is refused as such.
            return CategoricalDomain(tuple(map(value_of, message.categorical_domain.values)))


def search_space_message(space: SearchSpace) -> search_space_pb2.SearchSpace:
    """The message of a search space."""
    return search_space_pb2.SearchSpace(parameters=[_parameter_message(each) for each in space.parameters])


def _parameter_message(parameter: Parameter) -> search_space_pb2.Parameter:
    message = search_space_pb2.Parameter(name=parameter.name, not_transferable=parameter.not_transferable)
    for condition in parameter.conditions:
        message.conditions.add(parent=condition.parent, values=map(value_message, condition.values))
    domain = parameter.domain
    match domain:
        case FloatDomain():
            message.float_domain.CopyFrom(
                search_space_pb2.FloatDomain(min=domain.min, max=domain.max, log=domain.log, step=domain.step)
            )
        case IntDomain():
            message.int_domain.CopyFrom(
                search_space_pb2.IntDomain(min=domain.min, max=domain.max, log=domain.log, step=domain.step)
            )
        case CategoricalDomain():
            message.categorical_domain.values.extend(map(value_message, domain.values))
        case ConstantDomain():
            message.constant_domain.value.CopyFrom(value_message(domain.value))
        case _:
            assert_never(domain)
    return message


def task_of(message: task_pb2.Task) -> Task:
    """The task."""
    return Task(message.entry_point, message.source_path, message.fingerprint)


def task_message(task: Task) -> task_pb2.Task:
    """The message of a task."""
    return task_pb2.Task(entry_point=task.entry_point, source_path=task.source_path, fingerprint=task.fingerprint)


def artifact_of(message: task_pb2.Artifact) -> Artifact:
    """The artifact."""
    return Artifact(message.uri, message.digest, message.size_bytes)


def artifact_message(artifact: Artifact) -> task_pb2.Artifact:
    """The message of an artifact."""
    return task_pb2.Artifact(uri=artifact.uri, digest=artifact.digest, size_bytes=artifact.size_bytes)


def measurement_of(message: metric_pb2.Measurement) -> Measurement:
    """The measurement."""
    seconds = message.elapsed_seconds if message.HasField("elapsed_seconds") else None
    return Measurement(message.step, dict(message.metrics), seconds)


def measurement_message(measurement: Measurement) -> metric_pb2.Measurement:
    """The message of a measurement."""
    return metric_pb2.Measurement(
        step=measurement.step, metrics=measurement.metrics, elapsed_seconds=measurement.elapsed_seconds
    )


def objective_message(objective: Objective) -> metric_pb2.Objective:
    """The message of an objective."""
    is_minimized = objective.goal is Goal.MINIMIZE
    goal = metric_pb2.GOAL_MINIMIZE if is_minimized else metric_pb2.GOAL_MAXIMIZE
    return metric_pb2.Objective(metric=objective.metric, goal=goal)


def constraint_of(message: metric_pb2.Constraint) -> Constraint:
    """The constraint; a bound that is not set is infinitely far."""
    return Constraint(
        message.metric,
        message.min if message.HasField("min") else -math.inf,
        message.max if message.HasField("max") else math.inf,
    )


def constraint_message(constraint: Constraint) -> metric_pb2.Constraint:
    """The message of a constraint."""
    message = metric_pb2.Constraint(metric=constraint.metric)
    if constraint.min > -math.inf:
        message.min = constraint.min
    if constraint.max < math.inf:
        message.max = constraint.max
    return message


def verification_of(message: verification_pb2.Verification) -> Verification:
    """What the surrogate has to show; checks that are not known here are left out."""
    checks = tuple(_CHECKS[each] for each in message.checks if each in _CHECKS)
    return Verification(checks, message.accept_failed_checks)


def unknown_checks(message: verification_pb2.Verification) -> list[int]:
    """The checks that are not known here."""
    return [each for each in message.checks if each not in _CHECKS]


def verification_message(verification: Verification) -> verification_pb2.Verification:
    """The message of what the surrogate has to show."""
    return verification_pb2.Verification(
        checks=[verification_pb2.Check.Value(f"CHECK_{check.value}") for check in verification.checks],
        accept_failed_checks=verification.accept_failed_checks,
    )
