"""The set of hyperparameters that a study searches: values, and what each of them may be.

Scalars are compared as `identity` says: 1 and 1.0 are one value, 1 and True are two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hydro.coordinator.trial import Hyperparameters, Value


def identity(value: Value) -> tuple[bool, Value]:
    """What two equal scalars have in common: in Python True equals 1, as hyperparameters they differ."""
    return isinstance(value, bool), value


def is_number(value: Value) -> bool:
    """Whether it is an int or a finite float; a bool is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_on_grid(value: float, start: float, step: float) -> bool:
    steps = (value - start) / step
    return math.isclose(steps, round(steps), rel_tol=1e-9, abs_tol=1e-9)


@dataclass(frozen=True, slots=True)
class FloatDomain:
    """Real numbers in [min, max]; with a step only those at multiples of it from min. Step 0: continuous."""

    min: float
    max: float
    log: bool = False
    step: float = 0.0

    def contains(self, value: Value) -> bool:
        """Whether a parameter of this domain may take the value."""
        if not is_number(value) or isinstance(value, str) or not self.min <= value <= self.max:
            return False
        return self.step == 0 or _is_on_grid(value, self.min, self.step)

    def __str__(self) -> str:
        return f"a number from {self.min!r} to {self.max!r}" + (f" in steps of {self.step!r}" if self.step else "")


@dataclass(frozen=True, slots=True)
class IntDomain:
    """Whole numbers in [min, max] at multiples of the step from min. Step 0 means 1."""

    min: int
    max: int
    log: bool = False
    step: int = 1

    def contains(self, value: Value) -> bool:
        """Whether a parameter of this domain may take the value."""
        if not is_number(value) or isinstance(value, str) or value != int(value):
            return False
        return self.min <= value <= self.max and (int(value) - self.min) % (self.step or 1) == 0

    def __str__(self) -> str:
        return f"a whole number from {self.min} to {self.max}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True, slots=True)
class CategoricalDomain:
    """One of a list of values, in no order."""

    values: tuple[Value, ...]

    def contains(self, value: Value) -> bool:
        """Whether a parameter of this domain may take the value."""
        return identity(value) in map(identity, self.values)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.values))


@dataclass(frozen=True, slots=True)
class ConstantDomain:
    """A fixed value, passed to every trial."""

    value: Value

    def contains(self, value: Value) -> bool:
        """Whether a parameter of this domain may take the value."""
        return identity(value) == identity(self.value)

    def __str__(self) -> str:
        return repr(self.value)


Domain = FloatDomain | IntDomain | CategoricalDomain | ConstantDomain


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds in a trial where the parent is active and has one of the values."""

    parent: str
    values: tuple[Value, ...]

    def holds(self, hyperparameters: Hyperparameters) -> bool:
        """Whether it holds among these values, which have a parent only where it is active."""
        if self.parent not in hyperparameters:
            return False
        return identity(hyperparameters[self.parent]) in map(identity, self.values)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One hyperparameter: the values it may take, and the conditions that all hold where it is active."""

    name: str
    domain: Domain
    conditions: tuple[Condition, ...] = ()
    not_transferable: bool = False

    def is_active(self, hyperparameters: Hyperparameters) -> bool:
        """Whether every condition holds among the values of a trial's active parameters."""
        return all(condition.holds(hyperparameters) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The hyperparameters of a study. Its methods expect a space that `validate` finds nothing wrong with."""

    parameters: tuple[Parameter, ...]

    def ordered(self) -> tuple[Parameter, ...]:
        """The parameters, every parent before its children, otherwise in their own order."""
        placed: dict[str, Parameter] = {}
        waiting = list(self.parameters)
        while waiting:
            ready = next(each for each in waiting if all(c.parent in placed for c in each.conditions))
            placed[ready.name] = ready
            waiting.remove(ready)
        return tuple(placed.values())

    def active(self, hyperparameters: Hyperparameters) -> tuple[Parameter, ...]:
        """The parameters that are active in a trial with these values, parents before children."""
        values: dict[str, Value] = {}
        active = []
        for parameter in self.ordered():
            if parameter.is_active(values):
                active.append(parameter)
                if parameter.name in hyperparameters:
                    values[parameter.name] = hyperparameters[parameter.name]
        return tuple(active)

    def hold(self, values: Hyperparameters) -> SearchSpace:
        """The space with the named parameters fixed at these values; other names are ignored."""
        return SearchSpace(
            tuple(
                replace(each, domain=ConstantDomain(values[each.name])) if each.name in values else each
                for each in self.parameters
            )
        )

    def without(self, names: Iterable[str]) -> SearchSpace:
        """The space without the named parameters, and without those that are active only by one of them."""
        dropped = set(names)
        for parameter in self.ordered():
            if any(condition.parent in dropped for condition in parameter.conditions):
                dropped.add(parameter.name)
        return SearchSpace(tuple(each for each in self.parameters if each.name not in dropped))
