"""Studies written as YAML; docs/study-file.md has every key.

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
    trial_timeout_seconds: 60                    # of a study that its callers drive
    tags: {team: vision}
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hydro.client.client import Client
from hydro.client.commands import Command, InBubbles, MetricsSource, json_lines, log_pattern, prometheus
from hydro.client.file_mappings import known_mapping, mapping, one_of
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
from hydro.client.space_file import read_space
from hydro.client.spaces import Scalar
from hydro.client.stopping import Stopping, stop_when
from hydro.client.study import Study
from hydro.client.study_keys import KEYS
from hydro.client.surrogates import SurrogateSettings, surrogate
from hydro.kit.errors import FieldViolation, InvalidArgument, NotFound

PRUNERS: Mapping[str, Callable[..., Pruner]] = {
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
METRICS: Mapping[str, Callable[..., MetricsSource]] = {
    "log_pattern": log_pattern,
    "json_lines": json_lines,
    "prometheus": prometheus,
}
_PLAIN = ("id", "sampler", "trials", "parallelism", "seed", "retries", "failure_budget", "trial_timeout_seconds")
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
    fields = mapping(content, str(file))
    _check_keys(fields)
    arguments: dict[str, Any] = {KEYS[name].argument: fields[name] for name in _PLAIN if name in fields}
    arguments["task"] = fields.get("task")
    if "source_path" in fields:
        arguments["source_path"] = str((file.parent / fields["source_path"]).resolve())
    arguments["search_space"] = read_space(fields["search_space"])
    arguments |= _objectives(fields)
    if "command" in fields:
        arguments["command"] = _command(fields["command"])
    if "pruner" in fields:
        arguments["pruner"] = _pruner(fields["pruner"], "pruner")
    if "stopping" in fields:
        arguments["stopping"] = _stopping(fields["stopping"])
    if "tags" in fields:
        tags = mapping(fields["tags"], "tags")
        arguments["tags"] = {str(key): str(value) for key, value in tags.items()}
    if "population" in fields:
        settings = mapping(fields["population"], "population")
        arguments["population"] = one_of({"population": population}, {"population": settings}, "study", _called)
    if "surrogate" in fields:
        arguments["surrogate"] = _surrogate(fields["surrogate"])
    return arguments


def _called(make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    return make(**settings)


def _pruner(given: Any, field: str) -> Pruner:
    def made(make: Callable[..., Pruner], settings: Any) -> Pruner:
        settings = dict(settings)
        # Only patience and by_time have a rule inside; what it leaves out is as outside.
        if settings.get("rule"):
            ((kind, inner),) = mapping(settings["rule"], f"{field}.{make.__name__}.rule").items()
            outer = {name: settings[name] for name in ("interval_steps", "max_steps") if name in settings}
            settings["rule"] = _pruner({kind: {**outer, **inner}}, f"{field}.{make.__name__}.rule")
        return make(**({"rule": None, **settings} if make is patience else settings))

    built: Pruner = one_of(PRUNERS, given, field, made)
    return built


def _command(given: Any) -> Command:
    """A list of arguments, or a mapping that has one."""
    known = [each.name for each in dataclasses.fields(Command)]
    fields: dict[str, Any] = (
        {"arguments": given} if isinstance(given, list) else dict(known_mapping(given, "command", known))
    )
    if not isinstance(fields.get("arguments"), list):
        advice = f"is {fields.get('arguments')!r}: give a list, the program first"
        raise InvalidArgument.of([FieldViolation("command.arguments", advice)])
    # YAML reads 8 as a number; to a program it is text all the same.
    fields["arguments"] = [_text(each) for each in fields["arguments"]]
    fields["environment"] = {
        name: _text(each) for name, each in mapping(fields.get("environment", {}), "command.environment").items()
    }
    fields["metrics"] = [
        one_of(METRICS, each, f"command.metrics[{index}]", _metrics_source)
        for index, each in enumerate(fields.get("metrics", ()))
    ]
    if fields.get("in_bubbles") is not None:
        fields["in_bubbles"] = _in_bubbles(fields["in_bubbles"])
    return Command(**fields)


def _in_bubbles(given: Any) -> InBubbles:
    known = [each.name for each in dataclasses.fields(InBubbles)]
    settings = known_mapping(given, "command.in_bubbles", known)
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
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
        one_of(_OBJECTIVES, each, "objective", lambda make, metric: make(metric))
        for each in (given if isinstance(given, list) else [given])
    ]
    arguments: dict[str, Any] = {"objective": objectives if isinstance(given, list) else objectives[0]}
    if "constraints" in fields:
        bounds = mapping(fields["constraints"], "constraints")
        arguments["constraints"] = [_constraint(metric, each) for metric, each in bounds.items()]
    if "known_points" in fields:
        arguments["known_points"] = [mapping(each, "known_points") for each in fields["known_points"]]
    if "prior" in fields:
        weights = mapping(fields["prior"], "prior")
        arguments["prior"] = [Prior(study, float(weight)) for study, weight in weights.items()]
    return arguments


def _constraint(metric: str, given: Any) -> Constraint:
    field = f"constraints.{metric}"
    bounds = mapping(given, field)
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


def _stopping(given: Any) -> Stopping:
    fields = known_mapping(given, "stopping", _STOPPING)
    try:
        # A number such as 1e-3, without a point, is read as text.
        return stop_when(**{name: _STOPPING[name](value) for name, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of([FieldViolation("stopping", f"{dict(fields)!r}: {error}")]) from error


def _surrogate(given: Any) -> SurrogateSettings:
    fields = known_mapping(given, "surrogate", inspect.signature(surrogate).parameters)
    return surrogate(
        float(fields.get("width", 1.0)),
        depth=float(fields.get("depth", 1.0)),
        verify=list(fields.get("verify", ())),
        accept_failed_checks=bool(fields.get("accept_failed_checks", False)),
    )


def _check_keys(fields: Mapping[str, Any]) -> None:
    known = ", ".join(sorted(KEYS))
    extra = sorted(fields.keys() - KEYS.keys())
    unknown = [FieldViolation(key, f"is no key of a study; known: {known}") for key in extra]
    missing = [FieldViolation(key, "is missing") for key in ("id", "search_space", "objective") if key not in fields]
    if unknown or missing:
        raise InvalidArgument.of([*missing, *unknown])
