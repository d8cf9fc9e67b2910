"""Adam and AdamW over lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from hydro.optim.bias_corrections import as_factors, as_torch, corrections_ahead
from hydro.optim.columns import Columns, shared
from hydro.optim.grouped_rule import GroupedRule, pick
from hydro.optim.lane_numbers import Number
from hydro.optim.lane_rows import unbound
from hydro.optim.parameter_groups import Parameters

_ONE = torch.ones(1, 1, 1, dtype=torch.float64)


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
        self._constant: dict[str, Tensor] = {}

    def refresh(self) -> None:
        """Writes the coefficients that do not depend on the step count; a schedule mostly changes the rates alone."""
        constant = {name: self._numbers[name] for name in self.numbers if name != "lr"}
        # A table is the same tensor until one of its numbers changes.
        if any(self._constant.get(name) is not table for name, table in constant.items()):
            self._constant = constant
            self._refresh_constant(**constant)
        if self.is_by_lane:
            return
        rate = self._numbers["lr"]
        if self._decays:
            self._kept = self.write("kept", 1 - rate * self._decay)
        self._descent = shared(torch.stack([-rate, constant["eps"]]))

    def _refresh_constant(
        self, amsgrad: Tensor, maximize: Tensor, weight_decay: Tensor, decoupled_weight_decay: Tensor, **_: Tensor
    ) -> None:
        self.forget_ahead()
        coupled, self._decay = weight_decay * (1 - decoupled_weight_decay), weight_decay * decoupled_weight_decay
        self._has_amsgrad, self._maximizes, self._couples, self._decays = (
            bool((table != 0).any()) for table in (amsgrad, maximize, coupled, self._decay)
        )
        if self._couples:
            self._coupled = self.write("coupled", coupled)

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Torch keeps the largest moment for lanes with amsgrad."""
        return slot != "max_exp_avg_sq" or self.number("amsgrad", row, lane) != 0

    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, all lanes at once."""
        for columns in self.columns(rows):
            own = gradients
            if len(columns.rows) < len(rows):
                own = [gradient for row, gradient in zip(rows, gradients, strict=True) if row in columns.rows]
            self._update_columns(columns, own)

    def _update_columns(self, columns: Columns, gradients: Sequence[Tensor]) -> None:
        first_share, second_share, second_kept, sign, amsgrad = self._constants(columns)
        gradient = columns.gather(gradients)
        if self._maximizes:
            gradient.mul_(sign)
        if self._couples:
            torch._foreach_addcmul_(columns.room_parts, columns.parameters, pick(self._coupled, columns.rows))
        if self._decays:
            torch._foreach_mul_(columns.parameters, pick(self._kept, columns.rows))
        self.slot_in_columns("exp_avg", columns)[0].lerp_(gradient, first_share)
        second, _ = self.slot_in_columns("exp_avg_sq", columns)
        if self.is_double:
            second.mul_(second_kept).addcmul_(gradient * second_share, gradient)
        else:
            second.lerp_(torch.mul(gradient, gradient, out=gradient), second_share)
        if self._has_amsgrad:
            largest, _ = self.slot_in_columns("max_exp_avg_sq", columns)
            second = torch.where(amsgrad != 0, torch.maximum(largest, second, out=largest), second)
        descend = self._descend_as_torch if self.is_double else self._descend
        descend(columns, second)

    def _descend(self, columns: Columns, second: Tensor) -> None:
        """With the second moment's correction taken out of its root, and the step size in the quotient: passes less."""
        step_size, eps = columns.write("descent", self._corrections(columns), columns.own(self._descent))
        scale = torch.sqrt(second, out=columns.room).add_(eps)
        torch.div(step_size, scale, out=scale)
        _, first = self.slot_in_columns("exp_avg", columns)
        torch._foreach_addcmul_(columns.parameters, first, columns.room_parts)

    def _descend_as_torch(self, columns: Columns, second: Tensor) -> None:
        """Torch's operations in torch's order."""
        negative_rate, eps = columns.own(self._descent)
        of_first, of_second = self._corrections(columns)
        step_size = negative_rate / of_first
        tables = torch.stack([step_size, of_second.expand_as(step_size), eps.expand_as(step_size)])
        step_size, correction, eps = columns.write("descent", tables, _ONE)
        torch.sqrt(second, out=columns.room).div_(correction).add_(eps)
        steps, parts = columns.reserve()
        torch.mul(self.slot_in_columns("exp_avg", columns)[0], step_size, out=steps)
        torch._foreach_addcdiv_(columns.parameters, parts, columns.room_parts)

    def _constants(self, columns: Columns) -> list[Tensor]:
        if columns.constants is None:
            beta1, beta2, maximize, amsgrad = (
                self._constant[name] for name in ("beta1", "beta2", "maximize", "amsgrad")
            )
            tables = shared(torch.stack([1 - beta1, 1 - beta2, beta2, 1 - 2 * maximize, amsgrad]))
            columns.constants = columns.write("constants", columns.own(tables), _ONE)
        return columns.constants

    def _corrections(self, columns: Columns) -> Tensor:
        """What both moments' bias makes of this step, [2, 1 or T, G]."""
        if columns.ahead is None or columns.step == len(columns.ahead):
            counts = shared(
                torch.stack([self._constant["beta1"], self._constant["beta2"], self._steps])[:, columns.rows]
            )
            columns.ahead = corrections_ahead(counts, as_torch if self.is_double else as_factors)
            columns.step = 0
        columns.step += 1
        return columns.ahead[columns.step - 1]

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
