"""The surrogate: the small model that is tuned in the target's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """How wide and how deep the surrogate is, over the target, and what it has to show before it is tuned."""

    width: float
    """In (0, 1]."""
    verify: tuple[str, ...] = ()
    """Checks beyond those that always run: "update_size", "ladder"."""
    accept_failed_checks: bool = False
    """Whether the study goes on though a check fails; its warnings say what failed."""
    depth: float = 1.0
    """Its layers, in (0, 1]."""


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


class TransferKind(Enum):
    """What becomes of a hyperparameter on the target."""

    TRANSFERRED = "TRANSFERRED"
    """The target gets the surrogate's value, which trained there as it is."""
    RESCALED = "RESCALED"
    """The target gets the value; the surrogate trained each tensor with a multiple of it."""
    NOT_TRANSFERABLE = "NOT_TRANSFERABLE"
    """The target has the task's default, or the value that `Study.retune_target` finds."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What becomes of one hyperparameter on the target, and why."""

    hyperparameter: str
    kind: TransferKind
    explanation: str


@dataclass(frozen=True, slots=True)
class LayerSlope:
    """The coordinate check of one layer: how the change of its output in training goes with the width.

    `slope` is an exponent, 0 where it is alike at every width; `half_width` is its 95 % interval's.
    """

    layer: str
    slope: float
    half_width: float
    verdict: str
    """PASS, WARN or FAIL."""


@dataclass(frozen=True, slots=True)
class LadderRung:
    """One width of the ladder, with the mean validation loss over seeds by log2 of the learning rate."""

    width: float
    best_lr_log2: float
    losses: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What the tuner made of a study's task, and measured of it.

    `width` and `depth` are those in effect, 1 when the model cannot be shrunk; `warnings` says why. `report` holds the
    shrink table, the parametrization and the checks, as text. `transfers` says of each hyperparameter of the search
    space what becomes of it on the target.
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
    slopes: tuple[LayerSlope, ...] = ()
    rungs: tuple[LadderRung, ...] = ()
    """Ascending by width; empty when the ladder was not asked for."""
    transfers: tuple[Transfer, ...] = ()
    depth: float = 1.0

    def save_picture(self, path: str | Path) -> None:
        """Draws the coordinate check, and the ladder if it was climbed.

        Needs matplotlib (`pip install "hydro-client[picture]"`).

        Args:
            path: A new PNG, PDF or SVG.

        Raises:
            FailedPrecondition: nothing was checked: the target itself is tuned.
        """
        from hydro.client.check_picture import save_picture

        save_picture(self, path)


def surrogate(
    width: float, *, depth: float = 1.0, verify: Sequence[str] = (), accept_failed_checks: bool = False
) -> SurrogateSettings:
    """Tunes a model of `width` times the target's channels; 1 tunes the target itself.

    The static checks and the coordinate check always run. A study whose surrogate fails a check fails, and says which
    layer and which rule.

    Args:
        width: In (0, 1].
        depth: The surrogate's layers over the target's, in (0, 1]: of pre-LN residual stacks, whose branches are then
            multiplied. Below 1 only with a width below 1; a study whose model has no such stack fails and says why.
        verify: Further checks: "update_size" (seconds), "ladder" (the best learning rate over three widths; as long as
            some tens of trials).
        accept_failed_checks: Goes on though a check fails; `Study.warnings` says what failed.
    """
    return SurrogateSettings(width, tuple(verify), accept_failed_checks, depth)
