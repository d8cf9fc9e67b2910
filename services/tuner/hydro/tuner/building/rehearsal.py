"""One step of the task as the user wrote it, before anything is made of it: what is wrong with it shows here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hydro.tuner.building.task_failure import TaskFailed, attributed_to_task
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask
from hydro.tuner.tracing import MetricsModule


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the task showed of itself."""

    target_parameters: int
    optimizer: Optimizer
    model: nn.Module


def rehearse(task: TrainingTask, hyperparameters: Hyperparameters, objective_metric: str) -> Rehearsal:
    """Trains the target one step and measures it on one validation batch.

    Raises:
        TaskFailed: the task raised, gave something of the wrong kind, or does not report the objective's metric.
    """
    with attributed_to_task("building the model"):
        model = task.model(hyperparameters)
    with attributed_to_task("giving the first training batch"):
        batch = next(iter(task.train_batches(hyperparameters, 0, 0)))
    optimizer = _train_one_step(task, model, batch, hyperparameters)
    _require_metric(_validate(task, model, hyperparameters), objective_metric)
    return Rehearsal(sum(parameter.numel() for parameter in model.parameters()), optimizer, model)


def _train_one_step(task: TrainingTask, model: nn.Module, batch: Batch, hyperparameters: Hyperparameters) -> Optimizer:
    with attributed_to_task("computing the loss"):
        loss = task.loss(model.train(), batch, hyperparameters)
        _require_scalar("loss", loss)
    with attributed_to_task("building the optimizer and its schedule"):
        optimizer = task.optimizer(model, hyperparameters)
        task.lr_scheduler(optimizer, hyperparameters)
    with attributed_to_task("taking the first optimizer step"):
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return optimizer


def _validate(task: TrainingTask, model: nn.Module, hyperparameters: Hyperparameters) -> Mapping[str, Tensor]:
    with attributed_to_task("giving the first validation batch"):
        batch = next(iter(task.validation_batches(hyperparameters)))
    with attributed_to_task("computing the metrics"), torch.no_grad():
        metrics: Mapping[str, Tensor] = MetricsModule(task, model.eval(), hyperparameters)(batch)
    for name, value in metrics.items():
        _require_scalar(f"metric {name!r}", value)
    return metrics


def _require_scalar(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TaskFailed(f"the task's {name} is {shape}: return a scalar tensor, the mean over the batch's samples")


def _require_metric(metrics: Mapping[str, Tensor], objective_metric: str) -> None:
    if objective_metric not in metrics:
        raise TaskFailed(
            f"the task never reports {objective_metric!r}, which the study optimizes: it reports {', '.join(metrics)}; "
            f"optimize one of these, or give it in the task's `metrics`"
        )
