"""Known points: hyperparameters that callers want tried before anything is suggested."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.random_backend import draw
from hydro.coordinator.search_space import Domain, FloatDomain, IntDomain, SearchSpace
from hydro.coordinator.study import StudySpec
from hydro.coordinator.trial import Hyperparameters, Value


def waiting_points(spec: StudySpec, used: Iterable[int]) -> list[int]:
    """The indices of the study's known points that have no trial yet, in their order."""
    return sorted(set(range(len(spec.known_points))) - set(used))


def point_hyperparameters(space: SearchSpace, point: Hyperparameters, study_seed: int, number: int) -> Hyperparameters:
    """What the trial of this number has for a valid point: parameters that it leaves out are drawn at random.

    What it has of parameters that are not in the space (they are not searched) is left out.
    """
    domains = {each.name: each.domain for each in space.parameters}
    given = {name: _typed(value, domains[name]) for name, value in point.items() if name in domains}
    return draw(space.hold(given), Random(ask_seed(study_seed, number)))


def _typed(value: Value, domain: Domain) -> Value:
    """The value, which the domain contains, as a suggestion would have it."""
    match domain:
        case FloatDomain():
            return float(value)
        case IntDomain():
            return int(value)
        case _:
            return value
