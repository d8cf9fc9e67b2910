"""The real process with too little memory: it trains on, and tells the coordinator what did not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from hydro.api.type.v1 import task_pb2

WIDE = """
import itertools
import torch
from torch import nn
from hydro.worker import TrainingTask


class Wide(TrainingTask):
    precision = "float64"
    defaults = {"lr": 0.1}

    def model(self, hp):
        return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))

    def train_batches(self, hp, seed, start_step):
        for step in itertools.count(start_step):
            yield torch.randn(10000, 8, generator=torch.Generator().manual_seed(step))

    def validation_batches(self, hp):
        return [torch.ones(4, 8)]

    def loss(self, model, batch, hp):
        return model(batch).square().mean()

    def optimizer(self, model, hp):
        return torch.optim.Adam(model.parameters(), lr=hp["lr"])
"""
WORKER = {"HYDRO_WORKER_DEVICE": "devices/test", "HYDRO_WORKER_IDLE_SECONDS": "60"}


@pytest.fixture
def offer_wide(fake: Any, lane: Any, tmp_path: Path) -> Any:
    """Offers a bundle of two lanes; fourteen more come with the first round's answer."""
    (tmp_path / "wide.py").write_text(WIDE)

    def offer() -> None:
        fake.rounds.clear()
        fake.released.clear()
        fake.insertions = [lane(number) for number in range(2, 16)]
        fake.offer(
            *(lane(number) for number in range(2)),
            task=task_pb2.Task(entry_point="wide:Wide", source_path=str(tmp_path)),
            max_lanes=16,
            micro_lanes=16,
            measured_steps=[1, 3],
        )

    return offer


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_without_memory_for_all_lanes_tells_so_and_ends_with_equal_results(
    fake: Any, offer_wide: Any, start_worker: Any, until: Any
) -> None:
    offer_wide()
    free = start_worker(**WORKER)
    until(lambda: bool(fake.released), free)
    undisturbed = fake.measured()
    assert not any(each.memory_misses for each in fake.rounds)
    free.kill()

    offer_wide()
    limited = start_worker(**WORKER)

    def limit_once() -> None:
        fake.on_round = lambda: None
        process = psutil.Process(limited.pid)
        data_bytes = process.memory_info().data
        process.rlimit(psutil.RLIMIT_DATA, (data_bytes + 150 * 2**20, psutil.RLIM_INFINITY))

    fake.on_round = limit_once
    until(lambda: bool(fake.released), limited)
    misses = [miss for each in fake.rounds for miss in each.memory_misses]
    assert misses and misses[0].lanes == 16
    assert all(miss.refused and miss.memory_bytes > 100 * 2**20 for miss in misses)
    assert [each.failure for each in fake.released] == [""]
    measured = fake.measured()
    assert measured.keys() == undisturbed.keys() == {(str(number), step) for number in range(16) for step in (1, 3)}
    for key, metrics in undisturbed.items():
        assert measured[key] == pytest.approx(metrics, rel=1e-9)
