"""The values of a domain as the points of [0, 1): what draws and sequences of numbers are made into."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import assert_never

from hydro.coordinator.search_space import (
    CategoricalDomain,
    ConstantDomain,
    Domain,
    FloatDomain,
    IntDomain,
    SearchSpace,
)
from hydro.coordinator.trial import Value


def fill(space: SearchSpace, value_of: Callable[[str, Domain], Value]) -> dict[str, Value]:
    """One value for each active parameter, asked for from the parents down; its keys are in the space's order."""
    values: dict[str, Value] = {}
    for parameter in space.ordered():
        if parameter.is_active(values):
            values[parameter.name] = value_of(parameter.name, parameter.domain)
    return {each.name: values[each.name] for each in space.parameters if each.name in values}


def value_at(domain: Domain, place: float) -> Value:
    """The domain's value at a place in [0, 1): all places alike likely make all values so, or their logarithms."""
    match domain:
        case FloatDomain():
            return _float_at(domain, place)
        case IntDomain(log=True):
            # Half a step beyond both ends: a number's share is that of what rounds to it.
            low, high = math.log(domain.min - 0.5), math.log(domain.max + 0.5)
            return min(max(round(math.exp(low + place * (high - low))), domain.min), domain.max)
        case _:
            return _evenly(domain, place)


def count_of(domain: Domain) -> int | None:
    """How many values the domain has; None: a continuum."""
    match domain:
        case FloatDomain(low, high, _, step):
            if step:
                return int((_exact(high) - _exact(low)) // _exact(step)) + 1
            return 1 if low == high else None
        case IntDomain(low, high, _, step):
            return (high - low) // (step or 1) + 1
        case CategoricalDomain(values):
            return len(values)
        case ConstantDomain():
            return 1
        case _:
            assert_never(domain)


def value_number(domain: Domain, number: int) -> Value:
    """The value of a number below `count_of`, in the domain's order."""
    match domain:
        case FloatDomain(low, _, _, step):
            # In decimals: 0.1 and two steps of 0.1 are 0.3 then, not 0.30000000000000004.
            return float(_exact(low) + number * _exact(step))
        case IntDomain(low, _, _, step):
            return low + number * (step or 1)
        case CategoricalDomain(values):
            return values[number]
        case ConstantDomain(value):
            return value
        case _:
            assert_never(domain)


def _float_at(domain: FloatDomain, place: float) -> float:
    low, high = domain.min, domain.max
    if count_of(domain) is not None:
        return float(_evenly(domain, place))
    if domain.log:
        drawn = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
    else:
        drawn = low + place * (high - low)
    return min(max(drawn, low), high)


def _evenly(domain: Domain, place: float) -> Value:
    count = count_of(domain)
    assert count is not None  # only numbers without a step have none
    return value_number(domain, min(int(place * count), count - 1))


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))
