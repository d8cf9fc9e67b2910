"""The trainer of a bundle in this process, which is built again where it has to be."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import CurrentTrial, LaneSpec, MemoryMiss
from hydro.tuner.training.out_of_memory import free_unused
from hydro.tuner.training.peak_memory import reset_peak
from hydro.tuner.training.trainer import BundleTrainer
from hydro.worker.bundle import BundleBuilder
from hydro.worker.device import Workplace


class RunningBundle:
    """Builds the trainer outside the gate, in the form that its lanes can have now: `execution`."""

    def __init__(
        self, builder: BundleBuilder, workplace: Workplace, execution: Execution, current: CurrentTrial
    ) -> None:
        self.device = builder.device
        self.execution = execution
        self._builder = builder
        self._workplace = workplace
        self._current = current
        self._task: TrainingTask | None = None
        self._trainer: BundleTrainer | None = None
        self._taken_misses = 0

    @property
    def trainer(self) -> BundleTrainer:
        """The one there is now: not to be kept."""
        if self._trainer is None:
            raise RuntimeError("the bundle has not been built")
        return self._trainer

    @property
    def trials(self) -> list[str]:
        """Those whose lanes train, in their order."""
        return [status.trial for status in self.trainer.lanes]

    def load(self) -> None:
        """Imports the task, and begins without lanes.

        Raises:
            FailedPrecondition, InvalidArgument: See `BundleBuilder.load`.
        """
        self._task = self._workplace.aside(self._builder.load)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Lets go of all lanes: they go on from their last checkpoints, which the coordinator knows."""
        self._trainer = None
        free_unused(self.device)
        reset_peak(self.device)
        self._taken_misses = 0
        self._trainer = self._build([])

    def insert(self, specs: Sequence[LaneSpec]) -> None:
        """Takes lanes in; raises as `BundleTrainer.insert` does."""
        self._workplace.aside(lambda: self.trainer.insert(specs))

    def separate(self, lanes: Sequence[LaneSpec], reason: str) -> None:
        """Goes on with these lanes alone, as separate models: they cannot run in one program."""
        structlog.get_logger().warning("bundle goes on as separate models", reason=reason)
        self.execution = Execution.SEPARATE
        self.begin_anew()
        self._trainer = self._build(lanes)

    def take_misses(self) -> Sequence[MemoryMiss]:
        """Gives what ran out of memory since the last time."""
        misses = self.trainer.misses[self._taken_misses :]
        self._taken_misses += len(misses)
        return misses

    def learn(self, misses: Sequence[MemoryMiss]) -> None:
        """Begins with fewer lanes at once from the next time on, in later leases too."""
        self._builder.learn(misses)

    def _build(self, lanes: Sequence[LaneSpec]) -> BundleTrainer:
        task = self._task
        if task is None:
            raise RuntimeError("the task has not been loaded")
        return self._workplace.aside(lambda: self._builder.trainer(task, lanes, self.execution, self._current))
