"""Dropout over lanes.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hydro.nn import functional


class Dropout(nn.Module):
    """torch.nn.Dropout over lanes: each with its own probability and its own random stream.

    With a generator for each lane, the masks are those that the plain module draws from that stream; without, lanes
    draw from torch's default one after the other.
    """

    def __init__(
        self, p: float | Sequence[float] = 0.5, *, generators: Sequence[torch.Generator] | None = None
    ) -> None:
        """Takes torch's probability, one for all lanes or one per lane, and the lanes' random streams."""
        super().__init__()
        values = [p] if isinstance(p, int | float) else list(p)
        if not all(0 <= value <= 1 for value in values):
            raise ValueError(f"p is {p}: a probability is between 0 and 1")
        self.p = p
        self.generators = generators

    def forward(self, input: Tensor) -> Tensor:
        """Drops elements in training.

        Shape: [G, ...].
        """
        if not self.training:
            return input
        p = self.p if isinstance(self.p, int | float) else torch.tensor(list(self.p), dtype=torch.float64)
        return functional.dropout(input, p, self.generators)

    def extra_repr(self) -> str:
        """Torch's."""
        return f"p={self.p}"
