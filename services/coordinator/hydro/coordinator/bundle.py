"""A bundle: the trials that one worker trains together."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.transition import transition
from hydro.coordinator.trial import Hyperparameters, TrialKind


class BundleState(Enum):
    """ALLOCATED > RUNNING > ENDED; ALLOCATED > ENDED when its device or its study goes."""

    ALLOCATED = "ALLOCATED"
    RUNNING = "RUNNING"
    ENDED = "ENDED"


START_BUNDLE = transition("start", [BundleState.ALLOCATED], BundleState.RUNNING)
END_BUNDLE = transition("end", [BundleState.ALLOCATED, BundleState.RUNNING], BundleState.ENDED)

TRANSITIONS = (START_BUNDLE, END_BUNDLE)


class Execution(Enum):
    """How the lanes of a bundle run: as one grouped program, emitted or compiled, or one model after the other."""

    FUSED = "FUSED"
    COMPILED = "COMPILED"
    SEPARATE = "SEPARATE"


@dataclass(frozen=True, slots=True)
class MemoryMiss:
    """So many lanes at once held more of a device's memory than was planned, or were refused more than that."""

    lanes: int
    memory_bytes: int
    refused: bool


@dataclass(frozen=True, slots=True)
class PlannedBundle:
    """Trials that fit one grouped model, and what it needs of a device.

    `structure` are the structural hyperparameters that its lanes share: only such trials may be inserted.
    """

    study: StudyName
    kind: TrialKind
    trials: tuple[int, ...]
    execution: Execution = Execution.SEPARATE
    max_lanes: int = 1
    micro_lanes: int = 0
    """Most lanes that run at once; 0: all of them."""
    memory_bytes: int = 0
    segment_seconds: float = 0.0
    structure: Hyperparameters = field(default_factory=dict)
    threads: int = 0
    """Of one op that it was planned for; 0: those that the device has to give."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A planned bundle with its device."""

    number: int
    plan: PlannedBundle
    device: DeviceName
    state: BundleState
