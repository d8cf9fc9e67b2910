"""Averaged stochastic gradient descent over lanes."""

from __future__ import annotations

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class ASGD(RowRule):
    """Grouped twin of torch.optim.ASGD: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/asgd.py (`_single_tensor_asgd`).
    """

    numbers = ("lr", "lambd", "alpha", "t0", "weight_decay", "maximize")
    scalars = {"eta": 0.0, "mu": 1.0}  # noqa: RUF012

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        lambd: Number = 1e-4,
        alpha: Number = 0.75,
        t0: Number = 1e6,
        weight_decay: Number = 0.0,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "maximize": maximize})

    def prepare(self) -> None:
        """Writes this step's rate and share of the average, and keeps the next one's, rounded as torch keeps them."""
        rate, lambd = self._numbers["lr"], self._numbers["lambd"]
        eta, mu = self._scalars["eta"], self._scalars["mu"]
        eta.copy_(rate.to(eta.dtype).where(self.first_steps(), eta))
        self._kept_share = self.write("kept_share", 1 - lambd * eta.double())
        self._step_size = self.write("step_size", -eta.double())
        self._average_share = self.write("average_share", mu.double())
        next_eta = rate / (1 + lambd * rate * self._steps) ** self._numbers["alpha"]
        next_mu = 1 / (self._steps - self._numbers["t0"]).clamp(min=1)
        eta.copy_(next_eta.to(eta.dtype).where(self._counted, eta))
        mu.copy_(next_mu.to(mu.dtype).where(self._counted, mu))

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        parameter.mul_(self._kept_share[row]).addcmul_(gradient, self._step_size[row])
        share, average = self._average_share[row], self.slot("ax")[row]
        average.copy_(torch.where(share == 1, parameter, average + (parameter - average) * share))
