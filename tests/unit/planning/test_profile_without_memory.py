"""A profile ends at the fusion count for which there is no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hydro.tuner.fusion.lanes import LaneTensors
from hydro.tuner.planning.profiler import Profiler
from hydro.tuner.planning.turns import Patience
from hydro.tuner.task import TrainingTask


class Line(TrainingTask):
    def model(self, hp: Mapping[str, Any]) -> nn.Module:
        return nn.Linear(2, 1)

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


@pytest.mark.parametrize("most", [1, 2])
def test_a_count_that_is_refused_memory_is_no_point_of_the_profile(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    append, refused = LaneTensors.append, []

    def limited(self: Any, rows: Any) -> None:
        append(self, rows)
        if len(self) > most:
            refused.append(len(self))
            torch.empty(2**60, dtype=torch.int8)

    monkeypatch.setattr(LaneTensors, "append", limited)
    profiler = Profiler(Line(), {}, 1, None, patience=Patience(0, 3, 3))
    profile = profiler.measure(8, fuse=True, budget_seconds=60).profile
    assert refused
    assert [point.lanes for point in profile.fused] == [lanes for lanes in (1, 2) if lanes <= most]
    assert profile.separate_step_seconds > 0
