"""The building of a bundle's trainer from its recipe."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hydro.kit.artifacts import read_artifact
from hydro.kit.errors import FailedPrecondition
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import TrainingTask
from hydro.tuner.task_loading import fingerprint, load_task
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import Gate
from hydro.tuner.training.lane import CurrentTrial, LaneSpec
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.recipe import Recipe


class BundleBuilder:
    """Builds the trainer of one recipe, as often as needed."""

    def __init__(self, recipe: Recipe, gate: Gate, device: torch.device) -> None:
        self._recipe = recipe
        self._gate = gate
        self._device = device

    def load(self) -> TrainingTask:
        """Imports the task.

        Raises:
            FailedPrecondition: TASK_CHANGED: its source, torch or the rules are not those that the surrogate was made
                with.
            InvalidArgument: It cannot be found here.
        """
        recipe = self._recipe
        found = fingerprint(recipe.entry_point, recipe.source_path)
        if recipe.fingerprint and found != recipe.fingerprint:
            raise FailedPrecondition(
                f"the source of {recipe.entry_point}, torch or Hydro's rules have changed since the study's surrogate "
                f"was made ({found}, not {recipe.fingerprint}): create a new study",
                reason="TASK_CHANGED",
            )
        return load_task(recipe.entry_point, recipe.source_path)

    def trainer(
        self, task: TrainingTask, lanes: Sequence[LaneSpec], execution: Execution, current: CurrentTrial
    ) -> BundleTrainer:
        """Builds the trainer with lanes in it."""
        recipe, solution = self._recipe, None
        if recipe.surrogate is not None:
            solution = Solution.from_json(read_artifact(recipe.surrogate.uri, recipe.surrogate.digest).decode())
        return build_trainer(
            task,
            width=recipe.width,
            solution=solution,
            execution=execution,
            lanes=lanes,
            data_seed=recipe.data_seed,
            gate=self._gate,
            objective=recipe.objective,
            device=self._device,
            current=current,
        )
