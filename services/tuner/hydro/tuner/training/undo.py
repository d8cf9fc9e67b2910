"""What a step changes before its optimizer does, kept so that a step that fails has not happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Undo:
    """Buffers and random streams as they are now; parameters change in the optimizer's step alone."""

    def __init__(self, buffers: Mapping[str, Tensor], generators: Sequence[torch.Generator]) -> None:
        """Copies them: running statistics are small beside their activations, and few programs draw."""
        self._buffers = buffers
        self._before = {name: buffer.clone() for name, buffer in buffers.items()}
        self._generators = generators
        self._states = [generator.get_state() for generator in generators]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts everything back, in place: it allocates nothing."""
        for name, before in self._before.items():
            self._buffers[name].copy_(before)
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)
