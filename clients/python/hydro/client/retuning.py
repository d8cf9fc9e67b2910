"""What does not transfer, tuned on the target itself: few trainings, each from the transferred best."""

from __future__ import annotations

import math
import random
from collections.abc import Collection

from hydro.client.spaces import CategoricalDomain, ConstantDomain, Domain, FloatDomain, IntDomain, Scalar, SearchSpace
from hydro.client.surrogates import Transfer, TransferKind


def retuned_names(space: SearchSpace, transfers: Collection[Transfer]) -> tuple[str, ...]:
    """The hyperparameters that do not transfer; a constant of search trials has no other value to try."""
    kept = {each.hyperparameter for each in transfers if each.kind is TransferKind.NOT_TRANSFERABLE}
    return tuple(name for name, domain in space.items() if name in kept and not isinstance(domain, ConstantDomain))


def candidates(space: SearchSpace, names: Collection[str], count: int, seed: int) -> list[dict[str, Scalar]]:
    """Values to train the target with: first none, so the task's defaults hold, then ones spread over the domains.

    Each domain is cut into as many parts as there are draws, and each part is drawn from once.
    """
    chance = random.Random(seed)
    drawn: list[dict[str, Scalar]] = [{} for _ in range(count - 1)]
    for name in names:
        parts = chance.sample(range(len(drawn)), len(drawn))
        for values, part in zip(drawn, parts, strict=True):
            values[name] = _value(space[name], (part + chance.random()) / len(drawn))
    return [{}, *drawn]


def _value(domain: Domain, share: float) -> Scalar:
    """The value below which so large a share of the domain lies."""
    match domain:
        case FloatDomain() | IntDomain():
            return _number(domain, share)
        case CategoricalDomain():
            return domain.values[int(share * len(domain.values))]
        case _:
            raise TypeError(f"{domain!r} has no values to draw from")


def _number(domain: FloatDomain | IntDomain, share: float) -> float | int:
    # Whole numbers own the interval of length one above them.
    top = domain.max + 1 if isinstance(domain, IntDomain) else domain.max
    if domain.log:
        value = math.exp(math.log(domain.min) + share * (math.log(top) - math.log(domain.min)))
    else:
        value = domain.min + share * (top - domain.min)
    if domain.step:
        value = domain.min + math.floor((value - domain.min) / domain.step) * domain.step
    return min(int(value), domain.max) if isinstance(domain, IntDomain) else min(value, domain.max)
