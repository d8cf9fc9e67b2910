"""Autocast and loss scaling, as the task asks for them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from hydro.tuner.training.placed_task import PlacedTask

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(task: PlacedTask) -> AbstractContextManager[Any]:
    """Gives what the task's loss and metrics run in.

    A grouped program runs in it too, and is not traced in it: an export keeps an autocast region as one opaque call.
    """
    if task.autocast_dtype is None:
        return nullcontext()
    return torch.autocast(task.device.type, _DTYPES[task.autocast_dtype])


def scales_losses(task: PlacedTask) -> bool:
    """Says whether losses are scaled: float16 has too few exponents for small gradients, bfloat16 has float32's."""
    return task.autocast_dtype == "float16"


def loss_scaler(task: PlacedTask) -> torch.amp.GradScaler:
    """Gives one model's loss scaler, which does nothing where none is needed."""
    return torch.amp.GradScaler(task.device.type, enabled=scales_losses(task))
