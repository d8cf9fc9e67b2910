"""The points of a finite search space, numbered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydro.coordinator.search.unit_cube import count_of, value_number
from hydro.coordinator.search_space import Parameter, SearchSpace, identity
from hydro.coordinator.trial import Value

MOST_CASES = 2_000
"""Combinations of parents' values that are told apart to count points."""


class TooManyCases(Exception):
    """The conditions tell apart more combinations of values than can be counted."""


def grid_of(space: SearchSpace) -> Grid | None:
    """The points of a valid space. None: they are not finitely many, or too tangled to be counted."""
    if infinite_parameters(space):
        return None
    try:
        return Grid(space)
    except TooManyCases:
        return None


def infinite_parameters(space: SearchSpace) -> list[Parameter]:
    """The parameters that have a continuum of values."""
    return [each for each in space.parameters if count_of(each.domain) is None]


class Grid:
    """The points of a valid finite space: the choices for the active parameters, each combination once.

    Raises:
        TooManyCases: see there.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._parts = [_Part(each) for each in _independent_parts(space.ordered())]
        self.size = math.prod(part.size for part in self._parts)

    def point(self, number: int) -> dict[str, Value]:
        """The point of a number below `size`; its keys are in the space's order."""
        values: dict[str, Value] = {}
        for part in self._parts:
            number, inside = divmod(number, part.size)
            values |= part.point(inside)
        return {each.name: values[each.name] for each in self._space.parameters if each.name in values}


class _Part:
    """The points of parameters that depend on each other, given with parents before children."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = parameters
        # The last parameter that looks at each parent: behind it the parent's value makes no difference.
        self._last_use = {
            condition.parent: place for place, each in enumerate(parameters) for condition in each.conditions
        }
        self._sizes: dict[tuple[int, frozenset[tuple[str, tuple[bool, Value]]]], int] = {}
        self.size = self._size(0, {})

    def point(self, number: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for place, parameter in enumerate(self._parameters):
            if not parameter.is_active(values):
                continue
            if parameter.name not in self._last_use:
                chosen, number = divmod(number, self._size(place + 1, values))
                values[parameter.name] = value_number(parameter.domain, chosen)
                continue
            for chosen in range(count_of(parameter.domain) or 0):
                values[parameter.name] = value_number(parameter.domain, chosen)
                size = self._size(place + 1, values)
                if number < size:
                    break
                number -= size
        return values

    def _size(self, place: int, values: dict[str, Value]) -> int:
        """How many ways there are to choose the parameters from a place on, after these values."""
        if place == len(self._parameters):
            return 1
        matters = {name: value for name, value in values.items() if self._last_use.get(name, -1) >= place}
        key = place, frozenset((name, identity(value)) for name, value in matters.items())
        if key not in self._sizes:
            self._sizes[key] = self._counted(place, matters)
        return self._sizes[key]

    def _counted(self, place: int, values: dict[str, Value]) -> int:
        parameter, count = self._parameters[place], count_of(self._parameters[place].domain) or 0
        if not parameter.is_active(values):
            return self._size(place + 1, values)
        if parameter.name not in self._last_use:
            return count * self._size(place + 1, values)
        if len(self._sizes) + count > MOST_CASES:
            raise TooManyCases
        choices = (value_number(parameter.domain, number) for number in range(count))
        return sum(self._size(place + 1, {**values, parameter.name: choice}) for choice in choices)


def _independent_parts(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """Parameters that no condition connects, however indirectly, are in different parts."""
    parts: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        joined = {id(part): part for each in parameter.conditions for part in [parts[each.parent]]}
        merged = [*(each for part in joined.values() for each in part), parameter]
        parts.update((each.name, merged) for each in merged)
    return list({id(part): part for part in parts.values()}.values())
