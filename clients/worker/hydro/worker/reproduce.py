"""`python -m hydro.worker.reproduce TRIAL`: runs one trial again by itself, on this machine, beside what was recorded.

`hydro trial reproduce` starts it. Nothing is reported: the study stays as it is.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from hydro.api.coordinator.v1 import study_service_pb2, study_service_pb2_grpc
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import HydroError
from hydro.kit.logging import configure_logging
from hydro.tuner.training.lane import MemoryMiss
from hydro.worker.attempt import Attempt
from hydro.worker.bundle import BundleBuilder, MemoryLessons
from hydro.worker.command.attempt import CommandAttempt
from hydro.worker.convert import to_recipe
from hydro.worker.device import ExclusiveDevice
from hydro.worker.recipe import Grant, Recipe
from hydro.worker.round import Answer, LaneNews, Verdict

Metrics = Mapping[int, Mapping[str, float]]
_LEASE_SECONDS = 10.0**9


@dataclass(slots=True)
class Recorder:
    """Stands in for the coordinator: takes down what is measured, and lets the trial go on as far as it went."""

    last_step: int
    measured: dict[int, Mapping[str, float]] = field(default_factory=dict)
    value: float | None = None
    failure: str = ""

    @property
    def release_requested(self) -> bool:
        """Nobody else wants the machine."""
        return False

    def ensure(self) -> None:
        """There is no lease to lose."""

    def report(
        self, news: Sequence[LaneNews], free_lanes: int, fusion_count: int, misses: Sequence[MemoryMiss] = ()
    ) -> Answer:
        """Takes it down; a measurement of a step that was measured before changes nothing."""
        verdicts = {}
        for each in news:
            sys.stdout.write(each.log)
            self.failure = self.failure or each.failure
            if each.metrics is not None:
                self.measured.setdefault(each.steps, dict(each.metrics))
            self.value = each.value if each.value is not None else self.value
            is_over = each.failure or each.finished or (0 < self.last_step <= each.steps and each.metrics is not None)
            verdicts[each.trial] = Verdict.STOP if is_over else Verdict.CONTINUE
        return Answer(verdicts, (), release_requested=False)


class Row(NamedTuple):
    """One value of both runs."""

    step: int
    metric: str
    recorded: float
    now: float
    difference: float


def reproduce(recipe: Recipe, recorder: Recorder, folder: Path) -> None:
    """Runs the recipe's one lane from its start to the recorder's last step.

    Raises:
        HydroError: The task has changed, or cannot be found here.
    """
    if recorder.last_step:
        steps = tuple(step for step in recipe.measured_steps if step <= recorder.last_step)
        recipe = replace(recipe, measured_steps=steps or recipe.measured_steps)
    recipe = replace(recipe, artifact_uri=folder.as_uri())
    grant = Grant("reproduce", 1, _LEASE_SECONDS, recipe, gate="")
    if recipe.command is not None:
        CommandAttempt(grant, recipe.command, recorder, recorder, lambda: False, os.environ).run()
        return
    workplace = ExclusiveDevice()
    builder = BundleBuilder(recipe, workplace.gate, torch.device("cpu"), MemoryLessons())
    Attempt(grant, recorder, recorder, workplace, builder, lambda: False).run()


def comparison(recorded: Metrics, measured: Metrics) -> list[Row]:
    """Gives step, metric, recorded, measured and difference, wherever both have a value."""
    return [
        Row(step, name, recorded[step][name], measured[step][name], abs(recorded[step][name] - measured[step][name]))
        for step in sorted(recorded.keys() & measured.keys())
        for name in sorted(recorded[step].keys() & measured[step].keys())
    ]


def lines_of(rows: Sequence[Row], recorded: Metrics, measured: Metrics) -> list[str]:
    """Gives the rows as text, the steps that only one side has, and the largest difference."""
    lines = [f"{'step':>10}  {'metric':<24}  {'recorded':>14}  {'now':>14}  {'difference':>12}"]
    lines += [f"{step:>10}  {name:<24}  {old:>14.8g}  {new:>14.8g}  {gap:>12.3g}" for step, name, old, new, gap in rows]
    for said, steps in (("recorded", recorded.keys() - measured.keys()), ("now", measured.keys() - recorded.keys())):
        if steps:
            lines.append(f"only {said}: steps {', '.join(map(str, sorted(steps)))}")
    if rows:
        worst = max(rows, key=lambda row: (math.isnan(row.difference), row.difference))
        where = f"{worst.metric} at step {worst.step}"
        lines.append(f"largest difference: {worst.difference:.6g} ({where}), over {len(rows)} values")
    return lines


def main() -> int:
    """Gives the exit code: 1 when the run failed, or nothing can be compared."""
    parser = argparse.ArgumentParser(prog="hydro trial reproduce")
    parser.add_argument("trial", help="projects/*/studies/*/trials/*")
    parser.add_argument("--address", required=True, help="host:port of the coordinator")
    arguments = parser.parse_args()
    configure_logging("reproduce", "WARNING")
    # The end of a program that is asked to end is an end like any other: what it has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with open_sync_channel(arguments.address) as channel:
        stub = study_service_pb2_grpc.StudyServiceStub(channel)
        trial = stub.GetTrial(study_service_pb2.GetTrialRequest(name=arguments.trial))
        recipe = to_recipe(stub.GetTrialRecipe(study_service_pb2.GetTrialRecipeRequest(name=arguments.trial)))
    recorded = {each.step: dict(each.metrics) for each in trial.measurements}
    # A trial that ended early is run as far as it came.
    recorder = Recorder(max(recorded, default=0))
    with tempfile.TemporaryDirectory(prefix="hydro-reproduce-") as folder:
        reproduce(recipe, recorder, Path(folder))
    rows = comparison(recorded, recorder.measured)
    lines = lines_of(rows, recorded, recorder.measured)
    if recorder.value is not None and trial.HasField("value"):
        lines.append(f"final {recipe.objective}: recorded {trial.value:.8g}, now {recorder.value:.8g}")
    sys.stdout.write("\n".join([*lines, ""]))
    if recorder.failure:
        sys.stderr.write(f"the trial failed here: {recorder.failure}\n")
    return 1 if recorder.failure or not (rows or recorder.value is not None) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HydroError as error:
        sys.stderr.write(f"error {error}\n")
        sys.exit(1)
