"""What shrinking did, as text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.parametrization import initial_std_factor
from hydro.tuner.shrinking.solution import Solution, TensorSolution

_HEADER = ("tensor", "target", "surrogate", "class", "m_in", "m_out", "init", "lr", "decay", "eps")


@dataclass(frozen=True, slots=True)
class ShrinkReport:
    """Every tensor with its class and factors, and what did not shrink, with the reason."""

    solution: Solution
    optimizer_type: type[Optimizer] = torch.optim.AdamW
    """Whose factors the table shows."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: ops without a rule."""
        return tuple(f"not shrunk because of {op}" for op in self.solution.unknown_ops)

    def __str__(self) -> str:
        solution = self.solution
        share = solution.parameters / max(solution.target_parameters, 1)
        lines = [
            f"width {solution.width:g}: {solution.parameters:,} of {solution.target_parameters:,} parameters"
            f" ({share:.1%}); factors of {self.optimizer_type.__name__}",
            *self.warnings,
            "",
            *_aligned([_HEADER, *(self._row(each) for each in solution.tensors if each.is_parameter)]),
        ]
        kept = self._kept()
        if kept:
            lines += ["", "kept at full size:", *kept]
        return "\n".join(lines)

    def _row(self, each: TensorSolution) -> tuple[str, ...]:
        factors = self.solution.parametrization.factors(each.name, self.optimizer_type)
        name = " = ".join((each.name, *each.aliases))
        numbers = (
            each.classified.fan_in_ratio, each.classified.fan_out_ratio, initial_std_factor(each.classified),
            factors.lr, factors.weight_decay, factors.eps,
        )  # fmt: skip
        shapes = ("x".join(map(str, shape)) or "scalar" for shape in (each.target_shape, each.shape))
        return (name, *shapes, each.classified.tensor_class.value, *(f"{number:.4g}" for number in numbers))

    def _kept(self) -> list[str]:
        """Tensors none of whose dimensions shrank although they have more than kernel sizes and the like."""
        lines = []
        for each in self.solution.tensors:
            fixed = each.is_parameter and each.classified.tensor_class is TensorClass.FIXED
            if fixed and each.pins and self.solution.width < 1:
                lines.append(f"  {each.name}: {'; '.join(each.pins)}")
        return lines


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
