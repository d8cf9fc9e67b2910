"""Values as the JSON documents that columns hold, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, assert_never

from hydro.coordinator.command import Command, InBubbles, JsonLinesFile, LogPattern, MetricsSource, PrometheusEndpoint
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PercentilePruning,
    Pruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
    TimedPruning,
)
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
from hydro.coordinator.stopping import Endurance, Stopping
from hydro.coordinator.study import Check, Constraint, Goal, Objective, Population, Prior, Task, Verification
from hydro.coordinator.trial import Artifact, HyperparameterChange, Result, Retry, SearchedHistory

Document = Any


def search_space_document(space: SearchSpace) -> Document:
    """The search space as a document."""
    return [
        {
            "name": parameter.name,
            "domain": _domain_document(parameter.domain),
            "conditions": [{"parent": each.parent, "values": list(each.values)} for each in parameter.conditions],
            "not_transferable": parameter.not_transferable,
        }
        for parameter in space.parameters
    ]


def search_space_of(document: Document) -> SearchSpace:
    """The search space of a document."""
    return SearchSpace(
        tuple(
            Parameter(
                each["name"],
                _domain_of(each["domain"]),
                tuple(Condition(one["parent"], tuple(one["values"])) for one in each["conditions"]),
                each["not_transferable"],
            )
            for each in document
        )
    )


def _domain_document(domain: Domain) -> Document:
    match domain:
        case FloatDomain():
            return {"float": [domain.min, domain.max, domain.log, domain.step]}
        case IntDomain():
            return {"int": [domain.min, domain.max, domain.log, domain.step]}
        case CategoricalDomain():
            return {"categorical": list(domain.values)}
        case ConstantDomain():
            return {"constant": domain.value}
        case _:
            assert_never(domain)


def _domain_of(document: Document) -> Domain:
    ((kind, content),) = document.items()
    match kind:
        case "float":
            return FloatDomain(*content)
        case "int":
            return IntDomain(*content)
        case "categorical":
            return CategoricalDomain(tuple(content))
        case "constant":
            return ConstantDomain(content)
        case _:
            raise ValueError(f"a stored search space has a domain of the unknown kind {kind!r}")


_PRUNINGS: Mapping[str, type[Pruning]] = {
    "none": NoPruning,
    "median": MedianPruning,
    "percentile": PercentilePruning,
    "threshold": ThresholdPruning,
    "learning_curve": LearningCurvePruning,
    "successive_halving": SuccessiveHalvingPruning,
    "asha": AshaPruning,
    "hyperband": HyperbandPruning,
    "patience": PatiencePruning,
    "by_time": TimedPruning,
}
_PRUNING_NAMES = {kind: name for name, kind in _PRUNINGS.items()}


def pruning_document(pruning: Pruning) -> Document:
    """The pruning rule as a document."""
    content = asdict(pruning)
    if isinstance(pruning, PatiencePruning | TimedPruning) and pruning.rule is not None:
        content["rule"] = pruning_document(pruning.rule)
    return {_PRUNING_NAMES[type(pruning)]: content}


def pruning_of(document: Document) -> Pruning:
    """The pruning rule of a document."""
    ((kind, content),) = document.items()
    if content.get("rule"):
        content = {**content, "rule": pruning_of(content["rule"])}
    return _PRUNINGS[kind](**content)


def population_document(population: Population | None) -> Document:
    """The population as a document."""
    return None if population is None else asdict(population)


def population_of(document: Document) -> Population | None:
    """The population of a document."""
    return None if document is None else Population(**document)


def changes_document(changes: Sequence[HyperparameterChange]) -> Document:
    """Changes of hyperparameters as a document."""
    return [[each.step, dict(each.hyperparameters), each.trial, each.parent] for each in changes]


def changes_of(document: Document) -> tuple[HyperparameterChange, ...]:
    """The changes of a document."""
    return tuple(HyperparameterChange(*each) for each in document)


def artifact_document(artifact: Artifact | None) -> Document:
    """The artifact as a document."""
    return None if artifact is None else asdict(artifact)


def artifact_of(document: Document) -> Artifact | None:
    """The artifact of a document."""
    return None if document is None else Artifact(**document)


def metrics_document(metrics: Mapping[str, float]) -> Document:
    """The metrics as a document. JSON has no NaN and no infinity: they are written by name."""
    return {name: value if abs(value) < math.inf else str(value) for name, value in metrics.items()}


def metrics_of(document: Document) -> dict[str, float]:
    """The metrics of a document."""
    return {name: float(value) for name, value in document.items()}


def clean(text: str) -> str:
    """The text without NUL, which Postgres cannot store."""
    return text.replace("\x00", "")


def verification_document(verification: Verification, surrogate_depth: float) -> Document:
    """What the surrogate has to show, and its depth, as a document."""
    return {
        "surrogate_depth": surrogate_depth,
        "checks": [check.value for check in verification.checks],
        "accept_failed_checks": verification.accept_failed_checks,
    }


def verification_of(document: Document) -> Verification:
    """What a document wants; an empty one, as studies of older releases have, wants nothing."""
    return Verification(
        tuple(Check(each) for each in document.get("checks", ())), document.get("accept_failed_checks", False)
    )


def surrogate_depth_of(document: Document) -> float:
    """The surrogate's depth in a document; studies of older releases have all layers."""
    return float(document.get("surrogate_depth", 1.0))


def objectives_document(objectives: Sequence[Objective]) -> Document:
    """The objectives as a document."""
    return [[each.metric, each.goal.value] for each in objectives]


def objectives_of(document: Document) -> tuple[Objective, ...]:
    """The objectives of a document."""
    return tuple(Objective(metric, Goal(goal)) for metric, goal in document)


def constraints_document(constraints: Sequence[Constraint]) -> Document:
    """The constraints as a document."""
    return [{"metric": each.metric, **metrics_document({"min": each.min, "max": each.max})} for each in constraints]


def constraints_of(document: Document) -> tuple[Constraint, ...]:
    """The constraints of a document."""
    return tuple(Constraint(each["metric"], float(each["min"]), float(each["max"])) for each in document)


def priors_document(priors: Sequence[Prior]) -> Document:
    """The priors as a document."""
    return [[str(each.study), each.weight] for each in priors]


def priors_of(document: Document) -> tuple[Prior, ...]:
    """The priors of a document."""
    return tuple(Prior(StudyName.parse(study), weight) for study, weight in document)


def result_document(result: Result | None) -> Document:
    """What a trial has come to, as a document."""
    return None if result is None else asdict(result)


def result_of(document: Document) -> Result | None:
    """What a trial has come to."""
    return None if document is None else Result(tuple(document["values"]), document["violations"], document["metrics"])


def retries_of(document: Document) -> tuple[Retry, ...]:
    """The lost runs of a document."""
    return tuple(Retry(**{**each, "time": datetime.fromisoformat(each["time"])}) for each in document)


def searched_document(history: SearchedHistory | None) -> Document:
    """What a suggestion had known, as a document; what is empty is left out."""
    if history is None:
        return None
    parts = {"from": history.searched_from, "ended": list(history.ended)}
    parts |= {"paused": dict(history.paused), "running": dict(history.running)}
    return {name: part for name, part in parts.items() if part or name == "from"}


def searched_of(document: Document) -> SearchedHistory | None:
    """What a suggestion had known, of a document."""
    if document is None:
        return None
    paused, running = (
        {int(number): steps for number, steps in document.get(name, {}).items()} for name in ("paused", "running")
    )
    return SearchedHistory(document["from"], tuple(document.get("ended", ())), paused, running)


def work_document(work: Task | Command | None) -> Document:
    """What a study's workers do, as a document: a task, a command, or nothing."""
    match work:
        case Command():
            sources = [{_SOURCE_NAMES[type(each)]: asdict(each)} for each in work.metrics]
            return {"command": asdict(work) | {"metrics": sources}}
        case Task():
            return asdict(work)
        case None:
            return None


_SOURCES: dict[str, type[MetricsSource]] = {
    "log_pattern": LogPattern,
    "json_lines_file": JsonLinesFile,
    "prometheus_endpoint": PrometheusEndpoint,
}
_SOURCE_NAMES = {each: name for name, each in _SOURCES.items()}


def work_of(document: Document) -> Task | Command | None:
    """What a study's workers do, of a document."""
    if document is None:
        return None
    if "command" not in document:
        return Task(**document)
    content = document["command"]
    sources = tuple(_SOURCES[kind](**each) for one in content["metrics"] for kind, each in one.items())
    # Studies of older releases have none.
    bubbles = content.get("in_bubbles")
    in_bubbles = None if bubbles is None else InBubbles(**bubbles)
    arguments = tuple(content["arguments"])
    return Command(**content | {"arguments": arguments, "metrics": sources, "in_bubbles": in_bubbles})


def limits_document(stopping: Stopping, endurance: Endurance) -> Document:
    """What ends a study, as a document."""
    return {**asdict(stopping), **asdict(endurance)}


def limits_of(document: Document) -> tuple[Stopping, Endurance]:
    """What ends a study; an empty document, as studies of older releases have, has the defaults."""
    known = [each.name for each in fields(Stopping)]
    return (
        Stopping(**{name: value for name, value in document.items() if name in known}),
        Endurance(**{name: value for name, value in document.items() if name not in known}),
    )
