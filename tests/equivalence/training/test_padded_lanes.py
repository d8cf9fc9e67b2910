"""A bundle that is to be compiled, by a compiler that gives back what it gets: padding must not show."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hydro.tuner.planning.profiler import Profiler
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec

LANES = [LaneSpec(str(index), {"lr": 1e-3 * (index + 1)}, seed=index) for index in range(4)]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has torch.compile change nothing; gives the fusion counts that ran."""
    seen: list[int] = []

    def compile_nothing(function: Any, **_: Any) -> Any:
        def run(*arguments: Any) -> Any:
            seen.append(arguments[-2])
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile_nothing)
    return seen


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


def _compiled(task: Any, lanes: list[LaneSpec]) -> Any:
    return build_trainer(
        task, width=1.0, solution=None, execution=Execution.COMPILED, lanes=lanes, data_seed=7, gate=OpenGate()
    )


def test_padded_lanes_end_where_separate_models_do(
    digits: Any, assert_equal_lanes: Any, new_trainer: Any, counts: list[int]
) -> None:
    trainer = _train(_compiled(digits(), LANES[:3]), 2)
    trainer.insert(LANES[3:])
    _train(trainer, 1)
    trainer.remove(["0"])
    _train(trainer, 1)
    assert set(counts) == {4}
    assert trainer.compilation == "compiled"
    separate = _train(new_trainer(digits(), LANES[:3], fused=False), 2)
    separate.insert(LANES[3:])
    _train(separate, 1)
    separate.remove(["0"])
    assert_equal_lanes(trainer, _train(separate, 1))


def test_a_compiled_form_is_measured_only_where_a_bundle_has_steps_enough_to_pay_for_it(
    digits: Any, counts: list[int]
) -> None:
    profiler = Profiler(digits(), digits.defaults, width=1, solution=None)
    assert profiler.measure(2, fuse=True, budget_seconds=0.1).profile.compiled is None
    assert profiler.measure(2, fuse=True, budget_seconds=0.1, bundle_steps=1).profile.compiled is None
    assert counts == []
    compiled = profiler.measure(2, fuse=True, budget_seconds=0.1, bundle_steps=10**7).profile.compiled
    assert compiled is not None
    assert compiled.bundle_steps == 10**7
    assert set(counts) == {compiled.lanes}
