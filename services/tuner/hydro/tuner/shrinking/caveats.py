"""What no factor of the table makes right, though the rest of the training transfers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from hydro.tuner.shrinking.optimizer_families import family_of
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.rule_table import OptimizerFamily
from hydro.tuner.task import TrainingTask


def caveats(
    task: TrainingTask,
    parametrization: Parametrization,
    optimizer_type: type[Optimizer],
    options: Mapping[str, Any],
    max_steps: int,
) -> tuple[str, ...]:
    """What the user should know of a task's numbers.

    Args:
        task: The user's.
        parametrization: The surrogate's.
        optimizer_type: The task's optimizer.
        options: Of its first parameter group.
        max_steps: Of the longest training; 0: not known.
    """
    found = []
    if task.gradient_clip_value is not None:
        found.append(
            f"gradient_clip_value {task.gradient_clip_value:g} bounds single elements of gradients, whose size goes"
            " with one over the width: its best value does not transfer; use gradient_clip_norm"
        )
    if family_of(optimizer_type, options) is OptimizerFamily.ADAFACTOR:
        found += _bounded_rate(parametrization, optimizer_type, options, max_steps)
    return tuple(found)


def _bounded_rate(
    parametrization: Parametrization, optimizer_type: type[Optimizer], options: Mapping[str, Any], max_steps: int
) -> list[str]:
    """Adafactor takes the smaller of lr and 1 / sqrt(step): beyond some step the factors of the table are lost."""
    factors = (parametrization.factors(name, optimizer_type, options).lr for name in parametrization.parameters)
    rate = float(options["lr"]) * max([1.0, *factors])
    last = int(rate**-2) if rate else max_steps
    if last >= max_steps:
        return []
    return [
        f"Adafactor bounds its learning rate by 1 / sqrt(step), which no factor scales: from step {last} on the"
        f" surrogate trains some tensors with less than its own rate of {rate:g}; lr up to"
        f" {max_steps**-0.5 * float(options['lr']) / rate:.2g} transfers over {max_steps} steps"
    ]
