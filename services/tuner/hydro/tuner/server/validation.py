"""What a request must be: every wrong field with its path, its value and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import isfinite
from urllib.parse import urlparse

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2
from hydro.api.type.v1 import search_space_pb2, task_pb2, verification_pb2
from hydro.kit.errors import FieldViolation, InvalidArgument

_ID = "[a-z][a-z0-9-]{0,62}"
_PARENT = re.compile(f"projects/{_ID}")
_SURROGATE_ID = re.compile(_ID)
_ENTRY_POINT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def check_create_surrogate(request: tuner_service_pb2.CreateSurrogateRequest) -> None:
    """Refuses a request from which no surrogate can be built.

    Raises:
        InvalidArgument: with every wrong field.
    """
    _refuse_if_any([*_create_violations(request), *_task_violations(request.task), *_space_violations(request)])


def check_plan_bundles(request: tuner_service_pb2.PlanBundlesRequest) -> None:
    """Refuses a profile that nothing can have measured, and trials that cannot be told apart.

    Raises:
        InvalidArgument: with every wrong field.
    """
    violations = [*_profile_violations(request), *_compiled_violations(request.surrogate.profile)]
    violations += [*_trial_violations(request), *_max_steps_violations(request.max_steps)]
    _refuse_if_any([*violations, *_miss_violations(request)])


def check_transfer(request: tuner_service_pb2.TransferHyperparametersRequest) -> None:
    """Refuses a surrogate that is not built, and a ratio of batches that is none.

    Raises:
        InvalidArgument: with every wrong field.
    """
    width, ratio = request.surrogate.width, request.batch_ratio
    violations = []
    if not 0 < width <= 1:
        violations.append(FieldViolation("surrogate.width", f"is {width:g}: give a surrogate that is READY"))
    if ratio < 0 or not isfinite(ratio):
        violations.append(FieldViolation("batch_ratio", f"is {ratio:g}: give the target's batch over the surrogate's"))
    _refuse_if_any(violations)


def _refuse_if_any(violations: list[FieldViolation]) -> None:
    if violations:
        raise InvalidArgument.of(violations)


def _create_violations(request: tuner_service_pb2.CreateSurrogateRequest) -> Iterator[FieldViolation]:
    if not _PARENT.fullmatch(request.parent):
        yield FieldViolation("parent", f"is {request.parent!r}: give projects/PROJECT")
    if not _SURROGATE_ID.fullmatch(request.surrogate_id):
        yield FieldViolation(
            "surrogate_id", f"is {request.surrogate_id!r}: use 1 to 63 of a-z, 0-9 and '-', a letter first"
        )
    if not 0 < request.width <= 1:
        yield FieldViolation("width", f"is {request.width:g}: give the surrogate over the target, in (0, 1]")
    yield from _depth_violations(request)
    if not request.objective_metric:
        yield FieldViolation("objective_metric", "is empty: name the metric that the study optimizes")
    if not urlparse(request.artifact_uri).path:
        yield FieldViolation("artifact_uri", f"is {request.artifact_uri!r}: give a folder's URI, file:///var/lib/hydro")
    if request.max_lanes < 1:
        yield FieldViolation("max_lanes", f"is {request.max_lanes}: give the most lanes of a bundle, 1 or more")
    if request.threads < 0:
        yield FieldViolation("threads", f"is {request.threads}: give the threads of one op, or 0 (not known)")
    yield from _max_steps_violations(request.max_steps)
    yield from _verification_violations(request)


def _depth_violations(request: tuner_service_pb2.CreateSurrogateRequest) -> Iterator[FieldViolation]:
    if not request.HasField("depth"):
        return
    if not 0 < request.depth <= 1:
        yield FieldViolation("depth", f"is {request.depth:g}: give the surrogate over the target, in (0, 1]")
    elif request.depth < 1 and request.width == 1:
        yield FieldViolation("depth", f"is {request.depth:g} without a surrogate: give a width below 1, too")


def _verification_violations(request: tuner_service_pb2.CreateSurrogateRequest) -> Iterator[FieldViolation]:
    checks = list(request.verification.checks)
    known = {number: name for name, number in verification_pb2.Check.items() if number}
    for index, check in enumerate(checks):
        path = f"verification.checks[{index}]"
        if check not in known:
            yield FieldViolation(path, f"is {check}: give {' or '.join(known.values())}")
        elif check in checks[:index]:
            yield FieldViolation(path, f"is {known[check]} again: give each check once")
    if checks and request.width == 1:
        yield FieldViolation("verification.checks", "there is no surrogate to check: give a width below 1")
    if verification_pb2.CHECK_LADDER in checks and request.max_steps < 1:
        yield FieldViolation("max_steps", f"is {request.max_steps}: CHECK_LADDER trains for so many steps, 1 or more")


def _max_steps_violations(max_steps: int) -> Iterator[FieldViolation]:
    if max_steps < 0:
        yield FieldViolation("max_steps", f"is {max_steps}: give the steps of the longest training, or 0 (not known)")


def _task_violations(task: task_pb2.Task) -> Iterator[FieldViolation]:
    if not _ENTRY_POINT.fullmatch(task.entry_point):
        yield FieldViolation("task.entry_point", f"is {task.entry_point!r}: give module:Class, as in digits:Digits")


def _space_violations(request: tuner_service_pb2.CreateSurrogateRequest) -> Iterator[FieldViolation]:
    parameters = request.search_space.parameters
    if not parameters:
        yield FieldViolation("search_space.parameters", "is empty: give at least one hyperparameter to search")
    names: set[str] = set()
    for index, parameter in enumerate(parameters):
        path = f"search_space.parameters[{index}]"
        if not _PARAMETER_NAME.fullmatch(parameter.name):
            yield FieldViolation(f"{path}.name", f"is {parameter.name!r}: use letters, digits, '_' and '.'")
        if parameter.name in names:
            yield FieldViolation(f"{path}.name", f"{parameter.name!r} is there twice: give each its own name")
        names.add(parameter.name)
        yield from _domain_violations(parameter, path)


def _domain_violations(parameter: search_space_pb2.Parameter, path: str) -> Iterator[FieldViolation]:
    match parameter.WhichOneof("domain"):
        case "float_domain":
            yield from _range_violations(parameter.float_domain, f"{path}.float_domain")
        case "int_domain":
            yield from _range_violations(parameter.int_domain, f"{path}.int_domain")
        case "categorical_domain":
            yield from _value_violations(parameter.categorical_domain.values, f"{path}.categorical_domain.values")
        case "constant_domain":
            yield from _value_violations([parameter.constant_domain.value], f"{path}.constant_domain.value")
        case _:
            yield FieldViolation(path, f"{parameter.name!r} has no domain: give the values it may take")


def _range_violations(
    domain: search_space_pb2.FloatDomain | search_space_pb2.IntDomain, path: str
) -> Iterator[FieldViolation]:
    if not (isfinite(domain.min) and isfinite(domain.max)):
        yield FieldViolation(path, f"goes from {domain.min:g} to {domain.max:g}: give finite ends")
    if domain.min > domain.max:
        yield FieldViolation(f"{path}.min", f"is {domain.min:g}, above the max {domain.max:g}: swap them")
    if domain.log and domain.min <= 0:
        yield FieldViolation(f"{path}.min", f"is {domain.min:g}, and there is no logarithm of it: give one above 0")


def _value_violations(values: Iterable[search_space_pb2.Value], path: str) -> Iterator[FieldViolation]:
    kinds = [value.WhichOneof("kind") for value in values]
    if not kinds:
        yield FieldViolation(path, "is empty: give at least one value")
    if None in kinds:
        yield FieldViolation(path, "has a value that is not set: give a number, a text or a truth value")


def _profile_violations(request: tuner_service_pb2.PlanBundlesRequest) -> Iterator[FieldViolation]:
    lanes_before = 0
    for index, point in enumerate(request.surrogate.profile.fused):
        path = f"surrogate.profile.fused[{index}]"
        if point.lanes <= lanes_before:
            yield FieldViolation(
                f"{path}.lanes", f"is {point.lanes} after {lanes_before}: sort the points, from 1 lane up"
            )
        if not point.step_seconds > 0:
            yield FieldViolation(f"{path}.step_seconds", f"is {point.step_seconds:g}: a step takes longer than that")
        lanes_before = point.lanes


def _compiled_violations(profile: surrogate_pb2.Profile) -> Iterator[FieldViolation]:
    compiled, path = profile.compiled, "surrogate.profile.compiled"
    if not profile.HasField("compiled"):
        return
    if compiled.lanes not in {point.lanes for point in profile.fused}:
        yield FieldViolation(f"{path}.lanes", f"is {compiled.lanes}: give one of the profile's fusion counts")
    if not compiled.step_seconds > 0:
        yield FieldViolation(f"{path}.step_seconds", f"is {compiled.step_seconds:g}: a step takes longer than that")
    if compiled.bundle_steps < 1:
        yield FieldViolation(f"{path}.bundle_steps", f"is {compiled.bundle_steps}: give 1 or more")


def _miss_violations(request: tuner_service_pb2.PlanBundlesRequest) -> Iterator[FieldViolation]:
    for number, device in enumerate(request.devices):
        for index, miss in enumerate(device.memory_misses):
            path = f"devices[{number}].memory_misses[{index}]"
            if miss.lanes < 1:
                yield FieldViolation(f"{path}.lanes", f"is {miss.lanes}: give 1 or more")
            if miss.memory_bytes < 0:
                yield FieldViolation(f"{path}.memory_bytes", f"is {miss.memory_bytes}: give 0 (not known) or more")


def _trial_violations(request: tuner_service_pb2.PlanBundlesRequest) -> Iterator[FieldViolation]:
    names: set[str] = set()
    for index, trial in enumerate(request.trials):
        if trial.trial in names or not trial.trial:
            yield FieldViolation(f"trials[{index}].trial", f"is {trial.trial!r}: name each trial, and each once")
        names.add(trial.trial)
