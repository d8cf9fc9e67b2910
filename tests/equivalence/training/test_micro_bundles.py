"""A bundle in micro-bundles is what it would be as one program: float64."""

from __future__ import annotations

from typing import Any

import pytest

from hydro.tuner.fusion import lower
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec

LANES = [
    LaneSpec(
        str(index),
        {"lr": 1e-3 * (index + 1), "dropout": 0.1 * (index % 3), "weight_decay": 0.1 * index, "warmup_fraction": 0.2},
        seed=index,
    )
    for index in range(7)
]


def _trainer(task: Any, lanes: list[LaneSpec], micro_lanes: int | None) -> Any:
    return build_trainer(
        task,
        width=1.0,
        solution=None,
        execution=Execution.FUSED,
        lanes=lanes,
        data_seed=7,
        gate=OpenGate(),
        micro_lanes=micro_lanes,
    )


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


@pytest.mark.parametrize("micro_lanes", [1, 3])
def test_micro_bundles_end_where_one_bundle_does(
    char_lm: Any, assert_equal_lanes: Any, new_trainer: Any, micro_lanes: int
) -> None:
    parted = _train(_trainer(char_lm(), LANES, micro_lanes), 4)
    assert parted.fusion_count == micro_lanes
    whole = _train(_trainer(char_lm(), LANES, None), 4)
    assert whole.fusion_count == len(LANES)
    assert_equal_lanes(parted, whole)
    assert_equal_lanes(parted, _train(new_trainer(char_lm(), LANES[4:6], fused=False), 4))
    trials = [lane.trial for lane in LANES]
    measured, expected = parted.validate(trials), whole.validate(trials)
    for trial in trials:
        assert measured[trial] == pytest.approx(expected[trial], abs=1e-10)


def test_lanes_that_leave_and_join_are_regrouped_without_a_trace(
    digits: Any, assert_equal_lanes: Any, new_trainer: Any
) -> None:
    lanes = [LaneSpec(str(index), {"lr": 0.01 * (index + 1), "momentum": 0.5}, seed=index) for index in range(9)]
    trainer = _train(_trainer(digits(), lanes[:7], 3), 2)
    trainer.remove(["1", "3", "4"])
    assert [lane.trial for lane in trainer.lanes] == ["0", "2", "5", "6"]
    assert "micro-bundles of 3, 1" in trainer.report
    _train(trainer, 2)
    trainer.insert(lanes[7:])
    assert "micro-bundles of 3, 3" in trainer.report
    _train(trainer, 2)
    assert [(lane.trial, lane.step) for lane in trainer.lanes] == [
        *[(trial, 6) for trial in ("0", "2", "5", "6")],
        *[(trial, 2) for trial in ("7", "8")],
    ]
    assert_equal_lanes(trainer, _train(new_trainer(digits(), [lanes[i] for i in (0, 2, 5, 6)], fused=False), 6))
    assert_equal_lanes(trainer, _train(new_trainer(digits(), lanes[7:], fused=False), 2))


def test_lanes_of_other_numbers_come_go_and_are_regrouped_without_lowering_again(
    char_lm: Any, assert_equal_lanes: Any, new_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = []
    lower_graph = lower._lower_graph

    def counted(*given: Any) -> Any:
        lowered.append(given)
        return lower_graph(*given)

    monkeypatch.setattr(lower, "_lower_graph", counted)
    lanes = [LaneSpec(str(index), {"dropout": 0.05 * (index + 1)}, seed=index) for index in range(7)]
    trainer = _train(_trainer(char_lm(), lanes[:5], 2), 2)
    trainer.validate([lane.trial for lane in trainer.lanes])
    # Training and validation, each once for all micro-bundles.
    assert len(lowered) == 2
    trainer.remove(["1", "2"])
    trainer.insert(lanes[5:])
    _train(trainer, 2)
    trainer.validate([lane.trial for lane in trainer.lanes])
    # Lanes at other steps have batches of their own: that is another form of the training program, and the only one.
    assert len(lowered) <= 3
    assert_equal_lanes(trainer, _train(new_trainer(char_lm(), [lanes[i] for i in (0, 3, 4)], fused=False), 4))
    assert_equal_lanes(trainer, _train(new_trainer(char_lm(), lanes[5:], fused=False), 2))
