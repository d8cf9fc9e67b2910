"""Values as the JSON documents that columns hold, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, assert_never

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
from hydro.coordinator.study import AshaPruning, Check, MedianPruning, NoPruning, Pruning, Verification
from hydro.coordinator.trial import Artifact

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


def pruning_document(pruning: Pruning) -> Document:
    """The pruning rule as a document."""
    match pruning:
        case NoPruning():
            return {"none": asdict(pruning)}
        case MedianPruning():
            return {"median": asdict(pruning)}
        case AshaPruning():
            return {"asha": asdict(pruning)}
        case _:
            assert_never(pruning)


_PRUNINGS: dict[str, type[Pruning]] = {"none": NoPruning, "median": MedianPruning, "asha": AshaPruning}


def pruning_of(document: Document) -> Pruning:
    """The pruning rule of a document."""
    ((kind, content),) = document.items()
    return _PRUNINGS[kind](**content)


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


def verification_document(verification: Verification) -> Document:
    """What the surrogate has to show, as a document."""
    return {
        "checks": [check.value for check in verification.checks],
        "accept_failed_checks": verification.accept_failed_checks,
    }


def verification_of(document: Document) -> Verification:
    """What a document wants; an empty one, as studies of older releases have, wants nothing."""
    return Verification(
        tuple(Check(each) for each in document.get("checks", ())), document.get("accept_failed_checks", False)
    )
