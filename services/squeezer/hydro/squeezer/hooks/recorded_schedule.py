"""How long the operations of a recorded pipeline run took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Final, Self

from hydro.squeezer.pipeline import Operation, OperationKind

DEFAULT_RECORDING: Final = "recorded_1f1b.json"


@dataclass(frozen=True, slots=True)
class RecordedStage:
    """One stage in one step.

    Units: seconds, by microbatch.
    """

    forward_seconds: tuple[float, ...]
    backward_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecordedSchedule:
    """Durations of a run's operations, by step and stage."""

    schedule: str
    stages: int
    microbatches: int
    steps: tuple[tuple[RecordedStage, ...], ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Reads a recording, by default the one in this package.

        Raises:
            ValueError: the file is no recording.
        """
        source = path if path is not None else resources.files(__package__) / DEFAULT_RECORDING
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
            steps = tuple(
                tuple(RecordedStage(tuple(each["forward_seconds"]), tuple(each["backward_seconds"])) for each in step)
                for step in content["steps"]
            )
            return cls(content["schedule"], content["stages"], content["microbatches"], steps)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{source}: no recording of a schedule: {error}; make one with hooks/record.py") from error

    def seconds(self, step: int, stage: int, operation: Operation) -> float:
        """Gives how long an operation takes; what lies beyond the recording begins again in it."""
        recorded = self.steps[step % len(self.steps)][stage % self.stages]
        of_kind = recorded.forward_seconds if operation.kind is OperationKind.FORWARD else recorded.backward_seconds
        return of_kind[operation.microbatch % len(of_kind)]

    def mean_forward_seconds(self) -> float:
        """Gives the mean over all steps, stages and microbatches."""
        return mean(seconds for step in self.steps for stage in step for seconds in stage.forward_seconds)

    def mean_backward_seconds(self) -> float:
        """Gives the mean over all steps, stages and microbatches."""
        return mean(seconds for step in self.steps for stage in step for seconds in stage.backward_seconds)
