"""Studies written as YAML.

::

    id: digits
    task: digits:Digits             # or a command: see docs/commands.md
    source_path: examples           # relative to the file; left out: the module is looked for
    search_space:
      lr: {loguniform: [1e-3, 1]}
      momentum: {uniform: [0.5, 0.99], when: {optimizer: [sgd]}}
      batch_size: {choice: [64, 128]}
      dropout: {uniform: [0, 0.5], transfer: false}
    objective: {minimize: validation_loss}      # or a list of several
    constraints: {memory_bytes: {max: 8e9}}      # left out: none
    known_points: [{lr: 0.1, momentum: 0.9}]     # tried first
    prior: {before: 0.5}                         # studies to begin with, and how much they count
    sampler: tpe
    pruner: {asha: {min_steps: 50, max_steps: 800, eta: 4}}
    surrogate: {width: 0.125, verify: [ladder]}
    trials: 64
    parallelism: 32
    seed: 0
    stopping: {max_duration_seconds: 3600, target_value: 0.1, max_trials_without_improvement: 20}
    retries: 3
    failure_budget: 10
    tags: {team: vision}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hydro.client.client import Client
from hydro.client.commands import Command, InBubbles, MetricsSource, json_lines, log_pattern, prometheus
from hydro.client.objectives import Constraint, Objective, Prior, maximize, minimize
from hydro.client.populations import population
from hydro.client.pruning import (
    Pruner,
    asha,
    by_time,
    hyperband,
    learning_curve,
    median,
    no_pruning,
    patience,
    percentile,
    successive_halving,
    threshold,
)
from hydro.client.spaces import Domain, Scalar, choice, constant, integer, logint, loguniform, uniform
from hydro.client.stopping import Stopping, stop_when
from hydro.client.study import Study
from hydro.client.surrogates import SurrogateSettings, surrogate
from hydro.kit.errors import FieldViolation, InvalidArgument, NotFound

_PRUNERS: Mapping[str, Callable[..., Pruner]] = {
    "asha": asha,
    "by_time": by_time,
    "hyperband": hyperband,
    "learning_curve": learning_curve,
    "median": median,
    "none": no_pruning,
    "patience": patience,
    "percentile": percentile,
    "successive_halving": successive_halving,
    "threshold": threshold,
}
_OBJECTIVES: Mapping[str, Callable[[str], Objective]] = {"minimize": minimize, "maximize": maximize}
_METRICS: Mapping[str, Callable[..., MetricsSource]] = {
    "log_pattern": log_pattern,
    "json_lines": json_lines,
    "prometheus": prometheus,
}
_PLAIN = ("sampler", "trials", "parallelism", "seed", "retries", "failure_budget")
_KEYS = {
    "id", "task", "command", "source_path", "search_space", "objective", "constraints", "known_points", "prior",
    "pruner", "population", "surrogate", "stopping", "tags", *_PLAIN,
}  # fmt: skip
_STOPPING: Mapping[str, Callable[[Any], Any]] = {
    "max_duration_seconds": float,
    "target_value": float,
    "max_trials_without_improvement": int,
}


def create_study(client: Client, file: Path) -> Study:
    """Creates the study that the file describes.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: names each wrong field.
        AlreadyExists: the id is taken.
    """
    return client.create_study(**read_study(file))


def read_study(file: Path) -> dict[str, Any]:
    """The arguments of `Client.create_study` in a file.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: names the wrong field.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise NotFound(f"{file} does not exist: give the path of a study's YAML file") from None
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{file} is not YAML: {error}") from error
    fields = _mapping(content, str(file))
    _check_keys(fields)
    arguments: dict[str, Any] = {name: fields[name] for name in _PLAIN if name in fields}
    arguments["study_id"] = fields["id"]
    arguments["task"] = fields.get("task")
    if "source_path" in fields:
        arguments["source_path"] = str((file.parent / fields["source_path"]).resolve())
    arguments["search_space"] = {
        name: _domain(name, each) for name, each in _mapping(fields["search_space"], "search_space").items()
    }
    arguments |= _objectives(fields)
    if "command" in fields:
        arguments["command"] = _command(fields["command"])
    if "pruner" in fields:
        arguments["pruner"] = _pruner(fields["pruner"], "pruner")
    if "stopping" in fields:
        arguments["stopping"] = _stopping(_mapping(fields["stopping"], "stopping"))
    if "tags" in fields:
        tags = _mapping(fields["tags"], "tags")
        arguments["tags"] = {str(key): str(value) for key, value in tags.items()}
    if "population" in fields:
        settings = _mapping(fields["population"], "population")
        arguments["population"] = _one_of({"population": population}, {"population": settings}, "study", _called)
    if "surrogate" in fields:
        arguments["surrogate"] = _surrogate(_mapping(fields["surrogate"], "surrogate"))
    return arguments


def _called(make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    return make(**settings)


def _pruner(given: Any, field: str) -> Pruner:
    def made(make: Callable[..., Pruner], settings: Any) -> Pruner:
        settings = dict(settings)
        # Only patience and by_time have a rule inside; what it leaves out is as outside.
        if settings.get("rule"):
            ((kind, inner),) = _mapping(settings["rule"], f"{field}.{make.__name__}.rule").items()
            outer = {name: settings[name] for name in ("interval_steps", "max_steps") if name in settings}
            settings["rule"] = _pruner({kind: {**outer, **inner}}, f"{field}.{make.__name__}.rule")
        return make(**({"rule": None, **settings} if make is patience else settings))

    built: Pruner = _one_of(_PRUNERS, given, field, made)
    return built


def _command(given: Any) -> Command:
    """A list of arguments, or a mapping that has one."""
    fields: dict[str, Any] = {"arguments": given} if isinstance(given, list) else dict(_mapping(given, "command"))
    known = [each.name for each in dataclasses.fields(Command)]
    unknown = sorted(fields.keys() - set(known))
    if unknown:
        advice = f"is no key of it; known: {', '.join(known)}"
        raise InvalidArgument.of([FieldViolation(f"command.{key}", advice) for key in unknown])
    if not isinstance(fields.get("arguments"), list):
        advice = f"is {fields.get('arguments')!r}: give a list, the program first"
        raise InvalidArgument.of([FieldViolation("command.arguments", advice)])
    # YAML reads 8 as a number; to a program it is text all the same.
    fields["arguments"] = [_text(each) for each in fields["arguments"]]
    fields["environment"] = {
        name: _text(each) for name, each in _mapping(fields.get("environment", {}), "command.environment").items()
    }
    fields["metrics"] = [
        _one_of(_METRICS, each, f"command.metrics[{index}]", _metrics_source)
        for index, each in enumerate(fields.get("metrics", ()))
    ]
    if fields.get("in_bubbles") is not None:
        fields["in_bubbles"] = _in_bubbles(fields["in_bubbles"])
    return Command(**fields)


def _in_bubbles(given: Any) -> InBubbles:
    settings, known = _mapping(given, "command.in_bubbles"), [each.name for each in dataclasses.fields(InBubbles)]
    for name, value in settings.items():
        if name not in known:
            advice = f"is no key of it; known: {', '.join(known)}"
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            advice = f"is {value!r}: give a number"
        elif name == "memory_bytes" and not isinstance(value, int):
            advice = f"is {value!r}: give a whole number of bytes"
        else:
            continue
        raise InvalidArgument.of([FieldViolation(f"command.in_bubbles.{name}", advice)])
    if "memory_bytes" not in settings:
        advice = "is missing: give what the program holds of the GPU at most"
        raise InvalidArgument.of([FieldViolation("command.in_bubbles.memory_bytes", advice)])
    return InBubbles(**settings)


def _text(given: Any) -> Any:
    return str(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else given


def _metrics_source(make: Callable[..., MetricsSource], given: Any) -> MetricsSource:
    return make(**given) if isinstance(given, Mapping) else make(given)


def _objectives(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = fields["objective"]
    objectives = [
        _one_of(_OBJECTIVES, each, "objective", lambda make, metric: make(metric))
        for each in (given if isinstance(given, list) else [given])
    ]
    arguments: dict[str, Any] = {"objective": objectives if isinstance(given, list) else objectives[0]}
    if "constraints" in fields:
        bounds = _mapping(fields["constraints"], "constraints")
        arguments["constraints"] = [_constraint(metric, each) for metric, each in bounds.items()]
    if "known_points" in fields:
        arguments["known_points"] = [_mapping(each, "known_points") for each in fields["known_points"]]
    if "prior" in fields:
        weights = _mapping(fields["prior"], "prior")
        arguments["prior"] = [Prior(study, float(weight)) for study, weight in weights.items()]
    return arguments


def _constraint(metric: str, given: Any) -> Constraint:
    field = f"constraints.{metric}"
    bounds = _mapping(given, field)
    if not bounds or bounds.keys() - {"min", "max"}:
        raise InvalidArgument.of([FieldViolation(field, f"is {given!r}: give min, max, or both")])
    return Constraint(metric, **{name: float(value) for name, value in bounds.items()})


def read_values(given: Sequence[str]) -> dict[str, Scalar]:
    """Hyperparameters from name=value, each value as YAML reads it.

    Raises:
        InvalidArgument: one is not of that form.
    """
    values: dict[str, Scalar] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise InvalidArgument.of([FieldViolation(each, "is not of the form name=value")])
        read = yaml.safe_load(value)
        # YAML reads 1e-3, without a point, as text.
        values[name] = _as_number(read) if isinstance(read, str) else read
    return values


def _as_number(text: str) -> Scalar:
    try:
        return float(text)
    except ValueError:
        return text


def _stopping(fields: Mapping[str, Any]) -> Stopping:
    unknown = sorted(fields.keys() - _STOPPING.keys())
    if unknown:
        known = ", ".join(_STOPPING)
        raise InvalidArgument.of(
            [FieldViolation(f"stopping.{key}", f"is no key of it; known: {known}") for key in unknown]
        )
    try:
        # A number such as 1e-3, without a point, is read as text.
        return stop_when(**{name: _STOPPING[name](value) for name, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of([FieldViolation("stopping", f"{dict(fields)!r}: {error}")]) from error


def _surrogate(fields: Mapping[str, Any]) -> SurrogateSettings:
    unknown = sorted(fields.keys() - {"width", "depth", "verify", "accept_failed_checks"})
    if unknown:
        known = "known: width, depth, verify, accept_failed_checks"
        raise InvalidArgument.of([FieldViolation(f"surrogate.{key}", f"is no key of it; {known}") for key in unknown])
    return surrogate(
        float(fields.get("width", 1.0)),
        depth=float(fields.get("depth", 1.0)),
        verify=list(fields.get("verify", ())),
        accept_failed_checks=bool(fields.get("accept_failed_checks", False)),
    )


def _check_keys(fields: Mapping[str, Any]) -> None:
    known = ", ".join(sorted(_KEYS))
    unknown = [FieldViolation(key, f"is no key of a study; known: {known}") for key in sorted(fields.keys() - _KEYS)]
    missing = [FieldViolation(key, "is missing") for key in ("id", "search_space", "objective") if key not in fields]
    if unknown or missing:
        raise InvalidArgument.of([*missing, *unknown])


def _domain(name: str, given: Any) -> Domain:
    field = f"search_space.{name}"
    content = dict(_mapping(given, field))
    transfer, conditions = content.pop("transfer", True), content.pop("when", {})
    step = content.pop("step", None)
    built: Domain = _one_of(_DOMAINS, content, field, lambda make, values: make(values, step))
    return replace(built, transfer=bool(transfer)).when(**_mapping(conditions, f"{field}.when"))


def _numbers(values: Any) -> tuple[float, float]:
    # YAML reads 1e-3, without a point, as text.
    low, high = (float(each) for each in values)
    return low, high


def _uniform(values: Any, step: float | None) -> Domain:
    return uniform(*_numbers(values), step=step)


def _loguniform(values: Any, step: float | None) -> Domain:
    return loguniform(*_numbers(values))


def _integer(values: Any, step: float | None) -> Domain:
    low, high = values
    return integer(low, high, step=int(step or 1))


def _logint(values: Any, step: float | None) -> Domain:
    low, high = values
    return logint(low, high)


def _choice(values: Any, step: float | None) -> Domain:
    return choice(list(values))


def _constant(value: Any, step: float | None) -> Domain:
    return constant(value)


_DOMAINS: Mapping[str, Callable[[Any, float | None], Domain]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "integer": _integer,
    "logint": _logint,
    "choice": _choice,
    "constant": _constant,
}


def _one_of(makers: Mapping[str, Any], given: Any, field: str, make: Callable[[Any, Any], Any]) -> Any:
    """Makes the one thing that a mapping of one key describes."""
    content = _mapping(given, field)
    known = ", ".join(makers)
    if len(content) != 1 or next(iter(content)) not in makers:
        raise InvalidArgument.of([FieldViolation(field, f"{given!r}: give exactly one of {known}")])
    kind, value = next(iter(content.items()))
    try:
        return make(makers[kind], value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of([FieldViolation(f"{field}.{kind}", f"{value!r}: {error}")]) from error


def _mapping(given: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidArgument.of([FieldViolation(field, f"{given!r} is no mapping of names to values")])
    return given
