"""Adadelta over lanes."""

from __future__ import annotations

from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class Adadelta(RowRule):
    """Grouped twin of torch.optim.Adadelta: every number may be a vector over lanes.

    Source: torch/optim/adadelta.py (`_single_tensor_adadelta`).
    """

    numbers = ("lr", "rho", "eps", "weight_decay", "maximize")

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1.0,
        rho: Number = 0.9,
        eps: Number = 1e-6,
        weight_decay: Number = 0.0,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        self._share = self.write("share", 1 - self._numbers["rho"])
        self._step_size = self.write("step_size", -self._numbers["lr"])

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        rho, share, eps = self.of("rho", row), self._share[row], self.of("eps", row)
        mean_square, moved = self.slot("square_avg")[row], self.slot("acc_delta")[row]
        mean_square.mul_(rho).addcmul_(gradient * share, gradient)
        step = moved.add(eps).sqrt_().div_(mean_square.add(eps).sqrt_()).mul_(gradient)
        moved.mul_(rho).addcmul_(step * share, step)
        parameter.addcmul_(step, self._step_size[row])
