"""Fused lanes under autocast against separate models under autocast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.checkpoint import LaneState
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.placed_task import PlacedTask, TaskInvalid

STEPS = 12

# Both round every product's result to bfloat16 (2^-9 of its size), but not always to the same neighbour: sums run in
# another order, and a fused product is rounded before its bias is added, where torch's own is after. So a step's
# gradient is off by about 2^-9 of itself, and a weight, after STEPS of them, by no more than lr * STEPS * 2^-9 times
# the largest gradients seen here (about 2). Weights themselves stay in float32.
LR = 0.05
TOLERANCE = {"bfloat16": LR * STEPS * 2**-9 * 2, "float16": LR * STEPS * 2**-12 * 2}


class _Task(TrainingTask):
    def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            generator = torch.Generator().manual_seed(1000 * seed + start_step)
            inputs = self.inputs(generator)
            yield inputs, torch.randint(3, (len(inputs),), generator=generator)
            start_step += 1

    def inputs(self, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def validation_batches(self, hp: Any) -> list[tuple[Tensor, Tensor]]:
        return [next(self.train_batches(hp, 99, 0))]

    def loss(self, model: nn.Module, batch: Any, hp: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1]) * hp.get("loss_factor", 1.0)

    def optimizer(self, model: nn.Module, hp: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])


class Perceptron(_Task):
    def model(self, hp: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randn(8, 6, generator=generator)


class Convolutions(_Task):
    def model(self, hp: Any) -> nn.Module:
        layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 3, 3), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(27, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randn(6, 2, 7, 7, generator=generator)


class Attention(_Task):
    def model(self, hp: Any) -> nn.Module:
        # No relu: a unit whose input is rounded across 0 would have a gradient in one run and none in the other.
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, activation="gelu", batch_first=True)
        return nn.Sequential(nn.Embedding(11, 8), layer, nn.Flatten(), nn.Linear(32, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randint(11, (6, 4), generator=generator)


LANES = [LaneSpec(name, {"lr": LR / (1 + index)}, seed=index) for index, name in enumerate("abc")]


def _under_autocast(task: type[_Task], dtype: str) -> _Task:
    return type(task.__name__, (task,), {"autocast_dtype": dtype})()


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


def _state(trainer: Any, trial: str, steps: int) -> LaneState:
    return LaneState.from_bytes(trainer.checkpoint(trial), torch.device("cpu"), steps)


def _difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((tensor.double() - other[name].double()).abs().max()) for name, tensor in one.items())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("task", [Perceptron, Convolutions, Attention])
def test_fused_lanes_under_autocast_are_separate_models_under_autocast(
    new_trainer: Any, task: type[_Task], dtype: str
) -> None:
    chosen = _under_autocast(task, dtype)
    fused, separate = (_train(new_trainer(chosen, LANES, fused=fused), STEPS) for fused in (True, False))
    full = _train(new_trainer(task(), LANES, fused=True), STEPS)
    for lane in LANES:
        own, alone = _state(fused, lane.trial, STEPS), _state(separate, lane.trial, STEPS)
        assert _difference(own.model, alone.model) <= TOLERANCE[dtype]
        assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in own.model.values())
        assert _difference(own.model, _state(full, lane.trial, STEPS).model) > 0, "nothing was rounded"
        assert own.loss_scale == alone.loss_scale
    names = [lane.trial for lane in LANES]
    measured, expected = fused.validate(names), separate.validate(names)
    for name in names:
        assert measured[name]["validation_loss"] == pytest.approx(expected[name]["validation_loss"], abs=0.02)


def test_a_lane_whose_gradients_overflow_skips_its_step_alone(new_trainer: Any) -> None:
    task = _under_autocast(Perceptron, "float16")
    lanes = [LANES[0], LaneSpec("b", {"lr": LR, "loss_factor": 3e4}, seed=1), LANES[2]]
    fused, separate = (_train(new_trainer(task, lanes, fused=fused), 3) for fused in (True, False))
    undisturbed = _train(new_trainer(task, [lanes[0], lanes[2]], fused=True), 3)
    start = new_trainer(task, lanes, fused=True)
    overflowing = _state(fused, "b", 3)
    assert _difference(overflowing.model, _state(start, "b", 0).model) == 0
    assert overflowing.loss_scale == _state(separate, "b", 3).loss_scale
    assert overflowing.loss_scale["scale"] == 2.0**16 / 2**3
    for trial in "ac":
        assert _difference(_state(fused, trial, 3).model, _state(undisturbed, trial, 3).model) == 0
        assert _state(fused, trial, 3).loss_scale["scale"] == 2.0**16


def test_a_lane_goes_on_with_its_loss_scale(new_trainer: Any) -> None:
    task = _under_autocast(Perceptron, "float16")
    lane = LaneSpec("a", {"lr": LR, "loss_factor": 3e4}, seed=1)
    for fused in (True, False):
        trainer = _train(new_trainer(task, [lane], fused=fused), 4)
        paused = LaneSpec("a", lane.hyperparameters, 1, trainer.checkpoint("a"), 4)
        resumed = _train(new_trainer(task, [paused], fused=not fused), 3)
        assert _state(resumed, "a", 7).loss_scale == _state(_train(trainer, 3), "a", 7).loss_scale


def test_gradients_are_clipped_by_value_and_then_by_norm(new_trainer: Any, assert_equal_lanes: Any) -> None:
    class Clipped(Convolutions):
        precision = "float64"
        gradient_clip_value = 0.02
        gradient_clip_norm = 0.05

    trainers = [_train(new_trainer(Clipped(), LANES, fused=fused), 5) for fused in (True, False)]
    assert_equal_lanes(*trainers)


def test_another_dtype_is_refused_by_name() -> None:
    with pytest.raises(TaskInvalid, match="Perceptron.autocast_dtype is 'float8'"):
        PlacedTask(_under_autocast(Perceptron, "float8"), torch.device("cpu"))
