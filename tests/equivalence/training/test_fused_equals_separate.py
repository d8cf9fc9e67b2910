"""Lanes in one program are what they would be alone: the laws of BundleTrainer, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, ExponentialLR, ReduceLROnPlateau

from hydro.tuner.training.lane import LaneSpec

DIGITS = [
    LaneSpec("a", {"lr": 0.1}, seed=1),
    LaneSpec("b", {"lr": 0.03, "momentum": 0.5}, seed=2),
    LaneSpec("c", {"lr": 0.05, "weight_decay": 1e-3}, seed=3),
]
LANGUAGE = [
    LaneSpec("a", {"lr": 3e-3, "dropout": 0.2}, seed=1),
    LaneSpec("b", {"lr": 1e-3, "beta1": 0.8, "warmup_fraction": 0.1}, seed=2),
    LaneSpec("c", {"lr": 2e-3, "dropout": 0.0, "weight_decay": 0.3}, seed=3),
]


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


@pytest.mark.parametrize("width", [1.0, 0.5])
@pytest.mark.parametrize(("task_name", "lanes"), [("digits", DIGITS), ("char_lm", LANGUAGE)])
def test_fused_lanes_end_where_separate_models_do(
    request: Any, new_trainer: Any, assert_equal_lanes: Any, task_name: str, lanes: list[LaneSpec], width: float
) -> None:
    task = request.getfixturevalue(task_name)()
    fused = _train(new_trainer(task, lanes, fused=True, width=width), 8)
    separate = _train(new_trainer(task, lanes, fused=False, width=width), 8)
    assert_equal_lanes(fused, separate)
    measured, expected = (each.validate(["a", "b", "c"]) for each in (fused, separate))
    for trial, metrics in expected.items():
        assert measured[trial] == pytest.approx(metrics, abs=1e-10)
    # Measuring leaves no trace.
    assert_equal_lanes(_train(fused, 1), _train(separate, 1))


@pytest.mark.parametrize(("task_name", "lanes"), [("digits", DIGITS), ("char_lm", LANGUAGE)])
def test_lanes_come_at_other_steps_and_go_without_a_trace(
    request: Any, new_trainer: Any, assert_equal_lanes: Any, task_name: str, lanes: list[LaneSpec]
) -> None:
    task = request.getfixturevalue(task_name)()
    trainer = _train(new_trainer(task, lanes[:2], fused=True), 3)
    trainer.insert(lanes[2:])
    _train(trainer, 2)
    trainer.remove(["a"])
    _train(trainer, 2)
    assert [(lane.trial, lane.step) for lane in trainer.lanes] == [("b", 7), ("c", 4)]
    assert_equal_lanes(trainer, _train(new_trainer(task, lanes[1:2], fused=False), 7))
    assert_equal_lanes(trainer, _train(new_trainer(task, lanes[2:], fused=False), 4))


@pytest.mark.parametrize(("task_name", "lanes"), [("digits", DIGITS), ("char_lm", LANGUAGE)])
def test_checkpoints_move_between_fused_and_separate_trainers(
    request: Any, new_trainer: Any, assert_equal_lanes: Any, task_name: str, lanes: list[LaneSpec]
) -> None:
    task = request.getfixturevalue(task_name)()
    undisturbed = _train(new_trainer(task, lanes, fused=False), 7)
    trainer = _train(new_trainer(task, lanes, fused=True), 3)
    for fused, steps in ((False, 2), (True, 2)):
        resumed = [
            LaneSpec(spec.trial, spec.hyperparameters, spec.seed, trainer.checkpoint(spec.trial), trainer.lanes[0].step)
            for spec in lanes
        ]
        trainer = _train(new_trainer(task, resumed, fused=fused), steps)
    assert_equal_lanes(trainer, undisturbed)


@pytest.mark.parametrize("fused", [True, False])
def test_a_lane_that_diverges_ends_alone(digits: Any, new_trainer: Any, assert_equal_lanes: Any, fused: bool) -> None:
    class Diverging(digits):
        def optimizer(self, model: Any, hp: Any) -> Any:
            return torch.optim.SGD(model.parameters(), lr=hp["lr"])

    lanes = [DIGITS[0], LaneSpec("dead", {"lr": 1e200}, seed=9), DIGITS[1]]
    trainer = _train(new_trainer(Diverging(), lanes, fused=fused), 6)
    (failure,) = trainer.take_failures()
    assert failure.trial == "dead"
    assert failure.step < 6
    assert "training loss is" in failure.reason
    assert [lane.trial for lane in trainer.lanes] == ["a", "b"]
    assert trainer.take_failures() == ()
    assert_equal_lanes(trainer, _train(new_trainer(Diverging(), DIGITS[:2], fused=False), 6))


def test_gradients_are_clipped_by_lane(digits: Any, new_trainer: Any, assert_equal_lanes: Any) -> None:
    class Clipped(digits):
        gradient_clip_norm = 0.5

    fused, separate = (_train(new_trainer(Clipped(), DIGITS, fused=fused), 5) for fused in (True, False))
    assert_equal_lanes(fused, separate)


def test_lanes_whose_batches_differ_in_shape_run_apart(digits: Any, new_trainer: Any, assert_equal_lanes: Any) -> None:
    class Ragged(digits):
        def train_batches(self, hp: Any, seed: int, start_step: int) -> Any:
            for step, (images, labels) in enumerate(super().train_batches(hp, seed, start_step), start_step):
                samples = 24 if step % 3 else 16
                yield images[:samples], labels[:samples]

    task = Ragged()
    trainer = _train(new_trainer(task, DIGITS[:2], fused=True), 2)
    trainer.insert(DIGITS[2:])
    _train(trainer, 4)
    assert_equal_lanes(trainer, _train(new_trainer(task, DIGITS[:2], fused=False), 6))
    assert_equal_lanes(trainer, _train(new_trainer(task, DIGITS[2:], fused=False), 4))


def test_an_optimizer_without_a_twin_and_a_cyclic_momentum_are_exact(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    class Cyclic(digits):
        def optimizer(self, model: Any, hp: Any) -> Any:
            optimizer = torch.optim.SGD if hp["lr"] > 0 else None
            return optimizer(model.parameters(), lr=hp["lr"], momentum=0.9)

        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return CyclicLR(optimizer, hp["lr"] / 4, hp["lr"], step_size_up=2)

    class Shrinking(torch.optim.RMSprop):
        """Its constructor asks for more than a learning rate, and it keeps that outside its groups."""

        def __init__(self, parameters: Any, rate: float, shrink: float) -> None:
            super().__init__(parameters, lr=rate)
            self.shrink = shrink

        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.mul_(self.shrink)
            return super().step(closure)

    class WithoutTwin(digits):
        def optimizer(self, model: Any, hp: Any) -> Any:
            return Shrinking(model.parameters(), hp["lr"] / 100, 1 - hp["lr"] / 10)

        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return ExponentialLR(optimizer, 0.9)

    for task in (Cyclic(), WithoutTwin()):
        fused, separate = (_train(new_trainer(task, DIGITS, fused=fused), 5) for fused in (True, False))
        assert_equal_lanes(fused, separate)
        state = separate.checkpoint("a")
        resumed = new_trainer(task, [*DIGITS[1:]], fused=True)
        resumed.insert([LaneSpec("a", DIGITS[0].hyperparameters, 1, state, 5)])
        _train(resumed, 2)
        assert_equal_lanes(_train(new_trainer(task, DIGITS[:1], fused=False), 7), resumed)


def test_plateau_schedules_follow_each_lanes_own_objective(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    class Plateau(digits):
        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=hp["momentum"])

    trainers = [new_trainer(Plateau(), DIGITS, fused=fused) for fused in (True, False)]
    for trainer in trainers:
        for _ in range(3):
            _train(trainer, 2).validate(["a", "b", "c"])
    assert_equal_lanes(*trainers)


def test_a_task_that_raises_for_one_trial_fails_that_trial_with_its_traceback(digits: Any, new_trainer: Any) -> None:
    class Raising(digits):
        def model(self, hp: Any) -> Any:
            if hp["lr"] == 0.03:
                raise ValueError("no such width")
            return super().model(hp)

    for fused in (True, False):
        trainer = new_trainer(Raising(), DIGITS[:1], fused=fused)
        trainer.insert(DIGITS[1:])
        (failure,) = trainer.take_failures()
        assert failure.trial == "b"
        assert "no such width" in failure.reason
        assert "test_fused_equals_separate.py" in failure.traceback
        assert [lane.trial for lane in _train(trainer, 1).lanes] == ["a", "c"]


def test_losses_fall(char_lm: Any, new_trainer: Any) -> None:
    trainer = new_trainer(char_lm(), LANGUAGE, fused=True)
    before = trainer.validate(["a"])["a"]["validation_loss"]
    after = _train(trainer, 20).validate(["a"])["a"]["validation_loss"]
    assert after < before
    assert math.isfinite(after)
