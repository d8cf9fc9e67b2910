"""Lanes that pause inside forward, backward and validation train as if they had not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec


class PausingGate:
    """Notes in which segment each pause lies, and raises at one of them."""

    def __init__(self, fatal: tuple[str, int] | None = None) -> None:
        self.places: list[str] = []
        self._fatal = fatal
        self._segment = ""

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        self._segment = name
        yield
        self._segment = ""

    def pause(self) -> None:
        self.places.append(self._segment)
        if self._fatal is not None and self._fatal == (self._segment, self.places.count(self._segment)):
            raise ConnectionError("the slot has gone")


def trainer(task: Any, gate: Any) -> Any:
    lanes = [LaneSpec(f"trials/{lane}", {"lr": 0.01 * (1 + lane)}, lane) for lane in range(3)]
    return build_trainer(
        task(), width=1.0, solution=None, execution=Execution.FUSED, lanes=lanes, data_seed=0, gate=gate
    )


@pytest.fixture(params=["digits", "char_lm"])
def task(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_lanes_that_pause_are_trained_to_the_same_bits(task: Any) -> None:
    gate = PausingGate()
    paused, whole = trainer(task, gate), trainer(task, OpenGate())
    for _ in range(3):
        paused.train_step()
        whole.train_step()
    assert [paused.checkpoint(f"trials/{lane}") for lane in range(3)] == [
        whole.checkpoint(f"trials/{lane}") for lane in range(3)
    ]
    trials = [f"trials/{lane}" for lane in range(3)]
    assert paused.validate(trials) == whole.validate(trials)
    assert set(gate.places) == {"forward", "backward", "validation"}
    assert gate.places.count("backward") >= 3 * 3


@pytest.mark.parametrize("place", [("forward", 5), ("backward", 3)])
def test_slot_that_goes_at_a_pause_leaves_the_lanes_as_before_the_step(digits: Any, place: tuple[str, int]) -> None:
    broken, whole = trainer(digits, PausingGate(place)), trainer(digits, OpenGate())
    before = broken.checkpoint("trials/1")
    with pytest.raises(ConnectionError, match="slot has gone"):
        broken.train_step()
    assert broken.checkpoint("trials/1") == before == whole.checkpoint("trials/1")
    assert torch.is_grad_enabled()
