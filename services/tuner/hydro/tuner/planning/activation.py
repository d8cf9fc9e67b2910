"""Where a hyperparameter with conditions can be tried: among values of its parents under which it is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydro.tuner.planning.plan import Value

Conditions = Mapping[str, Mapping[str, tuple[Value, ...]]]
"""By hyperparameter, the values of each parent under which it is active."""


def activated(name: str, hyperparameters: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    """The hyperparameters, with such values of its parents, and of theirs, that this one is active.

    One whose conditions contradict each other is in no trial: its parents stay as they are.
    """
    found, waiting = dict(hyperparameters), [name]
    while waiting:
        for parent, values in conditions.get(waiting.pop(), {}).items():
            if not any(is_equal(found.get(parent), each) for each in values) and values:
                found[parent] = values[0]
            waiting.append(parent)
    return found


def is_equal(one: object, other: object) -> bool:
    """Equal as the coordinator has it, which says what is active: 1 is 1.0, and True is neither."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def is_same(one: object, other: object) -> bool:
    """Equal with the type, because True == 1 == 1.0 and a model may tell them apart."""
    return type(one) is type(other) and one == other
