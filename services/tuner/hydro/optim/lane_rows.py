"""Lanes' own rows of stacked tensors, for kernels that step one lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

from hydro.optim.lane_numbers import LaneNumbers

LanePart: TypeAlias = tuple[int, tuple[float, ...], list[int]]
"""A lane, the numbers and the parameters' rows that have them."""


class LaneRows:
    """Views [...] of tensors [G, ...], made once and kept while the tensors stay where they are."""

    def __init__(self) -> None:
        """Knows no tensor yet."""
        self._views: dict[str, tuple[list[int], list[tuple[Tensor, ...]]]] = {}
        self._parts: tuple[list[int], list[LanePart]] | None = None

    def of(self, name: str, tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Gives, for each tensor, its lanes' rows; `name` is what the tensors are known by."""
        places = [tensor.data_ptr() for tensor in tensors]
        if name not in self._views or self._views[name][0] != places:
            self._views[name] = places, [tensor.detach().unbind() for tensor in tensors]
        return self._views[name][1]

    def parts(self, numbers: LaneNumbers, rows: Sequence[int]) -> list[LanePart]:
        """Gives what can go through one call each: a lane's rows that have the same numbers."""
        if self._parts is None or self._parts[0] != rows:
            lanes = range(numbers.lanes)
            parts = [(lane, own, part) for lane in lanes for own, part in numbers.of_lane(lane, rows)]
            self._parts = list(rows), parts
        return self._parts[1]

    def forget_numbers(self) -> None:
        """Lets go of what follows from the numbers."""
        self._parts = None

    def forget(self) -> None:
        """Lets go of everything."""
        self._views.clear()
        self._parts = None
