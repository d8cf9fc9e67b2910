"""Stochastic gradient descent over lanes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hydro.optim.grouped_rule import GroupedRule, Parameters, pick
from hydro.optim.lane_numbers import Number


class SGD(GroupedRule):
    """Grouped twin of torch.optim.SGD: every number may be a vector over lanes, `nesterov` and `maximize` too.

    Source: torch/optim/sgd.py (`_single_tensor_sgd`): the first step of a momentum buffer takes the gradient undamped.
    """

    numbers = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
    keeps_step = False

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        momentum: Number = 0.0,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        nesterov: Number = False,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "nesterov": nesterov, "maximize": maximize})

    def count(self, rows: Sequence[int]) -> None:
        """Counts the steps taken with momentum: only those leave a buffer."""
        chosen = list(rows)
        if self._has_fresh_lanes:
            self._steps[chosen] += (self._numbers["momentum"][chosen] != 0).double()
            self._stale = True  # the buffers that start now are decayed and damped from the next step on

    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers and from which buffers have started."""
        momentum, dampening = self._numbers["momentum"], self._numbers["dampening"]
        started = (self._steps > 0) & (momentum != 0)
        gradient_share = torch.where(started, 1 - dampening, 1.0)
        nesterov = self._numbers["nesterov"] != 0
        self._has_momentum = bool((momentum != 0).any())
        self._has_fresh_lanes = bool(((momentum != 0) & (self._steps == 0)).any())
        self._is_damped = bool((gradient_share != 1).any())
        self._decays = bool((self._numbers["weight_decay"] != 0).any())
        self._has_nesterov = bool(nesterov.any())
        self._maximizes = bool((self._numbers["maximize"] != 0).any())
        self._sign = self.write("sign", 1 - 2 * self._numbers["maximize"])
        self._decay = self.write("decay", self._numbers["weight_decay"])
        self._keep = self.write("keep", torch.where(started, momentum, 0.0))
        self._share = self.write("share", gradient_share)
        self._step_size = self.write("step_size", -self._numbers["lr"])
        self._look_ahead = self.write("look_ahead", torch.where(nesterov, momentum, 1.0))
        self._direct = self.write("direct", nesterov.double())

    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows."""
        parameters, direction = pick(self._parameters, rows), list(gradients)
        if self._maximizes:
            direction = list(torch._foreach_mul(direction, pick(self._sign, rows)))
        if self._decays:
            direction = list(torch._foreach_addcmul(direction, parameters, pick(self._decay, rows)))
        if self._has_momentum:
            direction = self._accelerate(rows, direction)
        torch._foreach_addcmul_(parameters, direction, pick(self._step_size, rows))

    def _accelerate(self, rows: Sequence[int], gradients: list[Tensor]) -> list[Tensor]:
        buffers = pick(self.slot("momentum_buffer"), rows)
        torch._foreach_mul_(buffers, pick(self._keep, rows))
        if self._is_damped:
            torch._foreach_addcmul_(buffers, gradients, pick(self._share, rows))
        else:
            torch._foreach_add_(buffers, gradients)
        if not self._has_nesterov:
            return buffers
        ahead = torch._foreach_mul(buffers, pick(self._look_ahead, rows))
        return list(torch._foreach_addcmul(ahead, gradients, pick(self._direct, rows)))
