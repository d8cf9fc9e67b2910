"""Stochastic gradient descent over lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from hydro.optim.grouped_rule import GroupedRule, pick
from hydro.optim.lane_numbers import Number
from hydro.optim.lane_rows import unbound
from hydro.optim.parameter_groups import Parameters


class SGD(GroupedRule):
    """Grouped twin of torch.optim.SGD: every number may be a vector over lanes, `nesterov` and `maximize` too.

    Source: torch/optim/sgd.py (`_single_tensor_sgd`): the first step of a momentum buffer takes the gradient undamped.
    """

    numbers = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
    keeps_step = False
    elements_by_lane = 32768

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
        self._starts = self._has_fresh_lanes
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
        if self.is_by_lane:
            return
        self._sign = self.write("sign", 1 - 2 * self._numbers["maximize"])
        self._decay = self.write("decay", self._numbers["weight_decay"])
        self._keep = self.write("keep", torch.where(started, momentum, 0.0))
        self._share = self.write("share", gradient_share)
        self._step_size = self.write("step_size", -self._numbers["lr"])
        self._look_ahead = self.write("look_ahead", torch.where(nesterov, momentum, 1.0))
        self._direct = self.write("direct", nesterov.double())

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Torch keeps a buffer for lanes with momentum."""
        return bool(self._steps[row, lane] > 0)

    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, all lanes at once."""
        parameters, direction = pick(self._parameters, rows), list(gradients)
        if self._maximizes:
            direction = list(torch._foreach_mul(direction, pick(self._sign, rows)))
        if self._decays:
            direction = self._with_decay(rows, direction, parameters)
        if self._has_momentum:
            direction = self._accelerate(rows, direction)
        torch._foreach_addcmul_(parameters, direction, pick(self._step_size, rows))

    def _with_decay(self, rows: Sequence[int], gradients: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
        decayed = self.room(rows)
        for gradient, parameter, decay, into in zip(
            gradients, parameters, pick(self._decay, rows), decayed, strict=True
        ):
            torch.addcmul(gradient, parameter, decay, out=into)
        return decayed

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

    def update_by_lane(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows by torch's kernel, fused but in float64, one lane after the other."""
        parameters = self.parameters_by_lane()
        buffers = self.slot_by_lane("momentum_buffer") if self._has_momentum else []
        gradient_of = {row: unbound(each) for row, each in zip(rows, gradients, strict=True)}
        step: Callable[..., None] = _step_in_turn if self.is_double else torch._fused_sgd_
        for lane, (lr, momentum, dampening, weight_decay, nesterov, maximize), alike in self.lane_rows.parts(
            self._numbers, rows
        ):
            for is_first, part in self._by_start(lane, alike, momentum).items():
                step(
                    [parameters[row][lane] for row in part],
                    [gradient_of[row][lane] for row in part],
                    [buffers[row][lane] for row in part] if momentum else [],
                    lr=lr,
                    momentum=momentum,
                    dampening=dampening,
                    weight_decay=weight_decay,
                    nesterov=bool(nesterov),
                    maximize=bool(maximize),
                    is_first_step=is_first,
                )

    def _by_start(self, lane: int, rows: list[int], momentum: float) -> dict[bool, list[int]]:
        """The rows whose buffer starts with this step, and the others."""
        if not (momentum and self._starts):
            return {False: rows}
        parts: dict[bool, list[int]] = {}
        for row in rows:
            parts.setdefault(bool(self._steps[row, lane] == 1), []).append(row)
        return parts


def _step_in_turn(
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    *,
    momentum: float,
    is_first_step: bool,
    **numbers: Any,
) -> None:
    """One step of torch's own default on a CPU."""
    begin = not buffers or is_first_step
    kept: list[Tensor | None] = [None] * len(parameters) if begin else list(buffers)
    sgd(parameters, gradients, kept, foreach=False, momentum=momentum, **numbers)
    if begin:
        for buffer, started in zip(buffers, kept, strict=False):
            if started is not None:
                buffer.copy_(started)
