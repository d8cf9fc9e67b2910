"""The set of hyperparameters that a study searches: values, and what each of them may be.

Scalars are compared as `identity` says: 1 and 1.0 are one value, 1 and True are two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from hydro.coordinator.trial import Hyperparameters, Value
from hydro.kit.errors import FieldViolation

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
MAX_NAME_LENGTH = 200
MAX_PARAMETERS = 1_000
MAX_WHOLE_NUMBER = 2**53
"""Beyond it neighbouring whole numbers are one float, and a search computes in floats."""


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

    @property
    def searched_names(self) -> frozenset[str]:
        """The parameters that may differ between trials."""
        return frozenset(each.name for each in self.parameters if not isinstance(each.domain, ConstantDomain))

    def without(self, names: Iterable[str]) -> SearchSpace:
        """The space without the named parameters, and without those that are active only by one of them."""
        dropped = set(names)
        for parameter in self.ordered():
            if any(condition.parent in dropped for condition in parameter.conditions):
                dropped.add(parameter.name)
        return SearchSpace(tuple(each for each in self.parameters if each.name not in dropped))


def validate(space: SearchSpace, field: str = "study.search_space") -> list[FieldViolation]:
    """Everything that is wrong with the space, each with its field's path below `field`. Empty: nothing."""
    path = f"{field}.parameters"
    count = len(space.parameters)
    if count == 0:
        return [FieldViolation(path, "is empty: give at least one parameter to search")]
    if count > MAX_PARAMETERS:
        return [FieldViolation(path, f"has {count} parameters: give at most {MAX_PARAMETERS}")]
    found: list[FieldViolation] = []
    by_name: dict[str, Parameter] = {}
    for index, parameter in enumerate(space.parameters):
        found += _name_violations(parameter.name, by_name, f"{path}[{index}].name")
        found += _domain_violations(parameter.domain, f"{path}[{index}]")
        by_name.setdefault(parameter.name, parameter)
    for index, parameter in enumerate(space.parameters):
        found += _condition_violations(parameter, by_name, f"{path}[{index}].conditions")
    return found


def validate_hyperparameters(
    space: SearchSpace, hyperparameters: Hyperparameters, field: str = "hyperparameters"
) -> list[FieldViolation]:
    """What keeps the values from being one trial's of a valid space: exactly the active ones, each in its domain."""
    active = {parameter.name: parameter for parameter in space.active(hyperparameters)}
    missing = [name for name in active if name not in hyperparameters]
    return [
        *validate_some_hyperparameters(space, hyperparameters, field),
        *(FieldViolation(f"{field}[{name!r}]", f"is missing: give {active[name].domain}") for name in missing),
    ]


def validate_some_hyperparameters(
    space: SearchSpace, hyperparameters: Hyperparameters, field: str = "hyperparameters"
) -> list[FieldViolation]:
    """What keeps the values from being some of one trial's: each active by those given with it, and in its domain."""
    active = {parameter.name: parameter for parameter in space.active(hyperparameters)}
    known = {parameter.name for parameter in space.parameters}
    found = []
    for name, value in hyperparameters.items():
        if name not in known:
            found.append(FieldViolation(f"{field}[{name!r}]", f"the study has no such parameter: give {sorted(known)}"))
        elif name not in active:
            found.append(FieldViolation(f"{field}[{name!r}]", "is not active with the other values: leave it out"))
        elif not active[name].domain.contains(value):
            found.append(FieldViolation(f"{field}[{name!r}]", f"is {value!r}: give {active[name].domain}"))
    return found


def _name_violations(name: str, taken: Iterable[str], path: str) -> Iterator[FieldViolation]:
    if len(name) > MAX_NAME_LENGTH:
        yield FieldViolation(path, f"has {len(name)} characters: give at most {MAX_NAME_LENGTH}")
    elif not NAME.fullmatch(name):
        yield FieldViolation(path, f"is {name!r}: give a name that matches {NAME.pattern}")
    elif name in taken:
        yield FieldViolation(path, f"is {name!r} like an earlier parameter's: give each parameter a name of its own")


def _domain_violations(domain: Domain, path: str) -> Iterator[FieldViolation]:
    match domain:
        case FloatDomain():
            return _float_violations(domain, f"{path}.float_domain")
        case IntDomain():
            return _int_violations(domain, f"{path}.int_domain")
        case CategoricalDomain(values):
            return _values_violations(values, f"{path}.categorical_domain.values")
        case ConstantDomain(value):
            return _values_violations((value,), f"{path}.constant_domain.value")
        case _:
            assert_never(domain)


def _float_violations(domain: FloatDomain, path: str) -> Iterator[FieldViolation]:
    not_finite = [name for name in ("min", "max", "step") if not math.isfinite(getattr(domain, name))]
    if not_finite:
        for name in not_finite:
            yield FieldViolation(f"{path}.{name}", f"is {getattr(domain, name)}: give a finite number")
        return
    yield from _range_violations(domain, path)
    if domain.log and domain.min <= 0:
        yield FieldViolation(f"{path}.min", f"is {domain.min!r} with log: give more than 0, or leave log out")
    if domain.log and domain.step:
        yield FieldViolation(f"{path}.step", f"is {domain.step!r} with log: leave one of them out")
    if not math.isfinite(domain.max - domain.min):
        yield FieldViolation(f"{path}.max", f"is {domain.max!r}, too far from min {domain.min!r}: give a smaller range")


def _int_violations(domain: IntDomain, path: str) -> Iterator[FieldViolation]:
    yield from _range_violations(domain, path)
    if domain.log and domain.min < 1:
        yield FieldViolation(f"{path}.min", f"is {domain.min} with log: give 1 or more, or leave log out")
    if domain.log and domain.step > 1:
        yield FieldViolation(f"{path}.step", f"is {domain.step} with log: leave one of them out")
    for name in ("min", "max"):
        if abs(getattr(domain, name)) > MAX_WHOLE_NUMBER:
            yield FieldViolation(f"{path}.{name}", f"is {getattr(domain, name)}: give at most 2^53 in size")


def _range_violations(domain: FloatDomain | IntDomain, path: str) -> Iterator[FieldViolation]:
    if domain.min > domain.max:
        yield FieldViolation(f"{path}.min", f"is {domain.min!r}, more than max {domain.max!r}: swap them")
    if domain.step < 0:
        yield FieldViolation(f"{path}.step", f"is {domain.step!r}: give more than 0, or leave it out")
    elif domain.min < domain.max and domain.step > domain.max - domain.min:
        room = f"from min {domain.min!r} to max {domain.max!r}"
        yield FieldViolation(f"{path}.step", f"is {domain.step!r}, more than it is {room}: give a smaller one")


def _values_violations(values: tuple[Value, ...], path: str) -> Iterator[FieldViolation]:
    if not values:
        yield FieldViolation(path, "is empty: give at least one value")
    seen = set()
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            yield FieldViolation(path, f"has {value}: give finite numbers")
        elif identity(value) in seen:
            yield FieldViolation(path, f"has {value!r} twice: give each value once")
        seen.add(identity(value))


def _condition_violations(parameter: Parameter, by_name: Mapping[str, Parameter], path: str) -> list[FieldViolation]:
    found = []
    for index, condition in enumerate(parameter.conditions):
        parent = by_name.get(condition.parent)
        if parent is None:
            known = ", ".join(by_name)
            found.append(
                FieldViolation(f"{path}[{index}].parent", f"is {condition.parent!r}, no parameter: give one of {known}")
            )
            continue
        found += _values_violations(condition.values, f"{path}[{index}].values")
        found += [
            FieldViolation(f"{path}[{index}].values", f"has {value!r}, but {parent.name!r} is {parent.domain}")
            for value in condition.values
            if not parent.domain.contains(value)
        ]
    for parent_name in sorted({condition.parent for condition in parameter.conditions}):
        wanted = [set(map(identity, c.values)) for c in parameter.conditions if c.parent == parent_name]
        if all(wanted) and not set.intersection(*wanted):
            found.append(
                FieldViolation(path, f"on {parent_name!r} have no value in common: {parameter.name!r} is never active")
            )
    if parameter.conditions and _depends_on_itself(parameter, by_name):
        found.append(
            FieldViolation(path, f"make {parameter.name!r} depend on itself: take one condition out of the circle")
        )
    return found


def _depends_on_itself(parameter: Parameter, by_name: Mapping[str, Parameter]) -> bool:
    seen: set[str] = set()
    waiting = [condition.parent for condition in parameter.conditions]
    while waiting:
        name = waiting.pop()
        if name == parameter.name:
            return True
        if name not in seen and name in by_name:
            seen.add(name)
            waiting += [condition.parent for condition in by_name[name].conditions]
    return False
