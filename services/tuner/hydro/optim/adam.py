"""Adam and AdamW over lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from hydro.optim.grouped_rule import GroupedRule, pick
from hydro.optim.lane_numbers import Number
from hydro.optim.lane_rows import unbound
from hydro.optim.parameter_groups import Parameters


class Adam(GroupedRule):
    """Grouped twin of torch.optim.Adam: every number may be a vector over lanes, and so is the step count.

    Source: torch/optim/adam.py (`_single_tensor_adam`).
    """

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad", "maximize", "decoupled_weight_decay")
    elements_by_lane = 8192

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        amsgrad: Number = False,
        *,
        maximize: Number = False,
        decoupled_weight_decay: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {**defaults, "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay})

    def refresh(self) -> None:
        """Writes the coefficients that do not depend on the step count."""
        decay, decoupled = self._numbers["weight_decay"], self._numbers["decoupled_weight_decay"]
        self._has_amsgrad = bool((self._numbers["amsgrad"] != 0).any())
        if self.is_by_lane:
            return
        self._couples = bool((decay * (1 - decoupled) != 0).any())
        self._decays = bool((decay * decoupled != 0).any())
        self._maximizes = bool((self._numbers["maximize"] != 0).any())
        self._sign = self.write("sign", 1 - 2 * self._numbers["maximize"])
        self._coupled = self.write("coupled", decay * (1 - decoupled))
        self._kept = self.write("kept", 1 - self._numbers["lr"] * decay * decoupled)
        self._first_share = self.write("first_share", 1 - self._numbers["beta1"])
        self._second_share = self.write("second_share", 1 - self._numbers["beta2"])
        self._second_kept = self.write("second_kept", self._numbers["beta2"])
        self._betas = torch.stack([self._numbers["beta1"], self._numbers["beta2"]])
        self._descent = torch.stack([-self._numbers["lr"], self._numbers["eps"]])
        self._amsgrad = self.write("amsgrad", self._numbers["amsgrad"])

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Torch keeps the largest moment for lanes with amsgrad."""
        return slot != "max_exp_avg_sq" or self.number("amsgrad", row, lane) != 0

    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, all lanes at once."""
        parameters, gradients = pick(self._parameters, rows), list(gradients)
        if self._maximizes:
            gradients = list(torch._foreach_mul(gradients, pick(self._sign, rows)))
        if self._couples:
            gradients = list(torch._foreach_addcmul(gradients, parameters, pick(self._coupled, rows)))
        if self._decays:
            torch._foreach_mul_(parameters, pick(self._kept, rows))
        first = pick(self.slot("exp_avg"), rows)
        torch._foreach_lerp_(first, gradients, pick(self._first_share, rows))
        second = self._second_moment(rows, gradients)
        if self.is_double:
            self._descend_as_torch(rows, parameters, first, second)
            return
        step_size, eps = self._corrections()
        direction = self.room(rows)
        for moment, into in zip(second, direction, strict=True):
            torch.sqrt(moment, out=into)
        torch._foreach_add_(direction, pick(eps, rows))
        for moment, into in zip(first, direction, strict=True):
            torch.div(moment, into, out=into)
        torch._foreach_addcmul_(parameters, direction, pick(step_size, rows))

    def _second_moment(self, rows: Sequence[int], gradients: list[Tensor]) -> list[Tensor]:
        second = pick(self.slot("exp_avg_sq"), rows)
        if self.is_double:
            torch._foreach_mul_(second, pick(self._second_kept, rows))
            torch._foreach_addcmul_(second, torch._foreach_mul(gradients, pick(self._second_share, rows)), gradients)
        else:
            squares = self.room(rows)
            for gradient, into in zip(gradients, squares, strict=True):
                torch.mul(gradient, gradient, out=into)
            torch._foreach_lerp_(second, squares, pick(self._second_share, rows))
        if not self._has_amsgrad:
            return second
        largest = pick(self.slot("max_exp_avg_sq"), rows)
        torch._foreach_maximum_(largest, second)
        chosen = zip(pick(self._amsgrad, rows), largest, second, strict=True)
        return [torch.where(amsgrad != 0, maximum, current) for amsgrad, maximum, current in chosen]

    def _corrections(self) -> tuple[list[Tensor], list[Tensor]]:
        """The step size and eps, with the second moment's correction taken out of its root: a pass less."""
        first, second = 1 - self._betas**self._steps
        step_size, eps = self._descent * second.sqrt_()
        return self.write("step_size", step_size.div_(first)), self.write("eps", eps)

    def _descend_as_torch(
        self, rows: Sequence[int], parameters: list[Tensor], first: list[Tensor], second: list[Tensor]
    ) -> None:
        """Torch's operations in torch's order; powers in Python, as a tensor's may differ in the last bit."""
        tables = (self._numbers["beta1"].tolist(), self._numbers["beta2"].tolist(), self._steps.tolist())
        corrections = [
            [(1 - beta1**step, (1 - beta2**step) ** 0.5) for beta1, beta2, step in zip(*lanes, strict=True)]
            for lanes in zip(*tables, strict=True)
        ]
        of_first, of_second = torch.tensor(corrections, dtype=torch.float64).unbind(-1)
        step_size = self.write("step_size", -self._numbers["lr"] / of_first)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, pick(self.write("correction", of_second), rows))
        torch._foreach_add_(scale, pick(self.write("eps", self._numbers["eps"]), rows))
        torch._foreach_addcdiv_(parameters, torch._foreach_mul(first, pick(step_size, rows)), scale)

    def update_by_lane(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows by torch's kernels, fused but in float64, one lane after the other."""
        parameters = self.parameters_by_lane()
        first, second = self.slot_by_lane("exp_avg"), self.slot_by_lane("exp_avg_sq")
        largest = self.slot_by_lane("max_exp_avg_sq") if self._has_amsgrad else []
        gradient_of = {row: unbound(each) for row, each in zip(rows, gradients, strict=True)}
        steps = self.lane_rows.counts(self._steps)
        for lane, numbers, part in self.lane_rows.parts(self._numbers, rows):
            lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, is_decoupled = numbers
            step: Callable[..., Any] = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
            if self.is_double:
                step = partial(_step_in_turn, is_decoupled=bool(is_decoupled))
            step(
                [parameters[row][lane] for row in part],
                [gradient_of[row][lane] for row in part],
                [first[row][lane] for row in part],
                [second[row][lane] for row in part],
                [largest[row][lane] for row in part] if amsgrad else [],
                [steps[row][lane] for row in part],
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=weight_decay,
                eps=eps,
                amsgrad=bool(amsgrad),
                maximize=bool(maximize),
            )


def _step_in_turn(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    largest: list[Tensor],
    steps: list[Tensor],
    *,
    is_decoupled: bool,
    **numbers: Any,
) -> None:
    """One step of torch's own default on a CPU, for steps that are counted already."""
    counts = [step - 1 for step in steps]
    adam(
        parameters, gradients, first, second, largest, counts, foreach=False, decoupled_weight_decay=is_decoupled,
        **numbers,
    )  # fmt: skip


class AdamW(Adam):
    """Grouped twin of torch.optim.AdamW: weight decay acts on the parameters, not through the gradient."""

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
        amsgrad: Number = False,
        *,
        maximize: Number = False,
    ) -> None:
        """Takes torch's arguments; each number is one value, or one per lane."""
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
