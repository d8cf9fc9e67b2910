"""The port of pruning: from the objective at each measured step to what a lane does next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from hydro.coordinator.pruning.clock import Clock
from hydro.coordinator.trial import Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """The objective of a trial, by its number in the study, after a number of steps and of seconds of its training.

    Raises:
        ValueError: The value is not finite. Such a trial has failed, and is not reported here.
    """

    trial: int
    step: int
    value: float
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(
                f"trial {self.trial} at step {self.step}: {self.value} is not finite, so the trial has failed"
            )


class Standing(Enum):
    """Where a trial of the history stands."""

    OPEN = "OPEN"
    """Running, or pending to go on from its last measurement."""
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    ENDED = "ENDED"
    """Pruned, failed or cancelled."""


@dataclass(frozen=True, slots=True)
class MeasuredTrial:
    """One trial of the history: its (step, value) measurements, ascending by step.

    `seconds` are the elapsed ones at each of them; empty: the rule goes by steps.
    """

    trial: int
    standing: Standing
    measurements: tuple[tuple[int, float], ...]
    seconds: tuple[float, ...] = ()

    def placed(self, clock: Clock) -> list[tuple[int, float]]:
        """The (place, value) of each measurement by the clock."""
        seconds = self.seconds or (0.0,) * len(self.measurements)
        return [(clock(step, at), value) for (step, value), at in zip(self.measurements, seconds, strict=True)]


class Pruner(Protocol):
    """The rungs of one study, in memory, rebuilt from its measurements by `build_pruner`.

    It holds what was committed and what is on its way: when a commit fails, build it again.
    """

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """Takes the reports of lanes that were measured together and gives the verdict of each.

        All of them are taken in before the first is judged, so that no lane suffers for coming first in the message.
        The first value of a (trial, step) stands; sent again it gets a verdict again. A lane that may go on from a rung
        counts as promoted from it.
        """
        ...

    def promotable(self) -> list[int]:
        """Paused trials that may go on, the most advanced first, then the best. O(log n) each."""
        ...

    def promote(self, trial: int) -> None:
        """Takes the trial out of those that wait at their rung: it goes on."""
        ...

    def end(self, trial: int, succeeded: bool) -> None:
        """The trial ended: it can no longer be promoted. `decide` says so itself of those it stops or prunes."""
        ...

    def last_resort(self) -> int | None:
        """The trial to train on when nothing else will come and none was trained to the end.

        A study too small for its rungs (3 trials, eta 4) would otherwise end without a result. None when a trial was
        trained to the end, or none waits.
        """
        ...
