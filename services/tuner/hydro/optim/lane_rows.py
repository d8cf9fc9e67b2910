"""Lanes' own rows of stacked tensors, for kernels that step one lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

from hydro.optim.lane_numbers import LaneNumbers

LanePart: TypeAlias = tuple[int, tuple[float, ...], list[int]]
"""A lane, the numbers and the parameters' rows that have them."""


Rows: TypeAlias = Sequence[Tensor]
"""Each lane's part of a tensor."""


def unbound(tensor: Tensor) -> Rows:
    """Gives contiguous rows; a lane alone keeps its axis, which kernels over elements do not mind."""
    whole = tensor if tensor.is_contiguous() else tensor.contiguous()
    # Not len: torch answers that in Python, for as long as the smallest kernels run.
    return (whole,) if whole.size(0) == 1 else whole.unbind()


class LaneRows:
    """Views [...] of tensors [G, ...], made once and kept until lanes come or go."""

    def __init__(self) -> None:
        """Knows no tensor yet."""
        self._views: dict[str, tuple[list[int], list[Rows]]] = {}
        self._parts: tuple[list[int], list[LanePart]] | None = None
        self._counts: tuple[Tensor, list[Rows]] | None = None

    def of(self, name: str, tensors: Sequence[Tensor]) -> list[Rows]:
        """Gives, for each tensor, its lanes' rows; `name` is what the tensors are known by."""
        places = [tensor.data_ptr() for tensor in tensors]
        if name not in self._views or self._views[name][0] != places:
            self._views[name] = places, [unbound(tensor.detach()) for tensor in tensors]
        return self._views[name][1]

    def counts(self, steps: Tensor) -> list[Rows]:
        """Gives step counts [T, G] one by one, in float32 as torch's kernels read them."""
        if self._counts is None:
            copied = steps.float()
            self._counts = copied, [row.unbind() for row in copied]
        self._counts[0].copy_(steps)
        return self._counts[1]

    def parts(self, numbers: LaneNumbers, rows: Sequence[int]) -> list[LanePart]:
        """Gives what can go through one call each: a lane's rows that have the same numbers."""
        if self._parts is None or self._parts[0] != rows:
            self._parts = list(rows), list(numbers.parts(rows))
        return self._parts[1]

    def forget_numbers(self) -> None:
        """Lets go of what follows from the numbers."""
        self._parts = None

    def forget(self) -> None:
        """Lets go of everything."""
        self._views.clear()
        self._parts = self._counts = None
