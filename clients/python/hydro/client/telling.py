"""What a caller tells of a trial: metrics by name, from whatever an objective function gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import SupportsFloat

from hydro.client.objectives import Objective
from hydro.kit.errors import FieldViolation, InvalidArgument

Told = SupportsFloat | Sequence[SupportsFloat] | Mapping[str, SupportsFloat]
"""The objective; several of them in the study's order; or metrics by name, the objectives among them."""


def metrics_of(told: Told, objectives: Sequence[Objective]) -> dict[str, float]:
    """The metrics by name.

    Raises:
        InvalidArgument: an objective is missing, or there are too many of them.
    """
    names = [each.metric for each in objectives]
    if isinstance(told, Mapping):
        metrics = {name: _number(value, name) for name, value in told.items()}
        missing = [name for name in names if name not in metrics]
        if missing:
            raise InvalidArgument.of([FieldViolation(name, "is missing: tell every objective") for name in missing])
        return metrics
    values = list(told) if isinstance(told, Sequence) and not isinstance(told, str) else [told]
    if len(values) != len(names):
        expected = f"give {len(names)}, for {', '.join(names)}"
        raise InvalidArgument.of([FieldViolation("value", f"{told!r} has {len(values)} of the objectives: {expected}")])
    return {name: _number(value, name) for name, value in zip(names, values, strict=True)}


def mean_metrics(repeats: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> dict[str, float]:
    """The mean of each metric that every repeat has; how many there were, and how far the objectives spread."""
    if len(repeats) == 1:
        return dict(repeats[0])
    shared = [name for name in repeats[0] if all(name in each for each in repeats)]
    metrics = {name: fmean(each[name] for each in repeats) for name in shared}
    metrics["repeats"] = float(len(repeats))
    for objective in objectives:
        name = objective.metric
        metrics[f"{name}_standard_deviation"] = stdev(each[name] for each in repeats)
    return metrics


def _number(value: object, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        advice = f"is {value!r}: give a number, as the objective function's result or by name"
        raise InvalidArgument.of([FieldViolation(name, advice)]) from None
