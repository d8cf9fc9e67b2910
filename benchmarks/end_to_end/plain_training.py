"""The target trained in plain PyTorch, as one would write it for one device: fused optimizer, data in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.end_to_end.subject import SEED
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask

Report = Callable[[int, Mapping[str, float]], None]
"""Is told the step and the metrics of each validation; may raise to end the training."""


def device() -> torch.device:
    """The GPU where there is one, else all usable cores as threads of one training."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return torch.device("cpu")


def train(
    task: TrainingTask, hp: Hyperparameters, seed: int, steps: int, interval_steps: int, report: Report
) -> dict[str, float]:
    """Trains one model and gives the metrics of its last validation.

    Args:
        task: The user's.
        hp: Complete.
        seed: Of the weights and of random numbers; the data's order is the study's.
        steps: Optimizer steps.
        interval_steps: Between two validations; there is one at the end.
        report: See `Report`.
    """
    torch.manual_seed(seed)
    place = device()
    model = task.model(hp).to(place)
    optimizer = task.optimizer(model, hp)
    for group in optimizer.param_groups:
        # As if the task had asked for it: the fastest that torch has.
        group["fused"] = True
    scheduler = task.lr_scheduler(optimizer, hp)
    validation = [_placed(batch, place) for batch in task.validation_batches(hp)]
    batches = iter(task.train_batches(hp, SEED, 0))
    model.train()
    metrics: dict[str, float] = {}
    for step in range(1, steps + 1):
        task.loss(model, _placed(next(batches), place), hp).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if scheduler is not None:
            scheduler.step()
        if step % interval_steps == 0 or step == steps:
            metrics = validate(task, model, hp, validation)
            report(step, metrics)
    return metrics


def validate(task: TrainingTask, model: nn.Module, hp: Hyperparameters, batches: list[Batch]) -> dict[str, float]:
    """Gives each metric's mean over the validation samples."""
    sums: dict[str, float] = {}
    samples = 0
    model.eval()
    with torch.inference_mode():
        for batch in batches:
            count = len(pytree.tree_leaves(batch)[0])
            measured = {"validation_loss": task.loss(model, batch, hp), **task.metrics(model, batch, hp)}
            sums = {name: sums.get(name, 0.0) + count * float(value) for name, value in measured.items()}
            samples += count
    model.train()
    return {name: value / samples for name, value in sums.items()}


def is_finite(metrics: Mapping[str, float]) -> bool:
    """Whether the training has not diverged."""
    return all(math.isfinite(value) for value in metrics.values())


def _placed(batch: Any, place: torch.device) -> Any:
    return pytree.tree_map(lambda leaf: leaf.to(place) if isinstance(leaf, Tensor) else leaf, batch)
