"""What shrinking did, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from hydro.tuner.shrinking.by_shapes import UNCHECKED
from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.solution import Solution, TensorSolution

_HEADER = (
    "tensor", "target", "surrogate", "class", "m_in", "m_out", "init", "forward", "lr", "decay", "eps", "why",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShrinkReport:
    """Every tensor with its class and factors, and what did not shrink, with the reason."""

    solution: Solution
    optimizer_type: type[Optimizer] = torch.optim.AdamW
    """Whose factors the table shows."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the optimizer's first parameter group, as far as factors depend on them."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: ops without a rule, and what could not be checked."""
        without_rules = tuple(f"not shrunk because of {op}" for op in self.solution.unknown_ops)
        return (*without_rules, *self._unchecked())

    def __str__(self) -> str:
        solution = self.solution
        share = solution.parameters / max(solution.target_parameters, 1)
        lines = [
            f"width {solution.width:g}: {solution.parameters:,} of {solution.target_parameters:,} parameters"
            f" ({share:.1%}); factors of {self.optimizer_type.__name__}",
            *(
                f"depth {solution.depth:g}: {each.layers} of {each.target_layers} layers of {each.name}, each branch"
                f" times {each.multiplier:.4g}"
                for each in solution.stacks
            ),
            *self.warnings,
            "",
            *_aligned([_HEADER, *(self._row(each) for each in solution.tensors if each.is_parameter)]),
        ]
        if sources := self._sources():
            lines += ["", "sources:", *sources]
        kept = self._kept()
        if kept:
            lines += ["", "kept at full size:", *kept]
        return "\n".join(lines)

    def _unchecked(self) -> tuple[str, ...]:
        if not self.solution.untraced:
            return ()
        how = "the surrogate is the factory's model, its tensors classified by their shapes and modules alone"
        return (f"{how}; not checked: {UNCHECKED}; it runs unfused, since {self.solution.untraced}",)

    def _row(self, each: TensorSolution) -> tuple[str, ...]:
        rules, one = self.solution.parametrization, each.classified
        factors = rules.factors(each.name, self.optimizer_type, self.options)
        numbers = (
            one.fan_in_ratio, one.fan_out_ratio, rules.initial_std_factor(each.name),
            rules.forward_multiplier(each.name, one.fan_in_ratio), factors.lr, factors.weight_decay, factors.eps,
        )  # fmt: skip
        name = " = ".join((each.name, *each.aliases))
        shapes = ("x".join(map(str, shape)) or "scalar" for shape in (each.target_shape, each.shape))
        cells = (f"{number:.4g}" for number in numbers)
        return (name, *shapes, one.tensor_class.value, *cells, one.reason)

    def _sources(self) -> list[str]:
        """Where the factors of each class come from."""
        rules = self.solution.parametrization
        named = {name: rules.row(name, self.optimizer_type, self.options) for name in rules.parameters}
        rows = {rules.parameters[name].tensor_class.value: row for name, row in named.items() if row is not None}
        return [f"  {tensor_class}: {row.source}" for tensor_class, row in rows.items()]

    def _kept(self) -> list[str]:
        """Tensors none of whose dimensions shrank although they have more than kernel sizes and the like."""
        lines = []
        for each in self.solution.tensors:
            fixed = each.is_parameter and each.classified.tensor_class is TensorClass.FIXED
            if fixed and any(each.kept):
                lines.append(f"  {each.name}: {'; '.join(dict.fromkeys(why for why in each.kept if why))}")
        return lines


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
