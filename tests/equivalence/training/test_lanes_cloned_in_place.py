"""A lane that is cloned in place is a run that loads the parent's checkpoint with other hyperparameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from hydro.tuner.training.lane import LaneClone, LaneSpec

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
CHANGED = {
    "digits": {"lr": 0.06, "momentum": 0.8, "weight_decay": 2e-3},
    "char_lm": {"lr": 2.4e-3, "dropout": 0.1, "beta1": 0.85, "warmup_fraction": 0.2},
}


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


def _cloned(trainer: Any, parent: str, hyperparameters: dict[str, Any], *, trial: str = "c") -> LaneSpec:
    """Clones, and gives the run that it has to equal."""
    step = trainer.lanes[0].step
    expected = LaneSpec(trial, hyperparameters, 3, trainer.checkpoint(parent), step)
    trainer.clone([LaneClone(trial, parent, hyperparameters, 3)])
    assert trainer.take_failures() == ()
    return expected


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("task_name", "lanes"), [("digits", DIGITS), ("char_lm", LANGUAGE)])
def test_a_clone_equals_a_run_from_the_parents_checkpoint(
    request: Any, new_trainer: Any, assert_equal_lanes: Any, task_name: str, lanes: list[LaneSpec], fused: bool
) -> None:
    task = request.getfixturevalue(task_name)()
    trainer = _train(new_trainer(task, lanes, fused=fused), 3)
    untouched = [
        LaneSpec(spec.trial, spec.hyperparameters, spec.seed, trainer.checkpoint(spec.trial), 3) for spec in lanes[:2]
    ]
    expected = _cloned(trainer, "a", CHANGED[task_name])
    assert [lane.trial for lane in trainer.lanes] == ["a", "b", "c"]
    alone = _train(new_trainer(task, [*untouched, expected], fused=False), 4)
    assert_equal_lanes(_train(trainer, 4), alone)


def test_a_clone_takes_its_parents_state_across_micro_bundles(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    trainer = new_trainer(digits(), DIGITS, fused=True)
    trainer.run_at_most(2)
    _train(trainer, 3)
    assert trainer.fusion_count == 2
    expected = _cloned(trainer, "a", CHANGED["digits"])
    assert_equal_lanes(_train(trainer, 2), _train(new_trainer(digits(), [expected], fused=False), 2))


@pytest.mark.parametrize("fused", [True, False])
def test_hyperparameters_change_where_a_lane_stands(
    char_lm: Any, new_trainer: Any, assert_equal_lanes: Any, fused: bool
) -> None:
    """As a target replays a schedule: the lane is its own parent."""
    trainer = _train(new_trainer(char_lm(), LANGUAGE, fused=fused), 3)
    expected = _cloned(trainer, "c", CHANGED["char_lm"])
    assert_equal_lanes(_train(trainer, 3), _train(new_trainer(char_lm(), [expected], fused=False), 3))


def test_a_changed_rate_is_the_schedules_own_at_that_step(digits: Any, new_trainer: Any) -> None:
    """Not the parent's: after a clone the learning rate is what a run with it from the start would have by now."""

    class Annealed(digits):
        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return CosineAnnealingLR(optimizer, T_max=10)

    trainer = _train(new_trainer(Annealed(), DIGITS, fused=True), 4)
    _cloned(trainer, "a", {"lr": 0.2})
    from_start = _train(new_trainer(Annealed(), [LaneSpec("c", {"lr": 0.2}, 3)], fused=False), 4)
    rates = trainer._lanes()[-1].numbers.schedule.rates()
    assert rates == pytest.approx(from_start._lanes[0].schedule.rates(), abs=1e-15)


def test_a_cycle_of_rates_and_momenta_is_followed_from_its_start(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    class Cycled(digits):
        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return OneCycleLR(optimizer, max_lr=hp["lr"], total_steps=12)

    trainer = _train(new_trainer(Cycled(), DIGITS, fused=True), 3)
    expected = _cloned(trainer, "a", CHANGED["digits"])
    assert_equal_lanes(_train(trainer, 4), _train(new_trainer(Cycled(), [expected], fused=False), 4))


def test_a_plateaus_reductions_hold_for_the_changed_rate(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    class Plateaued(digits):
        def lr_scheduler(self, optimizer: Any, hp: Any) -> Any:
            return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0)

    trainer = _train(new_trainer(Plateaued(), DIGITS, fused=True), 1)
    for _ in range(3):
        trainer.validate(["a", "b", "c"])
    expected = _cloned(trainer, "a", {"lr": 0.2})
    (rate,) = set(trainer._lanes()[-1].numbers.schedule.rates())
    assert rate == pytest.approx(0.2 * 0.5**3)
    alone = new_trainer(Plateaued(), [expected], fused=False)
    for each in (trainer, alone):
        each.validate(["c"])
        _train(each, 2)
    assert_equal_lanes(trainer, alone)


def test_an_optimizer_that_is_run_lane_by_lane_is_cloned_with_its_state(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any
) -> None:
    class Own(torch.optim.Adam):
        """Of no known class, so that each lane has one of its own."""

    class Unknown(digits):
        def optimizer(self, model: Any, hp: Any) -> Any:
            return Own(model.parameters(), lr=hp["lr"], weight_decay=hp["weight_decay"])

    trainer = _train(new_trainer(Unknown(), DIGITS, fused=True), 3)
    expected = _cloned(trainer, "a", {"lr": 0.02, "weight_decay": 1e-2})
    assert_equal_lanes(_train(trainer, 3), _train(new_trainer(Unknown(), [expected], fused=False), 3))


@pytest.mark.parametrize("fused", [True, False])
def test_what_the_task_refuses_ends_that_lane_alone(digits: Any, new_trainer: Any, fused: bool) -> None:
    class Refusing(digits):
        def optimizer(self, model: Any, hp: Any) -> Any:
            if hp["lr"] > 1:
                raise ValueError("lr is too large for me")
            kind = torch.optim.Adam if hp["momentum"] == 0 else torch.optim.SGD
            return kind(model.parameters(), lr=hp["lr"])

    trainer = _train(new_trainer(Refusing(), DIGITS, fused=fused), 2)
    trainer.clone([LaneClone("b", "a", {"lr": 2.0}, 2), LaneClone("c", "a", {"momentum": 0.0}, 3)])
    first, second = trainer.take_failures()
    assert "lr is too large for me" in first.reason
    assert "another optimizer" in second.reason
    assert [lane.trial for lane in _train(trainer, 1).lanes] == ["a"]
