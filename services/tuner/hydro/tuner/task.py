"""What a user writes: ordinary PyTorch for one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Hyperparameters = Mapping[str, Any]
Batch = Any
"""A tensor, or tuples, lists and dicts of tensors, nested; the first axis of each tensor is the sample."""


class TrainingTask:
    """One model's training, seen as if it were alone.

    Nothing here knows of fusion, lanes or surrogates: `model` gives the target at full width, `loss` takes one ordinary
    model and one batch. Hydro shrinks the model, trains many trials of it as one program and transfers the best
    hyperparameters back.

    Not supported: optimizers with closures (LBFGS), two optimizers, control flow that depends on a trial's data.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """A value for every hyperparameter: what a parameter has that a study does not search."""

    gradient_clip_norm: ClassVar[float | None] = None
    """Largest norm of a trial's gradient over all parameters; larger ones are scaled down to it."""

    gradient_clip_value: ClassVar[float | None] = None
    """Largest absolute value of a gradient's element; it is clamped before the norm is looked at."""

    precision: ClassVar[Literal["float32", "float64"]] = "float32"
    """Of the weights, the optimizer's state, and everything that autocast leaves alone."""

    autocast_dtype: ClassVar[Literal["bfloat16", "float16"] | None] = None
    """Runs loss and metrics under `torch.autocast` in this dtype; no autocast of the task's own is needed, or allowed.

    With float16 each trial scales its loss as `torch.amp.GradScaler` does, and a trial whose gradients are not all
    finite skips that step alone.
    """

    pretrained: ClassVar[bool] = False
    """The model's initial values are to be fine-tuned: such a task has no surrogate."""

    def model(self, hp: Hyperparameters) -> nn.Module:
        """Gives the target, at full width, with its initial values."""
        raise NotImplementedError(f"{type(self).__name__}.model(hp) is missing: return the nn.Module to train")

    def model_at_width(self, hp: Hyperparameters, width: float) -> nn.Module | None:
        """Gives the model at a width in (0, 1], with the same parameters, narrower.

        None, as by default: the surrogate is made from the target's graph.
        """
        return None

    def train_batches(self, hp: Hyperparameters, seed: int, start_step: int) -> Iterator[Batch]:
        """Gives training batches without end, from optimizer step `start_step` on.

        The batch of a step is a function of (hp, seed, step) alone: a trial goes on after a pause as if there had been
        none.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.train_batches(hp, seed, start_step) is missing: yield batches without end"
        )

    def validation_batches(self, hp: Hyperparameters) -> Iterable[Batch]:
        """Gives the validation set, the same at each call."""
        raise NotImplementedError(f"{type(self).__name__}.validation_batches(hp) is missing: return the batches")

    def loss(self, model: nn.Module, batch: Batch, hp: Hyperparameters) -> Tensor:
        """Gives the loss of one batch.

        Shape: a scalar, the mean over the batch's samples.
        """
        raise NotImplementedError(f"{type(self).__name__}.loss(model, batch, hp) is missing: return a scalar tensor")

    def optimizer(self, model: nn.Module, hp: Hyperparameters) -> Optimizer:
        """Gives any torch optimizer over the model's parameters, with any parameter groups."""
        raise NotImplementedError(f"{type(self).__name__}.optimizer(model, hp) is missing: return a torch optimizer")

    def lr_scheduler(self, optimizer: Optimizer, hp: Hyperparameters) -> LRScheduler | None:
        """Gives any torch scheduler, stepped after each optimizer step, or None for a constant learning rate.

        ReduceLROnPlateau is stepped after each validation, with the objective.
        """
        return None

    def metrics(self, model: nn.Module, batch: Batch, hp: Hyperparameters) -> Mapping[str, Tensor]:
        """Gives further validation metrics by name, beside `validation_loss`.

        Shape: each a scalar, a mean over the batch's samples.
        """
        return {}
