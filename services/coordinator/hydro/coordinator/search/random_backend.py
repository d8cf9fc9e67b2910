"""Random search: every suggestion is drawn by itself, whatever is known of others."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import assert_never

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search_space import (
    CategoricalDomain,
    ConstantDomain,
    Domain,
    FloatDomain,
    IntDomain,
    SearchSpace,
)
from hydro.coordinator.trial import Value


class RandomBackend:
    """Uniform draws, over logarithms where a domain says so. Takes microseconds: it needs no process of its own."""

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        indices = range(request.first_index, request.first_index + request.count)
        return [draw(request.space, Random(ask_seed(request.seed, index))) for index in indices]


def draw(space: SearchSpace, random: Random) -> dict[str, Value]:
    """One value for each active parameter; its keys are in the space's order."""
    values: dict[str, Value] = {}
    for parameter in space.ordered():
        if parameter.is_active(values):
            values[parameter.name] = _draw(parameter.domain, random)
    return {each.name: values[each.name] for each in space.parameters if each.name in values}


def _draw(domain: Domain, random: Random) -> Value:
    match domain:
        case FloatDomain():
            return _draw_float(domain, random)
        case IntDomain():
            return _draw_int(domain, random)
        case CategoricalDomain(values):
            return random.choice(values)
        case ConstantDomain(value):
            return value
        case _:
            assert_never(domain)


def _draw_float(domain: FloatDomain, random: Random) -> float:
    low, high = domain.min, domain.max
    if domain.step:
        # In decimals: 0.1 and two steps of 0.1 are 0.3 then, not 0.30000000000000004.
        first, last, step = (Decimal(repr(each)) for each in (low, high, domain.step))
        return float(first + random.randint(0, int((last - first) // step)) * step)
    if domain.log:
        return min(max(math.exp(random.uniform(math.log(low), math.log(high))), low), high)
    return min(random.uniform(low, high), high)


def _draw_int(domain: IntDomain, random: Random) -> int:
    if domain.log:
        # Half a step beyond both ends: a number's share is that of what rounds to it.
        drawn = math.exp(random.uniform(math.log(domain.min - 0.5), math.log(domain.max + 0.5)))
        return min(max(round(drawn), domain.min), domain.max)
    return random.randrange(domain.min, domain.max + 1, domain.step or 1)
