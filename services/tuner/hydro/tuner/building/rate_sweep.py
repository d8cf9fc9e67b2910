"""Trains one model with several learning rates: lanes of one bundle, alike in initial values and batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydro.tuner.building.task_failure import TaskFailed
from hydro.tuner.shrinking.loss_curve import LossCurve
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.trainer import BundleTrainer


@dataclass(frozen=True, slots=True)
class RateSweep:
    """What all trainings have in common. Units: optimizer steps."""

    task: TrainingTask
    hyperparameters: Mapping[str, Any]
    rate_name: str
    """The hyperparameter that is the learning rate."""
    steps: int

    def losses(self, width: float, seed: int, rates: Sequence[float], solution: Solution | None = None) -> LossCurve:
        """The validation losses after training, by log2 lr; infinite where the training diverged.

        Args:
            width: Surrogate over target; 1 trains the target.
            seed: Of initial values and of the data's order.
            rates: Log2 of each learning rate.
            solution: The surrogate's, where it is known.

        Raises:
            TaskFailed: the task's own code raised.
        """
        lanes = [LaneSpec(repr(rate), {**self.hyperparameters, self.rate_name: 2.0**rate}, seed) for rate in rates]
        trainer = build_trainer(
            self.task,
            width=width,
            solution=solution,
            execution=Execution.FUSED,
            lanes=lanes,
            data_seed=seed,
            gate=OpenGate(),
        )
        for _ in range(self.steps):
            trainer.train_step()
        measured = trainer.validate([lane.trial for lane in trainer.lanes])
        _raise_failures(trainer)
        losses = {float(trial): metrics["validation_loss"] for trial, metrics in measured.items()}
        finite = {rate: loss for rate, loss in losses.items() if math.isfinite(loss)}
        return {rate: finite.get(rate, math.inf) for rate in rates}


def _raise_failures(trainer: BundleTrainer) -> None:
    """What the task raised; a lane that diverged has no traceback."""
    for failure in trainer.take_failures():
        if failure.traceback:
            raise TaskFailed(f"while learning rates were tried, {failure.reason}\n{failure.traceback}".rstrip())
