"""New hyperparameters near another member's.

Source: Jaderberg et al., "Population Based Training of Neural Networks" (2017), section 4.1.1 and appendix A.1.
"""

from __future__ import annotations

import math
from random import Random

from hydro.coordinator.search.random_backend import draw
from hydro.coordinator.search_space import (
    CategoricalDomain,
    ConstantDomain,
    Domain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.study import Population
from hydro.coordinator.trial import Hyperparameters, Value


def explore(
    space: SearchSpace, population: Population, hyperparameters: Hyperparameters, random: Random
) -> dict[str, Value]:
    """Perturbs or draws anew each of a member's hyperparameters, within the space.

    A choice is perturbed by leaving it as it is: its values have no order. A parameter that becomes active is drawn.
    """
    values: dict[str, Value] = {}
    for parameter in space.ordered():
        if parameter.is_active(values):
            values[parameter.name] = _explored(parameter, population, hyperparameters.get(parameter.name), random)
    return {each.name: values[each.name] for each in space.parameters if each.name in values}


def _explored(parameter: Parameter, population: Population, value: Value | None, random: Random) -> Value:
    # Drawn whether they are needed or not, so that one parameter's luck is no other's.
    is_drawn = random.random() < population.resample_probability
    up, seed = random.random() < 0.5, random.getrandbits(32)
    if isinstance(parameter.domain, ConstantDomain):
        return parameter.domain.value
    if value is None or is_drawn:
        alone = SearchSpace((Parameter(parameter.name, parameter.domain),))
        return draw(alone, Random(seed))[parameter.name]
    return perturbed(parameter.domain, value, population.perturbation, up=up)


def perturbed(domain: Domain, value: Value, share: float, *, up: bool) -> Value:
    """The value times 1 + share or 1 - share, in the domain; on a grid another one, if there is room."""
    factor = 1 + share if up else 1 - share
    match domain:
        case FloatDomain(low, high, _, step):
            moved = _moved(float(value), factor, high - low)
            return _on_grid(float(value), moved, low, high, step) if step else min(max(moved, low), high)
        case IntDomain(low, high, _, step):
            moved = _moved(int(value), factor, high - low)
            return round(_on_grid(int(value), moved, low, high, step or 1))
        case CategoricalDomain() | ConstantDomain():
            return value


def _moved(value: float, factor: float, width: float) -> float:
    """The value times the factor. None leads away from 0: there it is a share of the range."""
    return value * factor if value else (factor - 1) * width


def _on_grid(value: float, moved: float, low: float, high: float, step: float) -> float:
    """The place on the grid nearest to where the value moved, but one step away at least, inside the range."""
    # A range of ten steps of 0.1 ends at the tenth, whatever its rounding.
    place, last = round((value - low) / step), math.floor((high - low) / step + 1e-9)
    steps = round((moved - low) / step) - place
    chosen = place + (steps or (1 if moved > value else -1))
    return low + min(max(chosen, 0), last) * step
