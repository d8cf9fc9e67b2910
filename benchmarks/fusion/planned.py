"""What the planner chooses, from its own measurement of a training task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.fusion.variants import SGD
from benchmarks.fusion.workloads import Batch, LossModule, Workload
from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.profiler import Profiler
from hydro.tuner.planning.sizing import PlannedDevice, choose_sizing
from hydro.tuner.task import TrainingTask
from hydro.tuner.training.execution import Execution

BUDGET_SECONDS = 20.0
"""More than the service's own, so that the largest count of the table is measured for each model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How a number of models is to be trained."""

    execution: Execution
    at_once: int
    """Models that step together."""

    def __str__(self) -> str:
        return f"fused by {self.at_once}" if self.execution is not Execution.SEPARATE else "separate"


class WorkloadTask(TrainingTask):
    """A workload as the user of the service would hand it in."""

    def __init__(self, workload: Workload, optimizer: str) -> None:
        self._workload = workload
        self._optimizer = optimizer

    def model(self, hp: Mapping[str, Any]) -> nn.Module:
        return LossModule(self._workload.model())

    def train_batches(self, hp: Mapping[str, Any], seed: int, start_step: int) -> Iterator[Batch]:
        batch = self._workload.batch(torch.Generator().manual_seed(seed))
        while True:
            yield batch

    def validation_batches(self, hp: Mapping[str, Any]) -> Iterable[Batch]:
        return [self._workload.batch(torch.Generator().manual_seed(0))]

    def loss(self, model: nn.Module, batch: Batch, hp: Mapping[str, Any]) -> Tensor:
        loss: Tensor = model(*batch)
        return loss

    def optimizer(self, model: nn.Module, hp: Mapping[str, Any]) -> Optimizer:
        if self._optimizer == SGD:
            return torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        return torch.optim.AdamW(model.parameters(), lr=1e-3)


def measure(workload: Workload, optimizer: str, max_lanes: int) -> Profile:
    """Measures as the service does before a study's first bundle."""
    profiler = Profiler(WorkloadTask(workload, optimizer), {}, width=1, solution=None)
    return profiler.measure(max_lanes, fuse=True, budget_seconds=BUDGET_SECONDS).profile


def choose(profile: Profile, lanes: int) -> Choice:
    """Gives the planner's choice for so many models on a device without a limit."""
    sizing = choose_sizing(profile, PlannedDevice("devices/any"), lanes)
    if sizing is None or sizing.execution is Execution.SEPARATE:
        return Choice(Execution.SEPARATE, 1)
    return Choice(Execution.FUSED, min(lanes, sizing.micro_lanes))
