"""Whether the surrogate's best serves the target: training it and two neighbours there, and searching there if not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hydro.client.objectives import Goal, Objective
from hydro.client.snapshots import StudySettings
from hydro.client.spaces import ConstantDomain, Domain, FloatDomain, Scalar
from hydro.client.surrogates import SurrogateSettings
from hydro.client.target import Target
from hydro.kit.errors import FailedPrecondition, FieldViolation, InvalidArgument

NEIGHBOUR_OCTAVES = 0.5
"""How far from the transferred learning rate its neighbours are."""

LEARNING_RATES = ("lr", "learning_rate")
"""Names that a learning rate goes by."""


@dataclass(frozen=True, slots=True)
class EagerTransfer:
    """The target trained with the transferred hyperparameters, and with neighbours of one of them."""

    hyperparameter: str
    objective: Objective
    values: Mapping[float, float]
    """The objective by octaves from the transferred value; a training that diverged or failed is not there."""

    @property
    def best_octaves(self) -> float:
        """Which was best."""
        return min(self.values, key=self._cost)

    @property
    def regret_bound(self) -> float:
        """How much worse the transferred value is than the best that was trained, relative; infinite if it diverged.

        The true regret is larger only if the target's best lies between or beyond the neighbours and is better yet.
        """
        if 0.0 not in self.values:
            return math.inf
        best = self.values[self.best_octaves]
        lost = self._cost(0.0) - self._cost(self.best_octaves)
        return lost / abs(best) if best else math.inf if lost else 0.0

    def _cost(self, octaves: float) -> float:
        value = self.values[octaves]
        return -value if self.objective.goal is Goal.MAXIMIZE else value

    def __str__(self) -> str:
        rows = ", ".join(f"2^{octaves:+.2g}: {value:.4g}" for octaves, value in sorted(self.values.items()))
        what = f"{self.objective.metric} by {self.hyperparameter} over the transferred one"
        return f"{what}: {rows}; regret bound {self.regret_bound:.2%}"


def neighbours(space: Mapping[str, Domain], best: Mapping[str, Scalar], name: str) -> dict[float, dict[str, Scalar]]:
    """The hyperparameters to train the target with, by octaves; what lies outside of the search space is left out.

    Raises:
        InvalidArgument: it is no number that was searched.
    """
    domain, value = _searched(space, best, name), float(best[name])
    tried = {octaves: value * 2**octaves for octaves in (-NEIGHBOUR_OCTAVES, 0.0, NEIGHBOUR_OCTAVES)}
    return {
        octaves: {**best, name: each if octaves else best[name]}
        for octaves, each in tried.items()
        if not octaves or domain.min <= each <= domain.max
    }


def safer(
    space: Mapping[str, Domain], values: Mapping[str, Scalar], octaves: float, *, is_default: bool
) -> Mapping[str, Scalar]:
    """The same values with the learning rate so many octaves lower, or as low as the search space goes.

    Raises:
        InvalidArgument: it is no number that was searched, the octaves are below zero, or come with defaults.
    """
    if octaves == 0:
        return values
    if is_default:
        description = f"{octaves:g} with defaults, which are trained as they are: leave one of them out"
        raise InvalidArgument.of([FieldViolation("safety_octaves", description)])
    if not octaves >= 0:
        raise InvalidArgument.of(
            [FieldViolation("safety_octaves", f"{octaves:g} would raise the rate: give 0 or more, such as 0.5")]
        )
    name = next((each for each in LEARNING_RATES if each in space), LEARNING_RATES[0])
    domain = _searched(space, values, name)
    return {**values, name: max(domain.min, float(values[name]) / 2**octaves)}


def values_of_targets(targets: Mapping[float, Target]) -> dict[float, float]:
    """Waits for the trainings; one that failed has no value."""
    found = {}
    for octaves, target in targets.items():
        try:
            value = target.value
        except FailedPrecondition:
            continue
        if math.isfinite(value):
            found[octaves] = value
    return found


def target_search(
    settings: StudySettings, best: Mapping[str, Scalar], name: str, octaves: float, trials: int
) -> StudySettings:
    """A search on the target that starts from what the surrogate's found.

    The learning rate is searched within `octaves` of the best one; hyperparameters that do not transfer in all of their
    domain; every other one keeps the best value.

    Raises:
        InvalidArgument: it is no number that was searched.
    """
    rate, value = _searched(settings.search_space, best, name), float(best[name])
    narrowed = replace(
        rate, min=max(rate.min, value / 2**octaves), max=min(rate.max, value * 2**octaves), log=rate.min > 0, step=0.0
    )
    space: dict[str, Domain] = {}
    for each, domain in settings.search_space.items():
        if each == name:
            space[each] = replace(narrowed, conditions=(), transfer=True)
        elif domain.transfer and each in best:
            space[each] = ConstantDomain(best[each])
        elif not domain.transfer and _holds(domain, best):
            space[each] = replace(domain, conditions=(), transfer=True)
    return replace(
        settings,
        search_space=space,
        surrogate=SurrogateSettings(1.0),
        max_trials=trials,
        parallelism=min(trials, settings.parallelism),
    )


def _holds(domain: Domain, best: Mapping[str, Scalar]) -> bool:
    """Whether it is active beside the best values: they are fixed, so it always is or never."""
    return all(each.parent in best and best[each.parent] in each.values for each in domain.conditions)


def _searched(space: Mapping[str, Domain], best: Mapping[str, Scalar], name: str) -> FloatDomain:
    domain = space.get(name)
    if not isinstance(domain, FloatDomain) or name not in best or not domain.min > 0:
        raise InvalidArgument.of(
            [FieldViolation("hyperparameter", f"is {name!r}: name a number above zero that was searched, as lr")]
        )
    return domain


def best_target(targets: Sequence[Target], goal: Goal) -> Target:
    """The target with the best objective, once all are trained.

    Raises:
        FailedPrecondition: every training failed.
    """
    values: dict[Target, float] = {}
    failures = []
    for target in targets:
        try:
            values[target] = target.value
        except FailedPrecondition as error:
            failures.append(str(error))
    if not values:
        raise FailedPrecondition("; ".join(failures))
    best = max if goal is Goal.MAXIMIZE else min
    return best(values, key=values.__getitem__)
