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
from hydro.tuner.training.lane import CurrentTrial, LaneSpec, MemoryMiss
from hydro.tuner.training.out_of_memory import free_unused
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.recipe import Recipe


class MemoryLessons:
    """How many lanes at once have been too many for this process's device, by what they train."""

    def __init__(self) -> None:
        self._too_many: dict[tuple[str, str], int] = {}

    def learn(self, recipe: Recipe, misses: Sequence[MemoryMiss]) -> None:
        """Takes in what ran out of memory."""
        for miss in misses:
            key = _trained(recipe)
            self._too_many[key] = min(miss.lanes, self._too_many.get(key, miss.lanes))

    def micro_lanes(self, recipe: Recipe) -> int:
        """Gives the most lanes at once: the plan's, or less where that was too many."""
        too_many = self._too_many.get(_trained(recipe), 2**31)
        return max(1, min(recipe.micro_lanes or recipe.max_lanes, too_many // 2))


def _trained(recipe: Recipe) -> tuple[str, str]:
    """Of a task its target, or one of its surrogates."""
    return recipe.fingerprint, recipe.surrogate.digest if recipe.surrogate else ""


class BundleBuilder:
    """Builds the trainer of one recipe, as often as needed."""

    def __init__(self, recipe: Recipe, gate: Gate, device: torch.device, lessons: MemoryLessons) -> None:
        self._recipe = recipe
        self._gate = gate
        self.device = device
        self._lessons = lessons

    def learn(self, misses: Sequence[MemoryMiss]) -> None:
        """Takes in what ran out of memory: later trainers run fewer lanes at once, those of other leases too."""
        self._lessons.learn(self._recipe, misses)
        free_unused(self.device)

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
            device=self.device,
            current=current,
            micro_lanes=self._lessons.micro_lanes(recipe),
        )
