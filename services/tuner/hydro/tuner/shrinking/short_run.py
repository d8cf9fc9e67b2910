"""A few steps of training at several widths: what the checks of the parametrization look at."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from hydro.tuner.shrinking.shrink import ShrunkModel, shrink
from hydro.tuner.shrinking.surrogate import at_any_width, build_target, capture_inputs
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask


class ShortRun:
    """One surrogate with fresh values, its optimizer scaled, the schedule left out: its first rates may be zero."""

    def __init__(self, task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, seed: int) -> None:
        shrunk.initialize(seed)
        self.model: nn.Module = copy.deepcopy(shrunk.model).train()
        self._task, self._hyperparameters, self._seed = task, hyperparameters, seed
        self._batches = iter(task.train_batches(hyperparameters, seed, 0))
        self.first_batch: Batch = next(self._batches)
        self._optimizer = task.optimizer(self.model, hyperparameters)
        shrunk.parametrization.apply(self._optimizer, self.model)

    def train(self, steps: int) -> None:
        """Trains from the first batch on; the same dropout masks for the same seed."""
        batch = self.first_batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            for _ in range(steps):
                self._optimizer.zero_grad()
                self._task.loss(self.model, batch, self._hyperparameters).backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
                batch = next(self._batches)


def wider_surrogates(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, widths: Sequence[float]
) -> list[ShrunkModel]:
    """Surrogates of the same target, depth and parametrization at other widths."""
    return _resized(task, hyperparameters, shrunk, [(width, shrunk.solution.depth) for width in widths])


def deeper_surrogates(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, depths: Sequence[float]
) -> list[ShrunkModel]:
    """Surrogates of the same target, width and parametrization at other depths."""
    return _resized(task, hyperparameters, shrunk, [(shrunk.solution.width, depth) for depth in depths])


def _resized(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    shrunk: ShrunkModel,
    widths_and_depths: Sequence[tuple[float, float]],
) -> list[ShrunkModel]:
    model = build_target(task, hyperparameters, seed=0)
    args, kwargs = capture_inputs(task, model, next(iter(task.train_batches(hyperparameters, 0, 0))), hyperparameters)
    solution = shrunk.solution
    return [
        shrink(
            at_any_width(task, hyperparameters, model, width) if solution.untraced else model,
            args,
            width,
            depth=depth,
            example_keywords=kwargs,
            multiplied_readout=solution.multiplied_readout,
            feature_learning=solution.feature_learning,
        )
        for width, depth in widths_and_depths
    ]
