"""Parameters side by side: one update for all of them instead of one for each.

Legend: T parameters, G lanes, P elements of one lane in these parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ALIGNMENT = 16
"""Elements: a lane's row begins at a whole vector."""


class Columns:
    """Tensors [G, P] whose columns are the elements of some parameters of one dtype and device.

    A lane's row never touches the next one. So an elementwise operation walks each lane by itself, from the row's
    start, and the same elements meet the same instructions however many lanes there are.
    """

    def __init__(self, rows: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Takes the parameters' places in the optimizer, and the parameters [G, ...]."""
        self.rows = list(rows)
        self.parameters = list(parameters)
        self.slots: dict[str, tuple[Tensor, list[Tensor]]] = {}
        """State by name: the whole, and each parameter's part."""
        self.constants: list[Tensor] | None = None
        """Coefficients that are the same at every step."""
        self.ahead: Tensor | None = None
        """What is computed for some steps at once, [S, ...]."""
        self.step = 0
        """How many of those steps are done."""
        self._like = parameters[0].detach()
        self._shapes = [parameter.shape for parameter in parameters]
        self._widths = [parameter.shape[1:].numel() for parameter in parameters]
        self._coefficients: dict[str, tuple[Tensor, list[Tensor]]] = {}
        self.room, self.room_parts = self.reserve()
        """Memory for one result, kept: to take it anew costs more than most updates."""

    def reserve(self) -> tuple[Tensor, list[Tensor]]:
        """Gives zeros [G, P], and the same memory as [G, ...] for each parameter."""
        whole = self._zeros()
        parts = whole.split_with_sizes(self._widths, dim=1)
        return whole, [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copies a tensor of each parameter's shape into the room and gives it, [G, P]."""
        torch._foreach_copy_(self.room_parts, list(tensors))
        return self.room

    def own(self, tables: Tensor) -> Tensor:
        """Gives what tables [C, T, G] of all the optimizer's parameters say of these; [C, 1, G] stay as they are."""
        return tables if tables.shape[1] == 1 else tables[:, self.rows]

    def write(self, name: str, tables: Tensor, factors: Tensor) -> list[Tensor]:
        """Keeps products as coefficients under a name, in the parameters' dtype and on their device.

        Shape: tables and factors [C, 1, G], the same for all parameters, give C tensors [G, 1]; with [C, T, G] among
        them they give C tensors [G, P].
        """
        if tables.shape[1] > 1 or factors.shape[1] > 1:
            products = (tables * factors).mT.repeat_interleave(torch.tensor(self._widths), dim=2)
            return list(self._zeros(len(products)).copy_(products).unbind())
        if name not in self._coefficients:
            kept = self._like.new_empty(len(tables), 1, len(self._like))
            self._coefficients[name] = kept, list(kept.mT.unbind())
        into, coefficients = self._coefficients[name]
        if into.device == tables.device:
            torch.mul(tables, factors, out=into)
        else:
            into.copy_(tables * factors)
        return coefficients

    def _zeros(self, *count: int) -> Tensor:
        width = sum(self._widths)
        padded = (width // _ALIGNMENT + 1) * _ALIGNMENT
        return self._like.new_zeros(*count, len(self._like), padded)[..., :width]


def shared(tables: Tensor) -> Tensor:
    """Gives tables [C, T, G] as [C, 1, G] where all parameters have the same numbers."""
    first = tables[:, :1]
    return first if bool((tables == first).all()) else tables
