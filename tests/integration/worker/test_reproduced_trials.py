"""One trial again by itself, beside what a bundle measured of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydro.api.type.v1 import bundle_pb2, command_pb2
from hydro.worker.convert import to_recipe
from hydro.worker.reproduce import Recorder, comparison, lines_of, reproduce


def recipe_of_one(fake: Any, lane: bundle_pb2.Lane, **fields: Any) -> Any:
    """As GetTrialRecipe gives it."""
    fake.offer(lane, **fields)
    return replace(to_recipe(fake.waiting.pop().recipe), max_lanes=1)


def test_a_trial_of_a_fused_bundle_measures_the_same_by_itself(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path
) -> None:
    fake.offer(lane(0), lane(1, lr=0.05))
    run_worker()
    recorded = {step: metrics for (number, step), metrics in fake.measured().items() if number == "1"}
    recorder = Recorder(max(recorded))
    recipe = recipe_of_one(fake, lane(1, lr=0.05), execution=bundle_pb2.EXECUTION_SEPARATE)
    reproduce(recipe, recorder, tmp_path)
    rows = comparison(recorded, recorder.measured)
    assert [row.step for row in rows] == [4, 8]
    assert max(row.difference for row in rows) < 1e-5
    assert lines_of(rows, recorded, recorder.measured)[-1].endswith("over 2 values")


def test_a_trial_that_ended_early_is_run_as_far_as_it_came(fake: Any, lane: Any, tmp_path: Path) -> None:
    recorder = Recorder(4)
    reproduce(recipe_of_one(fake, lane(0), execution=bundle_pb2.EXECUTION_SEPARATE), recorder, tmp_path)
    assert recorder.measured.keys() == {4}


def test_a_program_is_run_again_up_to_its_last_recorded_step(fake: Any, lane: Any, tmp_path: Path) -> None:
    pattern = command_pb2.LogPattern(pattern=r"(?P<step>\d+) (?P<validation_loss>\S+)")
    command = command_pb2.Command(
        arguments=["sh", "-c", "for i in 1 2 3; do echo $i $HP_LR; done; sleep 60"],
        stop_grace_seconds=5,
        metrics=[command_pb2.MetricsSource(log_pattern=pattern)],
    )
    recorder = Recorder(2)
    reproduce(recipe_of_one(fake, lane(0, lr=0.5), task=None, command=command, measured_steps=[]), recorder, tmp_path)
    assert recorder.measured == {1: {"validation_loss": 0.5}, 2: {"validation_loss": 0.5}}


def test_what_only_one_side_has_is_said() -> None:
    lines = lines_of([], {1: {"loss": 1.0}}, {2: {"loss": 1.0}})
    assert lines[1:] == ["only recorded: steps 1", "only now: steps 2"]
