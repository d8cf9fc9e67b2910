"""The values that go in and out of a trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

# The service, which runs no tensor itself, knows these values and starts without torch.
if TYPE_CHECKING:
    from hydro.tuner.task import Hyperparameters


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """One trial as a trainer takes it in."""

    trial: str
    hyperparameters: Hyperparameters
    """The trial's own; the task's defaults stand where it has none."""
    seed: int
    """Of the initial weights and of the trial's random numbers."""
    state: bytes | None = None
    """A checkpoint (see `checkpoint.py`) to go on from; None: from the start."""
    start_step: int = 0
    """Optimizer steps that `state` holds."""


@dataclass(frozen=True, slots=True)
class LaneClone:
    """A lane goes on from another one's state, or from its own, with other hyperparameters."""

    trial: str
    parent: str
    """The lane whose weights, optimizer state, random numbers and place in the schedule it takes."""
    hyperparameters: Hyperparameters
    """The trial's own from now on; the task's defaults stand where it has none."""
    seed: int
    """The trial's: of nothing but its name's sake, since its random numbers go on from the parent's."""


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane in training."""

    trial: str
    step: int
    """Optimizer steps done."""


@dataclass(frozen=True, slots=True)
class LaneFailure:
    """Why a lane cannot go on; the others do."""

    trial: str
    step: int
    reason: str
    traceback: str = ""
    """Where the task's own code raised; empty when it did not."""


@dataclass(frozen=True, slots=True)
class MemoryMiss:
    """So many lanes at once held more than was planned, or were refused it, while the process held so many bytes."""

    lanes: int
    memory_bytes: int
    refused: bool = True


@dataclass(slots=True)
class CurrentTrial:
    """Says whose code runs right now: what it prints belongs to that trial."""

    trial: str | None = None
    """None while code runs that is all lanes' own: a traced loss, shared data."""
