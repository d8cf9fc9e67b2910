"""RAdam over lanes."""

from __future__ import annotations

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule

_ADAPTIVE_FROM = 5.0
"""Length of the moving average from which on the second moment is trusted."""


class RAdam(RowRule):
    """Grouped twin of torch.optim.RAdam: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/radam.py (`_single_tensor_radam`).
    """

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay", "maximize")

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: Number = False,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**defaults, "decoupled_weight_decay": decoupled_weight_decay})

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        self._first_share = self.write("first_share", 1 - self._numbers["beta1"])
        self._second_share = self.write("second_share", 1 - self._numbers["beta2"])

    def prepare(self) -> None:
        """Writes which lanes adapt their rates yet, and the corrected rates."""
        first_correction = 1 - self._numbers["beta1"] ** self._steps
        beta2 = self._numbers["beta2"]
        correction = 1 - beta2**self._steps
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * self._steps * beta2**self._steps / correction
        rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        adapts = length > _ADAPTIVE_FROM
        factor = torch.where(adapts, rectified.sqrt() * correction.sqrt(), 1.0)
        self._adapts = self.write("adapts", adapts.double())
        self._step_size = self.write("step_size", -self._numbers["lr"] / first_correction * factor)

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        first, second = self.slot("exp_avg")[row], self.slot("exp_avg_sq")[row]
        first.lerp_(gradient, self._first_share[row])
        second.mul_(self.of("beta2", row)).addcmul_(gradient * self._second_share[row], gradient)
        scale = torch.where(self._adapts[row] != 0, second.sqrt().add_(self.of("eps", row)), 1.0)
        parameter.addcdiv_(first * self._step_size[row], scale)
