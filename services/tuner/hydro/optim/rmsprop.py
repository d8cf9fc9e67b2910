"""RMSprop over lanes."""

from __future__ import annotations

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class RMSprop(RowRule):
    """Grouped twin of torch.optim.RMSprop: every number may be a vector over lanes, `centered` and `maximize` too.

    Source: torch/optim/rmsprop.py (`_single_tensor_rmsprop`).
    """

    numbers = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize")

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
        centered: Number = False,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**defaults, "centered": centered, "maximize": maximize})

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        self._share = self.write("share", 1 - self._numbers["alpha"])
        self._step_size = self.write("step_size", -self._numbers["lr"])
        self._centers, self._has_momentum = self.any("centered"), self.any("momentum")

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Torch keeps a mean gradient for centered lanes, and a buffer for those with momentum."""
        needed = {"momentum_buffer": "momentum", "grad_avg": "centered"}
        return slot not in needed or self.number(needed[slot], row, lane) != 0

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        mean_square = self.slot("square_avg")[row]
        mean_square.mul_(self.of("alpha", row)).addcmul_(gradient * self._share[row], gradient)
        scale = self._variance(row, gradient, mean_square).sqrt().add_(self.of("eps", row))
        direction = gradient / scale
        if self._has_momentum:
            # Without momentum, 0 * buffer + direction is the direction: no other lane changes that.
            direction = self.slot("momentum_buffer")[row].mul_(self.of("momentum", row)).add_(direction)
        parameter.addcmul_(direction, self._step_size[row])

    def _variance(self, row: int, gradient: Tensor, mean_square: Tensor) -> Tensor:
        if not self._centers:
            return mean_square
        mean = self.slot("grad_avg")[row].lerp_(gradient, self._share[row])
        return torch.where(self.of("centered", row) != 0, mean_square.addcmul(mean, mean, value=-1), mean_square)
