"""Adafactor over lanes.

Legend: G lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number
from hydro.optim.parameter_groups import Parameters
from hydro.optim.row_rule import RowRule


class Adafactor(RowRule):
    """Grouped twin of torch.optim.Adafactor: every number may be a vector over lanes, and so is the step count.

    Norms and means go over one lane's elements.

    Source: torch/optim/_adafactor.py (`_single_tensor_adafactor`).
    """

    numbers = ("lr", "beta2_decay", "eps1", "eps2", "d", "weight_decay", "maximize")
    pairs = {"eps": ("eps1", "eps2")}  # noqa: RUF012
    codes = {"eps1": {None: math.nan}}  # noqa: RUF012

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        beta2_decay: Number = -0.8,
        eps: tuple[Number | None, Number] = (None, 1e-3),
        d: Number = 1.0,
        weight_decay: Number = 0.0,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane. No `eps[0]`: that of the dtype."""
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "maximize": maximize})

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone."""
        super().refresh()
        given, smallest = self._numbers["eps1"], torch.finfo(self._parameters[0].dtype).eps
        eps = torch.where(given.isnan(), smallest, given)
        self._eps, self._eps_squared = self.write("eps", eps), self.write("eps_squared", eps * eps)

    def decoupled(self) -> Tensor:
        """Weights decay directly."""
        return torch.ones_like(self._numbers["lr"])

    def prepare(self) -> None:
        """Writes the share of the new variance and the relative step size."""
        self._share = self.write("share", self._steps ** self._numbers["beta2_decay"])
        self._relative = self.write("relative", torch.minimum(self._numbers["lr"], self._steps.rsqrt()))

    def slot_shape(self, slot: str, row: int) -> Sequence[int]:
        """Matrices, and what has more axes, keep row and column means instead of all variances."""
        shape = list(super().slot_shape(slot, row))
        if not self.has_slot(slot, row, 0):
            return [0]
        if slot == "row_var":
            shape[-1] = 1
        elif slot == "col_var":
            shape[-2] = 1
        return shape

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Says whether this parameter's variances are kept in this form."""
        return (slot != "variance") == (self._parameters[row].ndim > 2)

    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""
        size = torch.maximum(_root_mean_square(parameter), self.of("eps2", row)) * self._relative[row]
        gradient = self.with_decay(row, parameter, gradient)
        if parameter.ndim > 2:
            variance = self._factored(row, gradient)
        else:
            variance = self.slot("variance")[row].lerp_(gradient * gradient, self._share[row]).clone()
        update = variance.clamp_(min=self._eps_squared[row]).rsqrt_().mul_(gradient)
        excess = (_root_mean_square(update) / self.of("d", row)).clamp(min=1)
        parameter.addcmul_(update, -size / excess)

    def _factored(self, row: int, gradient: Tensor) -> Tensor:
        """The outer product of the row and column means of the squared gradient, over the mean of all."""
        means = []
        for slot, axis in (("row_var", -1), ("col_var", -2)):
            mean = torch.linalg.vector_norm(gradient, dim=axis, keepdim=True).square_().div_(gradient.shape[axis])
            share = self._share[row]
            means.append(self.slot(slot)[row].lerp_(mean, share))
        of_rows, of_columns = means
        return of_rows * of_columns / of_rows.mean(dim=-2, keepdim=True).clamp_(min=self._eps[row])


def _root_mean_square(tensor: Tensor) -> Tensor:
    """Of each lane's elements; [G, 1, ...]."""
    norm_G: Tensor = torch.linalg.vector_norm(tensor.reshape(len(tensor), -1), dim=1)
    mean_G = norm_G / math.sqrt(tensor.shape[1:].numel())
    return mean_G.view(-1, *[1] * (tensor.ndim - 1))
