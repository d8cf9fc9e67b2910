"""Adagrad over lanes."""

from __future__ import annotations

from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class Adagrad(RowRule):
    """Grouped twin of torch.optim.Adagrad: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/adagrad.py (`_single_tensor_adagrad`).
    """

    numbers = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps", "maximize")

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        lr_decay: Number = 0.0,
        weight_decay: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        eps: Number = 1e-10,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "maximize": maximize}
        super().__init__(params, {**defaults, "initial_accumulator_value": initial_accumulator_value})

    def prepare(self) -> None:
        """Writes the decayed learning rates, and the first sums."""
        self.restart("sum", self._numbers["initial_accumulator_value"])
        rate = self._numbers["lr"] / (1 + (self._steps - 1) * self._numbers["lr_decay"])
        self._step_size = self.write("step_size", -rate)

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        gradient = self.with_decay(row, parameter, gradient)
        scale = self.slot("sum")[row].addcmul_(gradient, gradient).sqrt().add_(self.of("eps", row))
        parameter.addcdiv_(gradient * self._step_size[row], scale)
