"""From shapes that are given to the sizes of dimension variables: those of a solution, or of a factory's model."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hydro.tuner.shrinking.dimensions import Dim, Dimensions, Dims
from hydro.tuner.shrinking.sizes import Sizes

Shapes = Mapping[str, tuple[int, ...]]


class SizesDisagree(ValueError):
    """The graph and the shapes tell different things of a tensor's axis."""

    def __init__(self, tensor: str, axis: int, before: int, after: int, reason: str) -> None:
        super().__init__(f"{tensor}: its axis {axis} goes from {before} to {after}, but in the graph {reason}")
        self.tensor = tensor


def fit_sizes(dimensions: Dimensions, tensors: Mapping[str, Dims], shapes: Shapes) -> Sizes:
    """The sizes of all dimensions at which the tensors have these shapes.

    Axes with one atom that is not known yet tell its size; where every axis has several, the first of them takes what
    the others leave, in the order in which they shrink. Sums come last: mostly their parts are known by then.

    Raises:
        SizesDisagree: there are none.
    """
    known: dict[int, int] = {}
    waiting = [
        (name, axis, dim, shapes[name][axis])
        for name, dims in tensors.items()
        if name in shapes
        for axis, dim in enumerate(dims)
    ]
    while waiting:
        difficulties = [_difficulty(dimensions, dim, known) for _, _, dim, _ in waiting]
        least = max(min(difficulties), (0, 1))
        now = [each for each, difficulty in zip(waiting, difficulties, strict=True) if difficulty <= least]
        waiting = [each for each, difficulty in zip(waiting, difficulties, strict=True) if difficulty > least]
        if least > (0, 1):
            now, waiting = now[:1], now[1:] + waiting
        for name, axis, dim, size in now:
            _learn(dimensions, name, axis, dim, size, known)
    return Sizes(dimensions, known)


def _learn(dimensions: Dimensions, name: str, axis: int, dim: Dim, size: int, known: dict[int, int]) -> None:
    """Factors before the sums beside them, as heads shrink before what is inside; or else the other way round."""
    for steps in ((_learn_factors, _learn_parts), (_learn_parts, _learn_factors)):
        tried = dict(known)
        for step in steps:
            step(dimensions, dim, size, tried)
        if Sizes(dimensions, tried).of(dim) == size:
            known.update(tried)
            return
    reason = "; ".join(dimensions.pins(dim)) or "it is bound to others that change otherwise"
    raise SizesDisagree(name, axis, dimensions.size(dim), size, reason)


def _difficulty(dimensions: Dimensions, dim: Dim, known: Mapping[int, int]) -> tuple[int, int]:
    return len(_unknown_parts(dimensions, dim, known)), len(_unknown(dimensions, dim, known))


def _unknown(dimensions: Dimensions, dim: Dim, known: Mapping[int, int]) -> Dim:
    """The atoms of a dimension whose size is to be found, but for those inside a sum."""
    return tuple(
        atom
        for atom in dimensions.atoms(dim)
        if atom not in known and dimensions.parts(atom) is None and not dimensions.is_pinned(atom)
    )


def _unknown_parts(dimensions: Dimensions, dim: Dim, known: Mapping[int, int]) -> Dim:
    """The atoms inside the dimension's sums whose size is to be found."""
    parts = [part for atom in dimensions.atoms(dim) for part in dimensions.parts(atom) or ()]
    return tuple(
        dict.fromkeys(
            atom
            for part in parts
            for atom in (*_unknown(dimensions, part, known), *_unknown_parts(dimensions, part, known))
        )
    )


def _learn_parts(dimensions: Dimensions, dim: Dim, size: int, known: dict[int, int]) -> None:
    """All but the last part shrink by what the known factors beside the sum leave; the last makes the sum right."""
    unknown = _unknown_parts(dimensions, dim, known)
    ratio = size / Sizes(dimensions, known).of(dim)
    for atom in unknown:
        known[atom] = max(1, round(dimensions.size((atom,)) * ratio))
    if unknown:
        candidates = range(1, dimensions.size((unknown[-1],)) + 1)
        right = (each for each in candidates if Sizes(dimensions, {**known, unknown[-1]: each}).of(dim) == size)
        known[unknown[-1]] = next(right, known[unknown[-1]])


def _learn_factors(dimensions: Dimensions, dim: Dim, size: int, known: dict[int, int]) -> None:
    unknown = sorted(_unknown(dimensions, dim, known), key=dimensions.rank)
    so_far = Sizes(dimensions, known)
    left = size // math.prod(so_far.of((atom,)) for atom in dimensions.atoms(dim) if atom not in unknown)
    for place, atom in enumerate(unknown):
        others = math.prod(dimensions.size((each,)) for each in unknown[place + 1 :])
        known[atom] = max(1, left // math.gcd(left, others))
        left //= known[atom]
