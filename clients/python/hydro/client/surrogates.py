"""The surrogate: the small model that is tuned in the target's place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SurrogateWidth:
    """How wide the surrogate is, over the target: in (0, 1]."""

    width: float


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """What a bundle of so many lanes costs.

    Units: `step_seconds` and `memory_bytes` are of the whole bundle.
    """

    lanes: int
    step_seconds: float
    memory_bytes: int
    segment_seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured on the tuner's machine, at the task's default hyperparameters."""

    fused: tuple[ProfilePoint, ...]
    separate_step_seconds: float
    target_step_seconds: float
    target_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What the tuner made of a study's task, and measured of it.

    `width` is the one in effect, 1 when the model cannot be shrunk; `warnings` says why. `report` holds the shrink
    table, the parametrization and the coordinate check, as text.
    """

    name: str
    state: str
    state_reason: str
    requested_width: float
    width: float
    warnings: tuple[str, ...]
    report: str
    parameters: int
    target_parameters: int
    profile: Profile


def surrogate(width: float) -> SurrogateWidth:
    """Tunes a model of `width` times the target's channels; 1 tunes the target itself."""
    return SurrogateWidth(width)
