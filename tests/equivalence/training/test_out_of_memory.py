"""A bundle that runs out of memory goes on with fewer lanes at once, and ends where it would have: float64."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.out_of_memory import OutOfMemory, is_out_of_memory

LANES = [
    LaneSpec(str(index), {"lr": 0.01 * (index + 1), "momentum": 0.5, "dropout": 0.1}, seed=index) for index in range(6)
]


def _refuse() -> None:
    """What torch says when it is refused memory, from its own allocator."""
    torch.empty(2**60, dtype=torch.int8)


def _trainer(task: Any, lanes: list[LaneSpec] = LANES) -> FusedTrainer:
    trainer = build_trainer(
        task, width=1.0, solution=None, execution=Execution.FUSED, lanes=lanes, data_seed=7, gate=OpenGate()
    )
    assert isinstance(trainer, FusedTrainer)
    return trainer


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


class Limit(torch.autograd.Function):
    """Passes its input on; its backward is refused memory above a number of lanes."""

    lanes = 10**9

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        if len(gradient) > Limit.lanes:
            _refuse()
        return gradient


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Memory for so many lanes' losses at once, in the backward, when dropout and running statistics have moved."""
    from hydro.tuner.training import micro_bundle

    whole = micro_bundle._losses
    monkeypatch.setattr(micro_bundle, "_losses", lambda *given: Limit.apply(whole(*given)))
    return lambda lanes: monkeypatch.setattr(Limit, "lanes", lanes)


def test_torch_says_it_in_ways_that_are_recognized() -> None:
    with pytest.raises(RuntimeError) as refused:
        _refuse()
    assert is_out_of_memory(refused.value)
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ):
        assert is_out_of_memory(error)
    for error in (RuntimeError("shape mismatch"), ValueError("can't allocate memory")):
        assert not is_out_of_memory(error)


def test_a_bundle_halves_until_it_fits_and_ends_where_it_would_have(
    digits: Any, limited: Any, assert_equal_lanes: Any
) -> None:
    undisturbed = _train(_trainer(digits()), 5)
    trainer = _train(_trainer(digits()), 2)
    limited(2)
    _train(trainer, 3)
    assert [miss.lanes for miss in trainer.misses] == [6, 3]
    assert trainer.fusion_count == 2
    assert "out of memory with 3 at once" in trainer.report
    assert_equal_lanes(trainer, undisturbed)


def test_the_first_step_is_undone_too(char_lm: Any, limited: Any, assert_equal_lanes: Any) -> None:
    lanes = [LaneSpec(str(index), {"dropout": 0.2}, seed=index) for index in range(4)]
    undisturbed = _train(_trainer(char_lm(), lanes), 3)
    limited(3)
    trainer = _train(_trainer(char_lm(), lanes), 3)
    assert [miss.lanes for miss in trainer.misses] == [4]
    assert_equal_lanes(trainer, undisturbed)


def test_lanes_that_join_later_keep_to_what_was_learned(digits: Any, limited: Any) -> None:
    trainer = _trainer(digits(), LANES[:4])
    limited(2)
    _train(trainer, 1)
    trainer.insert(LANES[4:])
    _train(trainer, 1)
    assert trainer.fusion_count == 2
    assert [miss.lanes for miss in trainer.misses] == [4]


def test_one_lane_that_does_not_fit_is_told_and_is_as_it_was(
    digits: Any, limited: Any, assert_equal_lanes: Any
) -> None:
    trainer = _train(_trainer(digits(), LANES[:1]), 2)
    limited(0)
    with pytest.raises(OutOfMemory, match="with 1 lanes at once"):
        trainer.train_step()
    limited(1)
    assert_equal_lanes(trainer, _train(_trainer(digits(), LANES[:1]), 2))


def test_an_optimizer_that_runs_out_in_its_first_step_is_put_back(
    char_lm: Any, assert_equal_lanes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def half_done(self: Any, **given: Any) -> None:
        step(self, **given)
        if self.lanes > 2:
            refused.append(self.lanes)
            _refuse()

    lanes = [LaneSpec(str(index), {"dropout": 0.0}, seed=index) for index in range(3)]
    undisturbed = _train(_trainer(char_lm(), lanes), 3)
    trainer = _trainer(char_lm(), lanes)
    optimizer_type: Any = type(trainer._micro[0]._optimizer)
    step = optimizer_type.step
    monkeypatch.setattr(optimizer_type, "step", half_done)
    _train(trainer, 3)
    assert refused == [3]
    assert_equal_lanes(trainer, undisturbed)


@pytest.fixture
def roomless(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Memory for so many lanes in one stack; the refusal comes when half of their tensors are stacked."""
    from hydro.tuner.fusion.lanes import LaneTensors

    most, append, refused = [10**9], LaneTensors.append, []

    def limited_append(self: Any, rows: Any) -> None:
        append(self, rows)
        if len(self) > most[0]:
            refused.append(len(self))
            _refuse()

    monkeypatch.setattr(LaneTensors, "append", limited_append)
    return most, refused


def test_a_bundle_that_does_not_fit_at_once_is_built_in_smaller_ones(
    digits: Any, roomless: Any, assert_equal_lanes: Any
) -> None:
    undisturbed = _train(_trainer(digits()), 2)
    most, refused = roomless
    most[0] = 2
    trainer = _trainer(digits())
    assert refused == [6, 3]
    assert trainer.fusion_count == 2
    assert [miss.lanes for miss in trainer.misses] == [6, 3]
    assert trainer.take_failures() == ()
    assert_equal_lanes(_train(trainer, 2), undisturbed)


def test_lanes_that_join_take_a_micro_bundle_of_their_own_where_one_stack_has_no_room(
    digits: Any, roomless: Any, assert_equal_lanes: Any
) -> None:
    undisturbed = _train(_trainer(digits(), LANES[:3]), 4)
    trainer = _train(_trainer(digits(), LANES[:3]), 2)
    most, _ = roomless
    most[0] = 3
    trainer.insert(LANES[3:5])
    assert [lane.trial for lane in trainer.lanes] == ["0", "1", "2", "3", "4"]
    assert_equal_lanes(_train(trainer, 2), undisturbed)
    assert trainer.fusion_count <= 3


def test_lanes_without_any_room_are_refused_and_the_others_stay_as_they_were(
    digits: Any, roomless: Any, assert_equal_lanes: Any
) -> None:
    undisturbed = _train(_trainer(digits(), LANES[:3]), 4)
    trainer = _train(_trainer(digits(), LANES[:3]), 2)
    most, _ = roomless
    most[0] = 0
    with pytest.raises(OutOfMemory):
        trainer.insert(LANES[3:5])
    assert [lane.trial for lane in trainer.lanes] == ["0", "1", "2"]
    assert trainer.take_failures() == ()
    most[0] = 3
    assert_equal_lanes(_train(trainer, 2), undisturbed)


def test_lanes_that_cannot_be_regrouped_go_on_as_they_are(digits: Any, roomless: Any, assert_equal_lanes: Any) -> None:
    undisturbed = _train(_trainer(digits()), 3)
    trainer = build_trainer(
        digits(),
        width=1.0,
        solution=None,
        execution=Execution.FUSED,
        lanes=LANES,
        data_seed=7,
        gate=OpenGate(),
        micro_lanes=3,
    )
    _train(trainer, 1)
    most, _ = roomless
    most[0] = 2
    trainer.remove(["1", "3", "4"])
    assert "micro-bundles of 2, 1" in trainer.report
    assert_equal_lanes(_train(trainer, 2), undisturbed)


class Hungry(torch.nn.Module):
    """A model that is refused memory while it is built, when so many are there already."""

    def __init__(self, built: list[int], most: int) -> None:
        super().__init__()
        built.append(len(built))
        if len(built) > most:
            _refuse()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).square().mean()


@pytest.mark.parametrize("execution", list(Execution))
def test_memory_refused_to_a_model_beside_others_fails_no_lane(digits: Any, execution: Execution) -> None:
    built: list[int] = []

    class Task(digits):  # type: ignore[misc]
        def model(self, hp: Any) -> torch.nn.Module:
            # The template, and two lanes.
            return Hungry(built, 3)

        def loss(self, model: Any, batch: Any, hp: Any) -> torch.Tensor:
            return model(batch[0].flatten()[:2])  # type: ignore[no-any-return]

    with pytest.raises(RuntimeError) as refused:
        build_trainer(
            Task(), width=1.0, solution=None, execution=execution, lanes=LANES[:3], data_seed=7, gate=OpenGate()
        )
    assert is_out_of_memory(refused.value)


CHILD = """
import itertools, resource, sys
import torch
from torch import nn
from hydro.tuner.task import TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec


class Wide(TrainingTask):
    precision = "float64"

    def model(self, hp):
        return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Dropout(0.1), nn.Linear(64, 1))

    def train_batches(self, hp, seed, start_step):
        for step in itertools.count(start_step):
            yield torch.randn(10000, 8, generator=torch.Generator().manual_seed(step))

    def validation_batches(self, hp):
        return [torch.ones(4, 8)]

    def loss(self, model, batch, hp):
        return model(batch).square().mean()

    def optimizer(self, model, hp):
        return torch.optim.Adam(model.parameters(), lr=hp["lr"])


def train(limit_bytes):
    lanes = [LaneSpec(str(i), {"lr": 0.001 * (i + 1)}, seed=i) for i in range(16)]
    trainer = build_trainer(
        Wide(), width=1.0, solution=None, execution=Execution.FUSED, lanes=lanes, data_seed=0, gate=OpenGate()
    )
    if limit_bytes:
        held = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + limit_bytes, resource.RLIM_INFINITY))
    for _ in range(4):
        trainer.train_step()
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return trainer, [trainer.checkpoint(lane.trial) for lane in trainer.lanes]


torch.set_num_threads(1)
limited, after = train(220 * 2**20)
print("at once", limited.fusion_count, "misses", [miss.lanes for miss in limited.misses])
assert limited.misses and limited.fusion_count < 16, limited.report
whole, expected = train(0)
assert not whole.misses
from hydro.tuner.training.checkpoint import LaneState
for mine, theirs in zip(after, expected, strict=True):
    mine, theirs = (LaneState.from_bytes(each, torch.device("cpu"), 4) for each in (mine, theirs))
    for name, tensor in mine.model.items():
        assert float((tensor - theirs.model[name]).abs().max()) <= 1e-10, name
    assert torch.equal(mine.rng, theirs.rng)
print("equal")
"""


def test_a_process_with_too_little_memory_trains_on_with_equal_results() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "equal", done.stdout
