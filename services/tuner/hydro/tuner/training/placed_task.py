"""A user's task with its models and batches on one device, in the task's precision, and its defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils import _pytree as pytree

from hydro.optim import UnsupportedOptimizer, require_supported
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask

_ATTRIBUTES = ("defaults", "gradient_clip_norm", "gradient_clip_value", "precision", "autocast_dtype", "pretrained")
_AUTOCAST_DTYPES = ("bfloat16", "float16")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TaskInvalid(TypeError):
    """The task gives something that it must not: the message names the method and what to return."""


class PlacedTask(TrainingTask):
    """Passes everything on to the user's task, and moves and casts what comes back.

    Floating tensors are cast for float64 alone: a float32 task decides itself what it feeds to its model.
    """

    def __init__(self, task: TrainingTask, device: torch.device) -> None:
        if task.precision not in _DTYPES:
            raise TaskInvalid(f"{type(task).__name__}.precision is {task.precision!r}: use one of {sorted(_DTYPES)}")
        if task.autocast_dtype not in (None, *_AUTOCAST_DTYPES):
            raise TaskInvalid(
                f"{type(task).__name__}.autocast_dtype is {task.autocast_dtype!r}: use one of {_AUTOCAST_DTYPES}"
            )
        self.task = task
        self.device = device
        self._cast = torch.float64 if task.precision == "float64" else None
        # The class attributes of this task are the user's: what reads them need not know that it is wrapped.
        self.__dict__.update({name: getattr(task, name) for name in _ATTRIBUTES})

    def completed(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        """Gives the trial's hyperparameters over the task's defaults."""
        return {**self.task.defaults, **hyperparameters}

    def place(self, batch: Batch) -> Batch:
        """Moves a batch's tensors to the device, and casts them."""
        if type(batch) in (tuple, list):
            # What most batches are: pytree would take as long as a small model's forward.
            return type(batch)(self.place(each) for each in batch)
        if isinstance(batch, Tensor):
            return self._place_tensor(batch)
        return pytree.tree_map_only(Tensor, self._place_tensor, batch)

    def _place_tensor(self, tensor: Tensor) -> Tensor:
        dtype = self._cast if tensor.is_floating_point() else None
        if dtype is None and tensor.device == self.device:
            return tensor
        return tensor.to(self.device, dtype, non_blocking=True)

    def model(self, hp: Hyperparameters) -> nn.Module:
        """Gives the task's model, placed."""
        model = self.task.model(hp)
        if not isinstance(model, nn.Module):
            raise TaskInvalid(f"{type(self.task).__name__}.model(hp) gave {model!r}: return an nn.Module")
        # On the meta device, where building costs nothing, it stays: it is wanted for its shapes.
        is_meta = any(each.is_meta for each in model.parameters())
        return model.to(dtype=self._cast) if is_meta else model.to(self.device, self._cast)

    def model_at_width(self, hp: Hyperparameters, width: float) -> nn.Module | None:
        """Gives the task's model at a width, where the task offers that."""
        return self.task.model_at_width(hp, width)

    def train_batches(self, hp: Hyperparameters, seed: int, start_step: int) -> Iterator[Batch]:
        """Gives the task's training batches, placed."""
        return map(self.place, self.task.train_batches(hp, seed, start_step))

    def validation_batches(self, hp: Hyperparameters) -> Iterable[Batch]:
        """Gives the task's validation batches, placed."""
        return map(self.place, self.task.validation_batches(hp))

    def loss(self, model: nn.Module, batch: Batch, hp: Hyperparameters) -> Tensor:
        """Gives the task's loss."""
        return self.task.loss(model, batch, hp)

    def optimizer(self, model: nn.Module, hp: Hyperparameters) -> Optimizer:
        """Gives the task's optimizer."""
        optimizer = self.task.optimizer(model, hp)
        where = f"{type(self.task).__name__}.optimizer(model, hp)"
        if not isinstance(optimizer, Optimizer):
            raise TaskInvalid(f"{where} gave {type(optimizer).__name__}: return one torch.optim.Optimizer")
        try:
            require_supported(type(optimizer))
        except UnsupportedOptimizer as error:
            raise TaskInvalid(f"{where}: {error}") from error
        return optimizer

    def lr_scheduler(self, optimizer: Optimizer, hp: Hyperparameters) -> LRScheduler | None:
        """Gives the task's schedule."""
        return self.task.lr_scheduler(optimizer, hp)

    def metrics(self, model: nn.Module, batch: Batch, hp: Hyperparameters) -> Mapping[str, Tensor]:
        """Gives the task's metrics."""
        return self.task.metrics(model, batch, hp)


def sample_count(batch: Batch) -> int:
    """Gives the length of the first axis of a batch's first tensor that has one."""
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim > 0:
            return leaf.shape[0]
    raise TaskInvalid("no tensor of the validation batch has a sample axis: it must be the first axis")
