"""From dimension variables and a width to the surrogate's sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.dimensions import Dim, Dimensions, Dims

_TOLERANCE = 1e-9
_FEWEST_CHANNELS = 4
"""Below, one dead unit blocks a whole layer."""


class WidthTooSmall(InvalidArgument):
    """Even the widest dimension would have no channel left; `smallest_width` is the smallest that works."""

    default_reason = "WIDTH_TOO_SMALL"

    def __init__(self, tensor: str, axis: int, size: int, width: float, smallest_width: float) -> None:
        super().__init__(
            f"width {width:g} leaves no channel of {tensor}: its axis {axis}, the widest of all, has {size}, and"
            f" {size} x {width:g} is less than one; the smallest width that works is {smallest_width:g}"
        )
        self.tensor = tensor
        self.smallest_width = smallest_width


class Sizes:
    """The surrogate's size of every dimension."""

    def __init__(self, dimensions: Dimensions, atoms: Mapping[int, int]) -> None:
        self._dimensions = dimensions
        self._atoms = atoms

    def of(self, dim: Dim) -> int:
        """The dimension's size in the surrogate."""
        return math.prod(self._atom(atom) for atom in self._dimensions.atoms(dim))

    def ratio(self, dim: Iterable[int]) -> float:
        """The surrogate's size over the target's: the true one, after rounding."""
        held = tuple(dim)
        return self.of(held) / self._dimensions.size(held)

    def _atom(self, atom: int) -> int:
        parts = self._dimensions.parts(atom)
        if parts is not None:
            return sum(self.of(part) for part in parts)
        return self._atoms.get(atom, self._dimensions.size((atom,)))


def solve(dimensions: Dimensions, tensors: Mapping[str, Dims], width: float) -> Sizes:
    """Sizes such that every dimension of every tensor is as near to `width` of the target's as whole numbers allow.

    Of several atoms in a dimension the first of the lowest rank shrinks: heads before what is inside a head, which
    keeps attention's scale; the others shrink only by what it cannot give. Narrow dimensions, such as the waist of a
    squeeze-and-excitation block, keep a few channels: factors go by the true ratios.

    Raises:
        WidthTooSmall: the widest dimension would have no channel left.
    """
    free = [
        (name, axis, dim, _free(dimensions, dim)) for name, dims in tensors.items() for axis, dim in enumerate(dims)
    ]
    minimum = _minimum(dimensions, free, width)
    chosen: dict[int, int] = {}
    # Dimensions of several atoms first: alone, an atom could not know that another one is to shrink in its place.
    for _, _, _, atoms in sorted(free, key=lambda each: -len(each[3])):
        _choose(dimensions, atoms, max(width, minimum / dimensions.size(atoms)), chosen)
    return Sizes(dimensions, chosen)


def _free(dimensions: Dimensions, dim: Dim) -> Dim:
    return tuple(
        atom for atom in dimensions.atoms(dim) if dimensions.parts(atom) is None and not dimensions.is_pinned(atom)
    )


def _minimum(dimensions: Dimensions, free: list[tuple[str, int, Dim, Dim]], width: float) -> int:
    """The fewest channels that a dimension is left with, unless it has fewer itself."""
    shrinking = [(dimensions.size(atoms), name, axis, dim) for name, axis, dim, atoms in free if atoms]
    if not shrinking:
        return 1
    channels, name, axis, dim = max(shrinking, key=lambda each: each[0])
    if channels * width < 1 - _TOLERANCE:
        raise WidthTooSmall(name, axis, dimensions.size(dim), width, 1 / channels)
    return min(_FEWEST_CHANNELS, math.floor(channels * width + _TOLERANCE))


def _choose(dimensions: Dimensions, atoms: Dim, width: float, chosen: dict[int, int]) -> None:
    ratio = width
    for atom in atoms:
        if atom in chosen:
            ratio *= dimensions.size((atom,)) / chosen[atom]
    for atom in sorted((each for each in atoms if each not in chosen), key=dimensions.rank):
        size = dimensions.size((atom,))
        wanted = size * ratio
        chosen[atom] = max(1, math.floor(wanted + 0.5)) if ratio < 1 - _TOLERANCE else size
        # What rounding leaves over stays: only an atom that would vanish hands its share to the next one.
        ratio = wanted if wanted < 1 - _TOLERANCE else 1.0
