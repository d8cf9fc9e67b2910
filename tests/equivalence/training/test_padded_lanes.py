"""A bundle that is to be compiled, by a compiler that gives back what it gets: padding must not show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hydro.tuner.building.measuring import Measuring
from hydro.tuner.building.profile_cache import ProfileCache
from hydro.tuner.planning.profiler import Measured, Profiler
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


def _compiled(task: Any, lanes: list[LaneSpec], micro_lanes: int | None = None) -> Any:
    return build_trainer(
        task,
        width=1.0,
        solution=None,
        execution=Execution.COMPILED,
        lanes=lanes,
        data_seed=7,
        gate=OpenGate(),
        micro_lanes=micro_lanes,
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
    digits: Any, counts: list[int], tmp_path: Path
) -> None:
    profiler = Profiler(digits(), digits.defaults, width=1, solution=None)
    cache = ProfileCache(str(tmp_path))

    def measured(steps: int) -> tuple[Measured, list[Measured]]:
        told: list[Measured] = []
        measuring = Measuring(profiler, cache, f"steps-{steps}", steps)
        return measuring.measured(2, fuse=True, tell=lambda without, seconds: told.append(without)), told

    for steps in (0, 1):
        assert measured(steps)[0].profile.compiled is None
    assert counts == []
    found, (without,) = measured(10**7)
    compiled = found.profile.compiled
    assert compiled is not None
    assert compiled.bundle_steps == 10**7
    assert set(counts) == {compiled.lanes}
    assert f"with {compiled.lanes} lanes, after 0 s of compiling" in found.report
    assert without.profile == replace(found.profile, compiled=None)
    assert "not compiled: the compilation did not end" in without.report
    assert measured(10**7)[0].profile == found.profile


def test_a_compiler_that_fails_leaves_the_profile_without_a_compiled_form(
    digits: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*given: Any, **options: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "compile", broken)
    profiler = Profiler(digits(), digits.defaults, width=1, solution=None)
    measuring = Measuring(profiler, ProfileCache(str(tmp_path)), None, 10**7)
    measured = measuring.measured(1, fuse=True, tell=lambda without, seconds: None)
    assert measured.profile.compiled is None
    assert measured.report.splitlines()[-1] == "not compiled: OSError: no space left on device"


def test_fewer_lanes_than_the_planned_power_of_two_run_as_emitted(
    digits: Any, assert_equal_lanes: Any, new_trainer: Any, counts: list[int]
) -> None:
    trainer = _train(_compiled(digits(), LANES, micro_lanes=4), 1)
    trainer.remove(["0"])
    _train(trainer, 1)
    assert set(counts) == {4}
    trainer.remove(["1"])
    counts.clear()
    _train(trainer, 2)
    assert counts == []
    separate = _train(new_trainer(digits(), LANES, fused=False), 1)
    separate.remove(["0"])
    _train(separate, 1).remove(["1"])
    assert_equal_lanes(trainer, _train(separate, 2))
