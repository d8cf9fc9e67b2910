"""The worker with too little memory: it trains on, and tells the coordinator what did not fit."""

from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from hydro.api.type.v1 import bundle_pb2, task_pb2
from hydro.tuner.training import micro_bundle
from hydro.tuner.training.lane import MemoryMiss
from hydro.tuner.training.out_of_memory import OutOfMemory

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
    # By itself, or a call of its that is still on its way takes the next offer.
    free.terminate()
    free.wait()

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


def _refuse() -> None:
    """What torch says when it is refused memory, from its own allocator."""
    torch.empty(2**60, dtype=torch.int8)


def test_a_bundle_that_runs_out_of_memory_trains_on_and_later_ones_begin_smaller(
    fake: Any, run_worker: Any, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.offer(lane(0), lane(1), lane(2))
    run_worker()
    undisturbed, refused = fake.measured(), []
    fake.rounds.clear()
    losses = micro_bundle._losses

    def with_little_memory(stacked: Any, *rest: Any) -> torch.Tensor:
        if len(stacked) > 1:
            refused.append(len(stacked))
            _refuse()
        return losses(stacked, *rest)

    monkeypatch.setattr(micro_bundle, "_losses", with_little_memory)
    fake.offer(lane(0), lane(1), lane(2))
    fake.offer(lane(3), lane(4))
    run_worker()
    assert refused == [3, 2]
    measured = fake.measured()
    for key, metrics in undisturbed.items():
        assert measured[key] == pytest.approx(metrics)
    assert {("3", 8), ("4", 8)} <= measured.keys()
    assert {each.fusion_count for each in fake.rounds} == {1}
    assert any("out of memory with 2 at once" in report.log for each in fake.rounds for report in each.reports)
    told = [(each.lease, miss.lanes, miss.refused) for each in fake.rounds for miss in each.memory_misses]
    first = fake.released[1].lease
    assert told == [(first, 3, True), (first, 2, True)]
    assert all(miss.memory_bytes > 0 for each in fake.rounds for miss in each.memory_misses)
    assert [each.failure for each in fake.released[1:]] == ["", ""]


def test_lanes_that_an_optimizer_left_half_done_begin_again_from_their_checkpoints(
    fake: Any, run_worker: Any, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.offer(lane(0), lane(1))
    run_worker()
    undisturbed, steps = fake.measured(), []
    fake.rounds.clear()
    update = micro_bundle.MicroBundle._update

    def refused_once(self: Any) -> None:
        update(self)
        steps.append(len(self))
        if len(steps) == 6:
            raise OutOfMemory(MemoryMiss(len(self), 0))

    monkeypatch.setattr(micro_bundle.MicroBundle, "_update", refused_once)
    fake.offer(lane(0), lane(1))
    run_worker()
    assert steps == [2] * 6 + [1] * 8
    assert [(miss.lanes, miss.refused) for each in fake.rounds for miss in each.memory_misses] == [(2, True)]
    measured = fake.measured()
    for key, metrics in undisturbed.items():
        assert measured[key] == pytest.approx(metrics)
    assert fake.released[-1].failure == ""


@pytest.fixture
def memory_for_lanes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Memory for so many lanes, in whatever trainer."""
    from hydro.tuner.training import fused_trainer, separate_trainer

    def limit(most: int) -> weakref.WeakSet[Any]:
        alive: weakref.WeakSet[Any] = weakref.WeakSet()

        def limited(kind: Any) -> Any:
            def build(*given: Any) -> Any:
                if len(alive) >= most:
                    _refuse()
                lane = kind(*given)
                alive.add(lane)
                return lane

            return build

        monkeypatch.setattr(fused_trainer, "FusedLane", limited(fused_trainer.FusedLane))
        monkeypatch.setattr(separate_trainer, "_Lane", limited(separate_trainer._Lane))
        return alive

    return limit


@pytest.mark.parametrize("execution", [bundle_pb2.EXECUTION_FUSED, bundle_pb2.EXECUTION_SEPARATE])
def test_lanes_without_room_wait_for_others_to_leave(
    fake: Any, run_worker: Any, lane: Any, memory_for_lanes: Any, execution: Any
) -> None:
    fake.offer(lane(0), lane(1), lane(2), execution=execution)
    run_worker()
    undisturbed = fake.measured()
    fake.rounds.clear()
    memory_for_lanes(2)
    fake.offer(lane(0), lane(1), lane(2), execution=execution)
    run_worker()
    measured = fake.measured()
    assert measured.keys() == undisturbed.keys()
    for key, metrics in undisturbed.items():
        assert measured[key] == pytest.approx(metrics)
    assert all(each.free_lanes == 0 for each in fake.rounds[:2])
    assert not any(report.failure for each in fake.rounds for report in each.reports)
    assert fake.released[-1].failure == ""


def test_only_a_trial_that_does_not_fit_alone_fails(
    fake: Any, run_worker: Any, lane: Any, memory_for_lanes: Any
) -> None:
    memory_for_lanes(0)
    fake.offer(lane(0), lane(1))
    run_worker()
    failures = {report.trial[-1]: report.failure for each in fake.rounds for report in each.reports}
    assert failures.keys() == {"0", "1"}
    assert all("allocate" in failure for failure in failures.values())
    assert fake.released[-1].failure == ""


@pytest.mark.parametrize(
    ("planned", "device", "told", "at_once"),
    [
        (1, 1, [4, 2, 1], [4, 2, 1]),
        (1, 2**50, [4], [4, 4, 4]),
        (2**50, 1, [], [4, 4, 4]),
        (0, 1, [], [4, 4, 4]),
    ],
    ids=["above the plan and no room left", "above the plan", "as planned", "no plan"],
)
def test_memory_is_compared_with_the_plan_at_rungs_and_fewer_lanes_run_at_once_before_it_is_full(
    fake: Any,
    run_worker: Any,
    lane: Any,
    monkeypatch: pytest.MonkeyPatch,
    planned: int,
    device: int,
    told: list[int],
    at_once: list[int],
) -> None:
    lanes = [lane(number) for number in range(4)]
    fake.offer(*lanes, measured_steps=[2, 4, 6])
    run_worker()
    undisturbed = fake.measured()
    fake.rounds.clear()
    # What a process holds goes up and down with the machine; here it only grows.
    held = itertools.count(2**30)
    monkeypatch.setattr("hydro.worker.memory_watch.peak_bytes", lambda device: next(held))
    if told == [4]:
        monkeypatch.setattr("hydro.worker.memory_watch.peak_bytes", lambda device: 2**30)
    fake.offer(*lanes, measured_steps=[2, 4, 6], memory_bytes=planned, device_memory_bytes=device)
    run_worker()
    misses = [(miss.lanes, miss.refused) for each in fake.rounds for miss in each.memory_misses]
    assert misses == [(lanes_told, False) for lanes_told in told]
    assert [each.fusion_count for each in fake.rounds] == at_once
    measured = fake.measured()
    assert measured.keys() == undisturbed.keys()
    for key, metrics in undisturbed.items():
        assert measured[key] == pytest.approx(metrics)


def test_what_a_process_really_holds_is_told(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(*(lane(number) for number in range(4)), memory_bytes=1, device_memory_bytes=1)
    run_worker()
    (first, *_) = [miss for each in fake.rounds for miss in each.memory_misses]
    assert (first.lanes, first.refused) == (4, False)
    assert 50 * 2**20 < first.memory_bytes < psutil.virtual_memory().total
    assert [each.fusion_count for each in fake.rounds] == [4, 2]
