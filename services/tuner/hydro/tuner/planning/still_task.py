"""A task whose steps cost what they cost and change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from torch import nn
from torch.optim import Optimizer

from hydro.tuner.task import Batch, Hyperparameters
from hydro.tuner.training.placed_task import PlacedTask


class StillTask(PlacedTask):
    """The user's task with a learning rate of zero, and a validation of one batch.

    A profile takes hundreds of steps at the task's defaults, which may diverge on a surrogate; a lane that diverged
    would end the measurement. The arithmetic is the same as at any other rate.
    """

    def optimizer(self, model: nn.Module, hp: Hyperparameters) -> Optimizer:
        """Gives the task's optimizer, at a standstill."""
        optimizer = super().optimizer(model, hp)
        for group in optimizer.param_groups:
            # A product, because it may be a tensor and must stay one.
            group["lr"] = 0.0 * group["lr"]
        return optimizer

    def validation_batches(self, hp: Hyperparameters) -> Iterable[Batch]:
        """Gives the first of the task's validation batches: a segment is one batch, and so is the peak of memory."""
        return islice(super().validation_batches(hp), 1)
