"""What has to fit into a bubble is the longest part between two pauses, measured. Here time is counted in ops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.profiler import Profiler
from hydro.tuner.planning.sizing import BUBBLE_SHARE, PlannedDevice, choose_sizing
from hydro.tuner.planning.turns import Patience
from hydro.tuner.task import TrainingTask
from hydro.tuner.training.execution import Execution

LAYERS = 20


class Tower(TrainingTask):
    def model(self, hp: Mapping[str, Any]) -> nn.Module:
        return nn.Sequential(*(each for _ in range(LAYERS) for each in (nn.Linear(2, 2), nn.Tanh())))

    def train_batches(self, hp: Mapping[str, Any], seed: int, start_step: int) -> Iterator[Tensor]:
        while True:
            yield torch.ones(4, 2)

    def validation_batches(self, hp: Mapping[str, Any]) -> Iterable[Tensor]:
        return [torch.ones(4, 2)]

    def loss(self, model: nn.Module, batch: Tensor, hp: Mapping[str, Any]) -> Tensor:
        loss: Tensor = model(batch).square().mean()
        return loss

    def optimizer(self, model: nn.Module, hp: Mapping[str, Any]) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1)


class OpCount(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops = 0

    def __call__(self) -> float:
        return float(self.ops)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def profile() -> Profile:
    with OpCount() as clock:
        profiler = Profiler(Tower(), {}, 1, None, patience=Patience(0, 3, 3), clock=clock)
        return profiler.measure(1, fuse=True, budget_seconds=60).profile


def slot(bubble_seconds: float) -> PlannedDevice:
    return PlannedDevice("devices/gpu/slots/run-0", bubble_seconds=bubble_seconds)


def test_a_fused_bundle_counts_by_its_parts_and_a_separate_model_by_its_segments(profile: Profile) -> None:
    for point in profile.fused:
        assert 0 < point.segment_seconds < point.step_seconds / 8
    assert profile.separate_segment_seconds > profile.separate_step_seconds / 4


def test_a_model_whose_parts_fit_is_offered_a_bubble_that_is_too_short_for_its_forward(profile: Profile) -> None:
    sizing = choose_sizing(profile, slot(1.1 * profile.fused[0].segment_seconds / BUBBLE_SHARE))
    assert sizing is not None
    assert sizing.execution is Execution.FUSED
    assert sizing.segment_seconds < profile.separate_segment_seconds


def test_a_model_whose_parts_do_not_fit_is_not_offered_the_bubble(profile: Profile) -> None:
    shortest = min(point.segment_seconds for point in profile.fused)
    assert choose_sizing(profile, slot(0.9 * shortest / BUBBLE_SHARE)) is None
