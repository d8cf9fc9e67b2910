"""What a worker is told to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydro.client.commands import Command
from hydro.kit.artifacts import StoredArtifact, read_artifact
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import LaneSpec


@dataclass(frozen=True, slots=True)
class LaneChange:
    """From a step on, a lane has other hyperparameters."""

    step: int
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """One trial in its bundle."""

    trial: str
    hyperparameters: Mapping[str, Any]
    seed: int
    checkpoint: StoredArtifact | None
    start_step: int
    changes: tuple[LaneChange, ...] = ()
    """Those that are still to come, ascending by step."""

    def spec(self) -> LaneSpec:
        """Reads the checkpoint.

        Raises:
            NotFound, FailedPrecondition: See `read_artifact`.
        """
        state = None if self.checkpoint is None else read_artifact(self.checkpoint.uri, self.checkpoint.digest)
        return LaneSpec(self.trial, self.hyperparameters, self.seed, state, self.start_step)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that is needed to train a bundle, of a task or of a command."""

    entry_point: str
    source_path: str
    fingerprint: str
    width: float
    surrogate: StoredArtifact | None
    execution: Execution
    max_lanes: int
    lanes: tuple[Lane, ...]
    data_seed: int
    measured_steps: tuple[int, ...]
    """Ascending; the last one is the end of training."""
    objective: str
    artifact_uri: str
    checkpoint_interval_seconds: float
    micro_lanes: int = 0
    """Most lanes that run at once; 0: all of them."""
    memory_bytes: int = 0
    """What it is planned to hold at most; 0: not known."""
    threads: int = 0
    """Of one op that its plan was made for; 0: those that the device gives."""
    command: Command | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as it was acquired."""

    name: str
    fencing_token: int
    duration_seconds: float
    recipe: Recipe
    gate: str
    """File name of the gate page; empty on an exclusive device."""
    device_memory_bytes: int = 0
    """What bundles may use of the device; 0: not known."""
