"""Gradient clipping as the task asks for it.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn import utils

from hydro import optim
from hydro.tuner.task import TrainingTask


def clip_gradients(task: TrainingTask, parameters: Iterable[Tensor]) -> None:
    """Clips one model's gradients: by value, then by norm."""
    chosen = list(parameters)
    if task.gradient_clip_value is not None:
        utils.clip_grad_value_(chosen, task.gradient_clip_value)
    if task.gradient_clip_norm is not None:
        utils.clip_grad_norm_(chosen, task.gradient_clip_norm)


def clip_lane_gradients(task: TrainingTask, parameters: Iterable[Tensor]) -> None:
    """Clips every lane's gradients as if it were alone.

    Shape: parameters and their gradients [G, ...].
    """
    chosen = list(parameters)
    if task.gradient_clip_value is not None:
        optim.clip_grad_value_(chosen, task.gradient_clip_value)
    if task.gradient_clip_norm is not None:
        optim.clip_grad_norm_(chosen, task.gradient_clip_norm)
