"""Dimension variables: which sizes of a graph are one and the same.

A dimension is a row-major product of *atoms*. Atoms that must stay equal are joined (union-find); an atom that a
reshape takes apart becomes a product of two; one that a concatenation makes is a sum of dimensions. A *pinned* atom
keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Dim = tuple[int, ...]
"""Atoms, row-major. `()` has size one."""
Dims = tuple[Dim, ...]
"""One dimension per axis of a tensor."""


class DimensionMismatch(ValueError):
    """Two dimensions that should be equal cannot be: a rule does not fit its op."""


@dataclass(slots=True)
class _Atom:
    size: int
    pins: list[str] = field(default_factory=list)
    rank: int = 0
    factors: Dim | None = None
    parts: Dims | None = None


class Dimensions:
    """A growing set of atoms and what is known of them."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._atoms: list[_Atom] = []

    def new(self, size: int, pinned: str | None = None) -> Dim:
        """A dimension of its own; `pinned` says why it keeps its size."""
        if size == 1:
            return ()
        self._parents.append(len(self._parents))
        reason = "it is empty" if pinned is None and size == 0 else pinned
        self._atoms.append(_Atom(size, [reason] if reason is not None else []))
        return (len(self._parents) - 1,)

    def atoms(self, dim: Iterable[int]) -> Dim:
        """The dimension's atoms, taken apart as far as known."""
        found: list[int] = []
        for each in dim:
            root = self._root(each)
            factors = self._atoms[root].factors
            found.extend((root,) if factors is None else self.atoms(factors))
        return tuple(found)

    def size(self, dim: Dim) -> int:
        """The dimension's size."""
        return math.prod(self._atoms[each].size for each in self.atoms(dim))

    def parts(self, atom: int) -> Dims | None:
        """What a concatenated atom is the sum of."""
        return self._atoms[self._root(atom)].parts

    def pins(self, dim: Dim) -> tuple[str, ...]:
        """Why the dimension, or a part of it, keeps its size: empty when all of it is free."""
        reasons: dict[str, None] = {}
        for each in self.atoms(dim):
            reasons.update(dict.fromkeys(self._atoms[each].pins))
            for part in self._atoms[each].parts or ():
                reasons.update(dict.fromkeys(self.pins(part)))
        return tuple(reasons)

    def is_pinned(self, atom: int) -> bool:
        """The atom keeps its size; a sum does when each part does."""
        state = self._atoms[self._root(atom)]
        if state.parts is not None:
            return all(self.is_pinned(leaf) for part in state.parts for leaf in self.atoms(part))
        return bool(state.pins)

    def pin(self, dim: Dim, reason: str) -> None:
        """Keeps the dimension's size."""
        for each in self.atoms(dim):
            state = self._atoms[each]
            if reason not in state.pins:
                state.pins.append(reason)
                for part in state.parts or ():
                    self.pin(part, reason)

    def rank(self, atom: int) -> int:
        """Of several atoms in a dimension, the ones of the lowest rank shrink first."""
        return self._atoms[self._root(atom)].rank

    def defer(self, dim: Dim, rank: int) -> None:
        """Shrinks the dimension only after others beside it."""
        for each in self.atoms(dim):
            self._atoms[each].rank = max(rank, self._atoms[each].rank)

    def total(self, parts: Sequence[Dim]) -> Dim:
        """The dimension of a concatenation."""
        size = sum(self.size(part) for part in parts)
        if len({self.atoms(part) for part in parts}) == 1:
            return self.new(len(parts), "the number of concatenated parts") + parts[0]
        if all(self.is_pinned(leaf) for part in parts for leaf in self.atoms(part)):
            return self.new(size, next((pin for part in parts for pin in self.pins(part)), "one of one"))
        joined = self.new(size)
        self._atoms[joined[0]].parts = tuple(parts)
        return joined

    def unify(self, one: Dim, other: Dim) -> None:
        """Makes two dimensions equal, factor by factor.

        Raises:
            DimensionMismatch: their sizes differ.
        """
        if self.size(one) != self.size(other):
            raise DimensionMismatch(f"a dimension of {self.size(one)} cannot equal one of {self.size(other)}")
        left, right = list(self.atoms(one)), list(self.atoms(other))
        while left and right:
            left, right = list(self.atoms(left)), list(self.atoms(right))
            left, right = self._meet(left, right, self._partner(left[0], right))

    def divide(self, dim: Dim, sizes: Sequence[int]) -> Dims:
        """Takes a dimension apart into dimensions of the given sizes: what a reshape does.

        Row-major; where that would cut an atom which has no such factor, in any order: of a reshape only the sizes
        matter here.

        Raises:
            DimensionMismatch: the sizes' product is another.
        """
        if math.prod(sizes) != self.size(dim):
            raise DimensionMismatch(f"a dimension of {self.size(dim)} has no factors {tuple(sizes)}")
        found = self._divide_in_order(dim, sizes)
        if found is None:
            found = tuple(self.new(size) for size in sizes)
            self.unify(tuple(atom for part in found for atom in part), dim)
        return found

    def share(self, dim: Dim, count: int) -> Dim:
        """One of `count` equal parts of a dimension, whose number stays.

        Raises:
            DimensionMismatch: it has no such parts.
        """
        atoms = self.atoms(dim)
        for place, atom in enumerate(atoms):
            if self._atoms[atom].size == count and (place == 0 or self._atoms[atom].pins):
                self.pin((atom,), "the number of equal parts")
                return atoms[:place] + atoms[place + 1 :]
        if count < 1 or self.size(dim) % count:
            raise DimensionMismatch(f"a dimension of {self.size(dim)} has no {count} equal parts")
        parts, part = self.divide(dim, (count, self.size(dim) // count))
        self.pin(parts, "the number of equal parts")
        return part

    def _divide_in_order(self, dim: Dim, sizes: Sequence[int]) -> Dims | None:
        rest = list(self.atoms(dim))
        found: list[Dim] = []
        for size in sizes:
            taken: list[int] = []
            while size > 1:
                atom = rest.pop(0)
                held = self._atoms[atom].size
                if size % held:
                    factor = math.gcd(size, held)
                    if factor == 1:
                        return None
                    atom, *remainder = self._split(atom, factor)
                    rest = remainder + rest
                taken.append(atom)
                size //= self._atoms[atom].size
            found.append(tuple(taken))
        return tuple(found)

    def _partner(self, atom: int, others: Sequence[int]) -> int:
        """The place of the atom that this one meets: the first, or the first with a common factor."""
        size = self._atoms[atom].size
        factors = [math.gcd(size, self._atoms[other].size) for other in others]
        if factors[0] in (size, self._atoms[others[0]].size):
            return 0
        return factors.index(size) if size in factors else next(i for i, factor in enumerate(factors) if factor > 1)

    def _meet(self, left: list[int], right: list[int], place: int) -> tuple[list[int], list[int]]:
        """Joins the first atom with the one at `place`, or takes the larger one apart: the atoms that are left."""
        one, other = left[0], right[place]
        factor = math.gcd(self._atoms[one].size, self._atoms[other].size)
        if self._atoms[one].size > factor:
            return [*self._split(one, factor), *left[1:]], right
        if self._atoms[other].size > factor:
            return left, [*right[:place], *self._split(other, factor), *right[place + 1 :]]
        self._join(one, other)
        return left[1:], right[:place] + right[place + 1 :]

    def _root(self, atom: int) -> int:
        while self._parents[atom] != atom:
            self._parents[atom] = self._parents[self._parents[atom]]
            atom = self._parents[atom]
        return atom

    def _split(self, atom: int, left: int) -> Dim:
        state = self._atoms[atom]
        if left <= 1 or state.size % left:
            raise DimensionMismatch(f"a dimension of {state.size} has no factor {left}")
        state.factors = self._factors_of_sum(state, left) or self._factors_of_one(state, left)
        return self.atoms((atom,))

    def _factors_of_one(self, state: _Atom, left: int) -> Dim:
        factors = self.new(left) + self.new(state.size // left)
        for each in factors:
            self._atoms[each].pins, self._atoms[each].rank = list(state.pins), state.rank
        return factors

    def _factors_of_sum(self, state: _Atom, left: int) -> Dim | None:
        """As many equal parts as the split wants are that many times one part, and parts of whole rows are their rows.

        Otherwise the sum keeps its size.
        """
        if state.parts is None:
            return None
        first, *others = state.parts
        if len(state.parts) == left and all(self.size(part) == self.size(first) for part in others):
            for part in others:
                self.unify(first, part)
            return self.new(left, "the number of concatenated parts") + first
        row = state.size // left
        if all(self.size(part) % row == 0 for part in state.parts):
            divided = [self.divide(part, (self.size(part) // row, row)) for part in state.parts]
            for _, own_row in divided[1:]:
                self.unify(divided[0][1], own_row)
            return self.total([rows for rows, _ in divided]) + divided[0][1]
        for part in state.parts:
            self.pin(part, "a concatenation that is reshaped")
        state.pins.append("a concatenation that is reshaped")
        return None

    def _join(self, one: int, other: int) -> None:
        if one == other:
            return
        kept, gone = self._atoms[one], self._atoms[other]
        self._parents[other] = one
        kept.rank = max(kept.rank, gone.rank)
        parts, also = kept.parts, gone.parts
        kept.parts = parts or also
        reasons = [*kept.pins, *(each for each in gone.pins if each not in kept.pins)]
        kept.pins = []
        if parts is not None and also is not None:
            self._join_sums(parts, also)
        for reason in reasons:
            self.pin((one,), reason)

    def _join_sums(self, one: Dims, other: Dims) -> None:
        if [self.size(part) for part in one] == [self.size(part) for part in other]:
            for part, twin in zip(one, other, strict=True):
                self.unify(part, twin)
            return
        for part in (*one, *other):
            self.pin(part, "two concatenations of different parts that must be equal")
