"""A pipeline run: its stages and what each does when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hydro.kit.errors import FieldViolation, InvalidArgument

_RUN_PATTERN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class OperationKind(Enum):
    """What a stage computes for a microbatch."""

    FORWARD = "F"
    BACKWARD = "B"


@dataclass(frozen=True, slots=True)
class Operation:
    """One computation of a stage."""

    kind: OperationKind
    microbatch: int


def one_forward_one_backward(stages: int, stage: int, microbatches: int) -> tuple[Operation, ...]:
    """Gives a stage's order of operations: fill, then one forward and one backward in turn, then drain.

    The schedule index of a bubble is the index here of the operation that it precedes; the wait for the other stages at
    the step's end has the index after the last.

    Source: PipeDream-Flush, Narayanan et al. 2021, section 2.2; DeepSpeed's TrainSchedule.
    """
    ahead = min(stages - 1 - stage, microbatches)
    order = [Operation(OperationKind.FORWARD, index) for index in range(ahead)]
    for index in range(microbatches):
        if ahead + index < microbatches:
            order.append(Operation(OperationKind.FORWARD, ahead + index))
        order.append(Operation(OperationKind.BACKWARD, index))
    return tuple(order)


def bubble_share(stages: int, microbatches: int) -> float:
    """Gives the share of a step that is bubble in theory: (p - 1) / (m + p - 1)."""
    return (stages - 1) / (microbatches + stages - 1)


@dataclass(frozen=True, slots=True)
class StageMemory:
    """The run's own memory on the GPU, now and at most so far; and the GPU's, where the hook can see it."""

    reserved_bytes: int = 0
    peak_reserved_bytes: int = 0
    total_bytes: int = 0
    free_bytes: int = 0

    @property
    def growth_bytes(self) -> int:
        """What the run will take again."""
        return max(0, self.peak_reserved_bytes - self.reserved_bytes)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a pipeline run, as its hook reports it."""

    pipeline_run: str
    index: int
    stages: int
    microbatches: int
    schedule: str
    event_page: str
    memory: StageMemory = StageMemory()
    cpu_cores: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """Which stage of which run."""
        return self.pipeline_run, self.index

    def validate(self) -> None:
        """Raises InvalidArgument with each wrong field."""
        wrong = tuple(self._violations())
        if wrong:
            raise InvalidArgument.of(wrong)

    def _violations(self) -> list[FieldViolation]:
        found = []
        if not _RUN_PATTERN.fullmatch(self.pipeline_run):
            found.append(
                FieldViolation(
                    "pipeline_run",
                    f"{self.pipeline_run!r} is no name of a run: use 1 to 63 lower-case letters, digits and hyphens",
                )
            )
        if not 0 <= self.index < self.stages:
            found.append(FieldViolation("stage", f"{self.index} is not among {self.stages} stages: count from 0"))
        if self.microbatches < 1:
            found.append(FieldViolation("microbatches", f"{self.microbatches}: give at least 1"))
        if not self.event_page or "/" in self.event_page or self.event_page.startswith("."):
            found.append(
                FieldViolation("event_page", f"{self.event_page!r}: give a file's name in the gate directory, no path")
            )
        return found
