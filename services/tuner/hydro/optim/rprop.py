"""Resilient backpropagation over lanes."""

from __future__ import annotations

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class Rprop(RowRule):
    """Grouped twin of torch.optim.Rprop: every number may be a vector over lanes.

    Source: torch/optim/rprop.py (`_single_tensor_rprop`).
    """

    numbers = ("lr", "etaminus", "etaplus", "step_size_min", "step_size_max", "maximize")
    pairs = {"etas": ("etaminus", "etaplus"), "step_sizes": ("step_size_min", "step_size_max")}  # noqa: RUF012

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        etas: tuple[Number, Number] = (0.5, 1.2),
        step_sizes: tuple[Number, Number] = (1e-6, 50.0),
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def prepare(self) -> None:
        """Starts the step sizes of first steps."""
        self.restart("step_size", self._numbers["lr"])

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        previous, step_size = self.slot("prev")[row], self.slot("step_size")[row]
        agrees = (gradient * previous).sign()
        # A NaN is none of the three: it goes on into the step size, as in torch.
        factor = torch.where(agrees == 0, 1.0, agrees)
        factor = torch.where(agrees > 0, self.of("etaplus", row), factor)
        factor = torch.where(agrees < 0, self.of("etaminus", row), factor)
        step_size.mul_(factor).clamp_(self.of("step_size_min", row), self.of("step_size_max", row))
        gradient = torch.where(agrees < 0, 0.0, gradient)
        parameter.addcmul_(gradient.sign(), step_size, value=-1)
        previous.copy_(gradient)
