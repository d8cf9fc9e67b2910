"""Adamax over lanes."""

from __future__ import annotations

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class Adamax(RowRule):
    """Grouped twin of torch.optim.Adamax: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/adamax.py (`_single_tensor_adamax`).
    """

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "maximize")

    def __init__(
        self,
        params: Parameters,
        lr: Number = 2e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        self._first_share = self.write("first_share", 1 - self._numbers["beta1"])

    def prepare(self) -> None:
        """Writes the corrected learning rates."""
        correction = 1 - self._numbers["beta1"] ** self._steps
        self._step_size = self.write("step_size", -self._numbers["lr"] / correction)

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        first, largest = self.slot("exp_avg")[row], self.slot("exp_inf")[row]
        first.lerp_(gradient, self._first_share[row])
        torch.maximum(largest.mul_(self.of("beta2", row)), gradient.abs().add_(self.of("eps", row)), out=largest)
        parameter.addcdiv_(first * self._step_size[row], largest)
