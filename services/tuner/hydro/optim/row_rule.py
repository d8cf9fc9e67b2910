"""Grouped twins that go from parameter to parameter.

Legend: T parameters, G lanes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hydro.optim.grouped_rule import GroupedRule


class RowRule(GroupedRule):
    """A rule written for one parameter [G, ...], with the arithmetic that most of torch's optimizers share."""

    def refresh(self) -> None:
        """Writes every number, and how weights decay."""
        self._of = {name: self.write(name, self._numbers[name]) for name in self.numbers}
        decoupled = self.decoupled()
        decay = self._numbers["weight_decay"] if "weight_decay" in self.numbers else torch.zeros_like(decoupled)
        self._maximizes = self.any("maximize") if "maximize" in self.numbers else False
        self._couples = bool((decay * (1 - decoupled) != 0).any())
        self._decays = bool((decay * decoupled != 0).any())
        if self._maximizes:
            self._sign = self.write("sign", 1 - 2 * self._numbers["maximize"])
        self._coupled = self.write("coupled", decay * (1 - decoupled))
        self._kept = self.write("kept", 1 - self._numbers["lr"] * decay * decoupled)

    def decoupled(self) -> Tensor:
        """Gives 1 where weights decay directly, 0 where through the gradient; [T, G]."""
        name = "decoupled_weight_decay"
        return self._numbers[name] if name in self.numbers else torch.zeros_like(self._numbers["lr"])

    def any(self, number: str) -> bool:
        """Says whether a number is not zero for some lane."""
        return bool((self._numbers[number] != 0).any())

    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, one after the other."""
        self._counted = self.is_counted(rows)
        self.prepare()
        for row, gradient in zip(rows, gradients, strict=True):
            if self._maximizes:
                gradient = gradient * self._sign[row]
            self.update_row(row, self._parameters[row], gradient)

    def prepare(self) -> None:
        """Writes the coefficients that depend on the step counts, which are those of this step."""

    @abstractmethod
    def update_row(self, row: int, parameter: Tensor, gradient: Tensor) -> None:
        """Updates one parameter of all lanes."""

    def with_decay(self, row: int, parameter: Tensor, gradient: Tensor) -> Tensor:
        """Decays the lanes that decay directly, and gives the gradient with the other lanes' decay in it."""
        if self._couples:
            gradient = torch.addcmul(gradient, parameter, self._coupled[row])
        if self._decays:
            parameter.mul_(self._kept[row])
        return gradient

    def of(self, number: str, row: int) -> Tensor:
        """Gives a parameter's number, [G, 1, ...]."""
        return self._of[number][row]

    def first_steps(self) -> Tensor:
        """Says which parameters and lanes take their first step now, [T, G]."""
        return (self._steps == 1) & self._counted

    def restart(self, slot: str, values: Tensor) -> None:
        """Fills a slot of the parameters and lanes whose first step this is; `values` is [T, G]."""
        is_first = self.first_steps()
        if not bool(is_first.any()):
            return
        started = self.write(f"first {slot}", is_first.double())
        for tensor, starts, value in zip(self.slot(slot), started, self.write(slot, values), strict=True):
            tensor.copy_(torch.where(starts != 0, value, tensor))
