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
        self._atoms.append(_Atom(size, [pinned] if pinned is not None else []))
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
            DimensionMismatch: their sizes differ, or do not factor alike.
        """
        if self.size(one) != self.size(other):
            raise DimensionMismatch(f"a dimension of {self.size(one)} cannot equal one of {self.size(other)}")
        left, right = list(self.atoms(one)), list(self.atoms(other))
        while left and right:
            left, right = list(self.atoms(left)), list(self.atoms(right))
            a, b = self._root(left[0]), self._root(right[0])
            size_a, size_b = self._atoms[a].size, self._atoms[b].size
            if size_a > size_b:
                left[0:1] = self._split(a, size_b)
            elif size_b > size_a:
                right[0:1] = self._split(b, size_a)
            else:
                self._join(a, b)
                left, right = left[1:], right[1:]

    def divide(self, dim: Dim, sizes: Sequence[int]) -> Dims:
        """Takes a dimension apart into dimensions of the given sizes, row-major: what a reshape does.

        Raises:
            DimensionMismatch: an atom would have to be cut where it has no factor.
        """
        rest = list(self.atoms(dim))
        found: list[Dim] = []
        for size in sizes:
            taken: list[int] = []
            while size > 1:
                if not rest:
                    raise DimensionMismatch(f"a dimension of {self.size(dim)} has no factors {tuple(sizes)}")
                atom = self._root(rest.pop(0))
                held = self._atoms[atom].size
                if size % held:
                    first, *remainder = self._split(atom, math.gcd(size, held))
                    atom, rest = first, remainder + rest
                taken.extend(self.atoms((atom,)))
                size //= self._atoms[atom].size
            found.append(tuple(taken))
        return tuple(found)

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
        """As many equal parts as the split wants are that many times one part; else the sum keeps its size."""
        if state.parts is None:
            return None
        first, *others = state.parts
        if len(state.parts) == left and all(self.size(part) == self.size(first) for part in others):
            for part in others:
                self.unify(first, part)
            return self.new(left, "the number of concatenated parts") + first
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
